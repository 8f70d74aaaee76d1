/* The table of reasons is whole and consistent. */
#include "fixture.h"

#include "model/field.h"
#include "model/reason.h"

static void describes_every_reason(void **state)
{
    for (int i = 1; i < DM_REASON_COUNT; i++) {
        const struct dm_reason_info *info = dm_reason_info((enum dm_reason)i);

        assert_non_null(info->code);
        assert_true(strlen(info->code) > 0 && strlen(info->title) > 0 && strlen(info->detail) > 0 &&
                    strlen(info->fix) > 0);
        assert_int_not_equal(info->who, DM_WHO_NOBODY);
        assert_true(info->status == 0 || (info->status >= 400 && info->status <= 599));
        assert_int_equal(dm_reason_of(dm_str_of(info->code)), i);
        assert_int_equal(dm_names_find(dm_reason_worded, dm_str_of(info->code)) >= 0, info->is_worded);
        assert_true(info->is_worded == false || info->status != 0);
        assert_true(strlen(dm_reason_who_name(info->who)) > 0);
    }
}

static void knows_no_other(void **state)
{
    assert_int_equal(dm_reason_of(DM_STR("")), DM_REASON_NONE);
    assert_int_equal(dm_reason_of(DM_STR("nope")), DM_REASON_NONE);
    assert_string_equal(dm_reason_info(DM_REASON_NONE)->code, "");
    assert_string_equal(dm_reason_info((enum dm_reason)9999)->code, "internal_error");
}

/* Codes and statuses are a promise; who changes one changes this list knowingly. */
static void keeps_its_codes(void **state)
{
    static const struct {
        const char *code;
        int status;
    } kept[] = {
        {"bad_request", 400},
        {"uri_too_long", 414},
        {"header_too_large", 431},
        {"body_too_large", 413},
        {"expectation_failed", 417},
        {"http_version", 505},
        {"request_timeout", 408},
        {"misdirected_request", 421},
        {"client_certificate_required", 403},
        {"client_certificate_invalid", 403},
        {"host_unknown", 404},
        {"tenant_suspended", 403},
        {"no_release", 503},
        {"no_version", 404},
        {"no_mapping_rule", 404},
        {"no_backend", 404},
        {"upgrade_not_allowed", 403},
        {"ip_denied", 403},
        {"auth_missing", 401},
        {"auth_invalid", 403},
        {"application_suspended", 403},
        {"not_subscribed", 403},
        {"limit_exceeded", 429},
        {"rate_limited", 429},
        {"tenant_over_cap", 503},
        {"overloaded", 503},
        {"too_many_connections", 503},
        {"too_many_streams", 0},
        {"cell_unavailable", 503},
        {"no_endpoint", 503},
        {"backend_unresolved", 502},
        {"egress_not_approved", 502},
        {"backend_unreachable", 502},
        {"backend_tls", 502},
        {"backend_timeout", 504},
        {"backend_bad_response", 502},
        {"backend_not_grpc", 501},
        {"circuit_open", 503},
        {"backend_busy", 503},
        {"internal_error", 500},
        {"client_closed", 0},
        {"backend_closed", 0},
        {"tunnel_idle", 0},
        {"tunnel_expired", 0},
        {"draining", 503},
    };

    assert_int_equal(DM_COUNT(kept), DM_REASON_COUNT - 1);
    for (size_t i = 0; i < DM_COUNT(kept); i++) {
        enum dm_reason reason = dm_reason_of(dm_str_of(kept[i].code));

        assert_int_not_equal(reason, DM_REASON_NONE);
        assert_int_equal(dm_reason_info(reason)->status, kept[i].status);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(describes_every_reason),
        cmocka_unit_test(knows_no_other),
        cmocka_unit_test(keeps_its_codes),
    };

    return cmocka_run_group_tests_name("model/reason", tests, NULL, NULL);
}
