#include "control/api/problem.h"
#include "base/jsonw.h"

static const struct {
    const char *reason;
    unsigned status;
    const char *title;
} reasons[] = {
    {"invalid", 422, "The request is not valid"},
    {"malformed", 400, "The request can't be read"},
    {"unauthenticated", 401, "A valid token is needed"},
    {"forbidden", 403, "Not allowed"},
    {"master_only", 403, "Only the master may do this"},
    {"not_granted", 403, "Not within the grants of the tenant"},
    {"tenant_suspended", 403, "The tenant is suspended"},
    {"not_found", 404, "Not found"},
    {"method_not_allowed", 405, "Method not allowed"},
    {"exists", 409, "It is there already"},
    {"conflict", 409, "It does not fit what is there"},
    {"in_use", 409, "Something else needs it"},
    {"domain_taken", 409, "The domain is another tenant's"},
    {"key_in_use", 409, "The key is in use"},
    {"precondition_failed", 412, "It was changed meanwhile"},
    {"too_large", 413, "Too large"},
    {"unsupported_media_type", 415, "The body is not JSON"},
    {"too_many", 422, "Too many"},
    {"idempotency_key_reused", 422, "The idempotency key was used for another request"},
    {"overloaded", 503, "Too many requests at once"},
    {"shutting_down", 503, "The controller is shutting down"},
    {"store_failed", 503, "The store failed"},
    {"internal", 500, "Internal error"},
};

static size_t find(const char *reason)
{
    size_t i = 0;

    while (i < DM_COUNT(reasons) - 1 && strcmp(reasons[i].reason, reason) != 0)
        i++;
    return i;
}

unsigned dm_problem_status(const char *reason)
{
    return reasons[find(reason)].status;
}

static void write_errors(struct dm_jsonw *w, const struct dm_errs *errs)
{
    dm_jsonw_name(w, "errors");
    dm_jsonw_begin_array(w);
    for (size_t i = 0; i < errs->n; i++) {
        dm_jsonw_begin_object(w);
        dm_jsonw_member_cstr(w, "pointer", errs->items[i].pointer);
        dm_jsonw_member_cstr(w, "detail", errs->items[i].message);
        dm_jsonw_end_object(w);
    }
    dm_jsonw_end_array(w);
}

void dm_problem_write(const struct dm_failure *failure, struct dm_str request_id, struct dm_buf *ret)
{
    const char *reason = dm_failure_reason(failure);
    const struct dm_errs *errs = &failure->errs;
    struct dm_jsonw w;

    dm_jsonw_init(&w, ret);
    dm_jsonw_begin_object(&w);
    dm_jsonw_name(&w, "type");
    dm_jsonw_printf(&w, "urn:daemun:reason:%s", reason);
    dm_jsonw_member_cstr(&w, "title", reasons[find(reason)].title);
    dm_jsonw_member_u64(&w, "status", reasons[find(reason)].status);
    if (errs->n > 0)
        dm_jsonw_member_cstr(&w, "detail", errs->items[0].message);
    dm_jsonw_member_cstr(&w, "reason", reason);
    dm_jsonw_member_str(&w, "request_id", request_id);
    write_errors(&w, errs);
    if (errs->total > errs->n)
        dm_jsonw_member_u64(&w, "errors_total", errs->total);
    dm_jsonw_end_object(&w);
}
