/* Which responses are compressed, and what becomes of their heads. The rules and why they are so: docs/compression.md.
 *
 * M1. A response is either passed on as the backend sent it but for Vary, or its head and its body are changed together.
 * M2. Vary names Accept-Encoding whenever that field was what decided (RFC 9110, 12.5.5). */
#include "gateway/policy/policy_int.h"

#include "gateway/observe/counters.h"
#include "gateway/policy/encoder.h"
#include "http/coding.h"

/* --- requests ----------------------------------------------------------------------------------------------------- */

static struct dm_str name_of(enum dm_ucoding coding)
{
    return coding == DM_UCODING_BR ? DM_STR("br") : DM_STR("gzip");
}

/* What weighs most; of two alike, what the policy prefers. Never what weighs less than the caller says of no coding at all. */
static enum dm_ucoding preferred(const struct dm_ucompression *config, const struct dm_http_head *head)
{
    int best = DM_MAX(dm_http_coding_weight(head, DM_STR("identity")) - 1, 0);
    enum dm_ucoding coding = DM_UCODING_NONE;

    if (!dm_http_head_find(head, DM_HTTP_FIELD_ID_ACCEPT_ENCODING))
        return DM_UCODING_NONE;
    for (size_t i = 0; i < DM_UCODINGS && config->codings[i] != DM_UCODING_NONE; i++) {
        int weight = dm_http_coding_weight(head, name_of((enum dm_ucoding)config->codings[i]));
        if (weight > best) {
            best = weight;
            coding = (enum dm_ucoding)config->codings[i];
        }
    }
    return coding;
}

/* A certificate counts where it authenticates; elsewhere it opens nothing. */
static bool is_by_certificate(const struct dm_exchange *ex)
{
    const struct dm_upolicy *policies = dm_unit_at(ex->release->unit, ex->version->policies);

    for (uint32_t i = 0; i < ex->version->n_policies; i++)
        if (policies[i].type == DM_UPOLICY_CLIENT_CERTIFICATE)
            return true;
    return false;
}

/* What a browser sends by itself wherever a page makes it send a request. */
static bool has_ambient_credentials(const struct dm_exchange *ex)
{
    const struct dm_http_head *head = ex->head;

    return is_by_certificate(ex) || dm_http_head_find(head, DM_HTTP_FIELD_ID_COOKIE) ||
           dm_http_head_find(head, DM_HTTP_FIELD_ID_AUTHORIZATION);
}

/* Does a directive of this name stand in Cache-Control, with or without an argument? */
static bool has_directive(const struct dm_http_head *head, struct dm_str name)
{
    const struct dm_http_field *field = dm_http_head_find(head, DM_HTTP_FIELD_ID_CACHE_CONTROL);

    for (; field; field = dm_http_head_find_next(head, field)) {
        struct dm_str rest = field->value, element;
        while (dm_http_list_next(&rest, &element))
            if (dm_str_ieq(dm_str_trim(dm_str_n(element.ptr, dm_str_find(element, '='))), name))
                return true;
    }
    return false;
}

void dm_compression_request(struct dm_exchange *ex, const struct dm_ucompression *config)
{
    const struct dm_http_head *head = ex->head;

    if ((!config->with_credentials && has_ambient_credentials(ex)) || has_directive(head, DM_STR("no-transform")) ||
        head->has_upgrade || dm_str_eq(ex->method, DM_STR("CONNECT")))
        return;
    ex->compression = config;
    ex->coding = (uint8_t)(dm_http_head_find(head, DM_HTTP_FIELD_ID_RANGE) ? DM_UCODING_NONE : preferred(config, head));
}

/* --- which responses ---------------------------------------------------------------------------------------------- */

static bool is_in_range(struct dm_str type, struct dm_str range)
{
    size_t slash = dm_str_find(range, '/');
    struct dm_str suffix = dm_str_skip(range, slash + 2); /* behind "*" */

    if (slash + 1 >= range.len || range.ptr[slash + 1] != '*')
        return dm_str_ieq(type, range);
    return type.len > slash + 1 + suffix.len &&
           dm_str_ieq(dm_str_n(type.ptr, slash + 1), dm_str_n(range.ptr, slash + 1)) &&
           dm_str_ieq(dm_str_skip(type, type.len - suffix.len), suffix);
}

/* Streams of events only where they are named themselves; gRPC compresses its messages by itself. */
static bool is_fit_type(const struct dm_exchange *ex, struct dm_str type)
{
    const struct dm_ustr *ranges = dm_unit_at(ex->release->unit, ex->compression->types);
    bool is_events = dm_str_ieq(type, DM_STR("text/event-stream"));
    struct dm_str grpc = DM_STR("application/grpc");

    if (dm_str_ieq(dm_str_n(type.ptr, DM_MIN(type.len, grpc.len)), grpc))
        return false;
    for (uint32_t i = 0; i < ex->compression->n_types; i++) {
        struct dm_str range = dm_unit_str(ex->release->unit, ranges[i]);
        if (is_events ? dm_str_ieq(type, range) : is_in_range(type, range))
            return true;
    }
    return false;
}

/* 304 rarely says the type; what it stands for may well be of one that fits. */
static bool has_fit_type(const struct dm_exchange *ex, const struct dm_http_head *head)
{
    struct dm_str value = dm_http_head_value(head, DM_HTTP_FIELD_ID_CONTENT_TYPE);

    if (value.len == 0)
        return head->status == 304;
    return is_fit_type(ex, dm_str_trim(dm_str_n(value.ptr, dm_str_find(value, ';'))));
}

static bool may_hold_secrets(const struct dm_http_head *head)
{
    return dm_http_head_find(head, DM_HTTP_FIELD_ID_SET_COOKIE) || has_directive(head, DM_STR("private")) ||
           has_directive(head, DM_STR("no-store"));
}

/* Would it be compressed if only Accept-Encoding and Range allow it? */
static bool is_candidate(const struct dm_exchange *ex, const struct dm_http_head *head)
{
    if (head->status < 200 || head->status == 204 || head->status == 205)
        return false;
    if (head->has_content_length && (head->content_length < ex->compression->min_bytes || head->content_length == 0))
        return false;
    return has_fit_type(ex, head) && !dm_http_head_find(head, DM_HTTP_FIELD_ID_CONTENT_ENCODING) &&
           !has_directive(head, DM_STR("no-transform")) &&
           (ex->compression->with_credentials || !may_hold_secrets(head));
}

static bool is_partial(const struct dm_http_head *head)
{
    return head->status == 206 || dm_http_head_find(head, DM_HTTP_FIELD_ID_CONTENT_RANGE);
}

/* --- heads -------------------------------------------------------------------------------------------------------- */

static int add(struct dm_http_head *head, struct dm_str name, struct dm_str value)
{
    return dm_http_head_add(head, name, value) ? 0 : DM_EBUDGET;
}

/* M2 */
static int add_vary(struct dm_http_head *head)
{
    const struct dm_http_field *field = dm_http_head_find(head, DM_HTTP_FIELD_ID_VARY);

    for (; field; field = dm_http_head_find_next(head, field))
        if (dm_http_list_has(field->value, DM_STR("*")) || dm_http_list_has(field->value, DM_STR("accept-encoding")))
            return 0;
    return add(head, DM_STR("Vary"), DM_STR("Accept-Encoding"));
}

/* Two encodings of one thing are equal in meaning, not in bytes (RFC 9110, 8.8.1). What is no entity tag says nothing. */
static int weaken_etag(struct dm_exchange *ex, struct dm_http_head *head)
{
    struct dm_http_field *field = dm_http_head_find(head, DM_HTTP_FIELD_ID_ETAG);
    struct dm_str strong = field ? field->value : DM_STR_NULL, weak;

    if (!field || dm_str_starts(strong, DM_STR("W/")))
        return 0;
    dm_http_head_drop_from(head, field);
    if (strong.len == 0 || strong.ptr[0] != '"')
        return 0;
    if (dm_arena_printf(&ex->arena, &weak, "W/%.*s", DM_STR_ARG(strong)) < 0)
        return DM_EBUDGET;
    return add(head, DM_STR("ETag"), weak);
}

/* Digests of the bytes, or of the representation with its coding (RFC 9530; RFC 3230; RFC 1864), and ranges of it. */
static const struct dm_str untrue_when_encoded[] = {
    {"accept-ranges", 13}, {"content-md5", 11}, {"digest", 6}, {"content-digest", 14}, {"repr-digest", 11}};

static int describe_encoded(struct dm_exchange *ex, struct dm_http_head *head, struct dm_http_message *message)
{
    bool is_head_alone = dm_str_eq(ex->method, DM_STR("HEAD")) || head->status == 304;
    int rc = weaken_etag(ex, head);

    message->framing = is_head_alone ? DM_HTTP_FRAMING_NONE : DM_HTTP_FRAMING_CHUNKED;
    for (size_t i = 0; i < DM_COUNT(untrue_when_encoded); i++)
        dm_http_head_drop(head, untrue_when_encoded[i]);
    if (rc == 0 && head->status != 304)
        rc = add(head, DM_STR("Content-Encoding"), name_of((enum dm_ucoding)ex->coding));
    return rc;
}

/* HEAD and 304 tell what GET and 200 would. */
static bool begin_body(struct dm_exchange *ex, const struct dm_http_head *head)
{
    if (dm_str_eq(ex->method, DM_STR("HEAD")) || head->status == 304)
        return true;
    if (dm_encoder_begin(ex, (enum dm_ucoding)ex->coding, ex->compression->level))
        return true;
    ex->tenant->counters->compression_skipped++;
    return false;
}

int dm_compression_response(struct dm_exchange *ex, struct dm_http_head *head, struct dm_http_message *message)
{
    if (!is_candidate(ex, head))
        return 0;
    if (add_vary(head) < 0)
        return DM_EBUDGET;
    if (ex->coding == DM_UCODING_NONE || is_partial(head) || !begin_body(ex, head))
        return 0;
    return describe_encoded(ex, head, message);
}

bool dm_compression_governs(const struct dm_exchange *ex, struct dm_str name)
{
    if (!ex->filter)
        return false;
    for (size_t i = 0; i < DM_COUNT(untrue_when_encoded); i++)
        if (dm_str_ieq(name, untrue_when_encoded[i]))
            return true;
    return dm_str_ieq(name, DM_STR("etag"));
}
