/* Whose requests are gRPC, deadlines, and what an answer of the gateway's own says. */
#include "gateway/grpc.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/err.h"

static void tells_grpc_by_its_content_type(void **state)
{
    static const char *const yes[] = {"application/grpc", "application/grpc+proto", "Application/gRPC;x=y",
                                      "application/grpc ; x"};
    static const char *const no[] = {"",
                                     "application/grpc-web",
                                     "application/grpc-web+proto",
                                     "application/grp",
                                     "application/json",
                                     "xapplication/grpc"};

    for (size_t i = 0; i < DM_COUNT(yes); i++)
        assert_true(dm_grpc_is(dm_str_of(yes[i])));
    for (size_t i = 0; i < DM_COUNT(no); i++)
        assert_false(dm_grpc_is(dm_str_of(no[i])));
}

static void every_reason_has_a_status(void **state)
{
    static const struct {
        enum dm_reason reason;
        enum dm_grpc_status status;
    } some[] = {
        {DM_REASON_AUTH_MISSING, DM_GRPC_UNAUTHENTICATED},      {DM_REASON_AUTH_INVALID, DM_GRPC_PERMISSION_DENIED},
        {DM_REASON_LIMIT_EXCEEDED, DM_GRPC_RESOURCE_EXHAUSTED}, {DM_REASON_TENANT_OVER_CAP, DM_GRPC_RESOURCE_EXHAUSTED},
        {DM_REASON_NO_MAPPING_RULE, DM_GRPC_UNIMPLEMENTED},     {DM_REASON_BACKEND_TIMEOUT, DM_GRPC_DEADLINE_EXCEEDED},
        {DM_REASON_BACKEND_UNREACHABLE, DM_GRPC_UNAVAILABLE},   {DM_REASON_BAD_REQUEST, DM_GRPC_INTERNAL},
        {DM_REASON_INTERNAL_ERROR, DM_GRPC_INTERNAL},
    };

    for (size_t i = 0; i < DM_COUNT(some); i++)
        assert_int_equal(dm_grpc_status_of(some[i].reason), some[i].status);
    for (int reason = 1; reason < DM_REASON_COUNT; reason++)
        if (dm_reason_info((enum dm_reason)reason)->status >= 400 &&
            dm_reason_info((enum dm_reason)reason)->status != 417 &&
            dm_reason_info((enum dm_reason)reason)->status != 505)
            assert_int_not_equal(dm_grpc_status_of((enum dm_reason)reason), DM_GRPC_UNKNOWN);
}

static void encodes_the_message(void **state)
{
    char text[256];
    struct dm_buf buf;

    dm_buf_init_fixed(&buf, text, sizeof(text));
    dm_grpc_write_status(&buf, DM_GRPC_UNAVAILABLE, DM_STR("50% of \xc3\xbc\n"));
    assert_true(dm_str_eq(dm_buf_str(&buf), DM_STR("grpc-status: 14\r\ngrpc-message: 50%25 of %C3%BC%0A\r\n")));
}

static void reads_deadlines_strictly(void **state)
{
    static const char *const bad[] = {"", "1", "S", "1s", "123456789S", "-1S", "1 S", "1.5S", "1SS", "+1S", "S1"};
    uint64_t ns = 7;

    for (size_t i = 0; i < DM_COUNT(bad); i++)
        assert_int_equal(dm_grpc_timeout_read(dm_str_of(bad[i]), &ns), DM_EINVAL);
    assert_int_equal(ns, 7);
    assert_int_equal(dm_grpc_timeout_read(DM_STR("0n"), &ns), 0);
    assert_int_equal(ns, 0);
    assert_int_equal(dm_grpc_timeout_read(DM_STR("99999999H"), &ns), 0);
    assert_int_equal(ns, UINT64_MAX); /* more than a counter of nanoseconds takes */
    assert_int_equal(dm_grpc_timeout_read(DM_STR("99999999M"), &ns), 0);
    assert_int_equal(ns, 99999999ull * 60 * 1000000000);
    assert_int_equal(dm_grpc_timeout_read(DM_STR("250m"), &ns), 0);
    assert_int_equal(ns, 250000000);
    assert_int_equal(dm_grpc_timeout_read(DM_STR("2M"), &ns), 0);
    assert_int_equal(ns, 120ull * 1000000000);
}

/* What is written reads back as the same time or less, and loses less than a hundred-thousandth. */
static void writes_what_it_reads(void **state)
{
    for (uint64_t ns = 1; ns < 90000ull * 3600 * 1000000000; ns = ns * 3 + 1) {
        char text[16];
        struct dm_buf buf;
        uint64_t again;

        dm_buf_init_fixed(&buf, text, sizeof(text));
        dm_grpc_timeout_write(&buf, ns);
        assert_int_equal(dm_grpc_timeout_read(dm_buf_str(&buf), &again), 0);
        assert_true(again <= ns && ns - again <= ns / 100000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_grpc_by_its_content_type),
        cmocka_unit_test(every_reason_has_a_status),
        cmocka_unit_test(encodes_the_message),
        cmocka_unit_test(reads_deadlines_strictly),
        cmocka_unit_test(writes_what_it_reads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
