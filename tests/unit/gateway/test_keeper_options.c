/* The command line: what is read, what is refused and how it says so, and that what is passed on reads back the same. */
#include <unistd.h>

#include "keeper_fixture.h"

static struct dm_gateway_options options;
static struct dm_err err;

static int read_line(const char *const *args)
{
    int n = 0;

    while (args[n])
        n++;
    memset(&err, 0, sizeof(err));
    return dm_gateway_options_read(&options, n, args, &err);
}

#define READ(...) read_line((const char *const[]){__VA_ARGS__, NULL})

static void test_defaults(void **state)
{
    assert_int_equal(READ("--data", "/var/lib/x"), 0);
    assert_string_equal(options.data_dir, "/var/lib/x");
    assert_int_equal(options.n_listen, 1);
    assert_int_equal(dm_addr_port(&options.listen[0].addr), 8080);
    assert_int_equal(dm_addr_port(&options.admin), 9090);
    assert_true(options.n_workers >= 1);
    assert_true(options.access_log);
    assert_int_equal(options.queue_delay_ms, 100);
    assert_false(options.has_controller);
    assert_int_equal(options.role, DM_ROLE_KEEPER);
}

static void test_everything(void **state)
{
    assert_int_equal(READ("--data=/d/", "--listen", "0.0.0.0:80", "--listen=[::1]:81", "--workers", "3", "--controller",
                          "unix:/run/c", "--admin", "127.0.0.1:1", "--id", "gw-1", "--trusted-fronts",
                          "10.0.0.0/8, 192.0.2.1", "--log-level", "debug", "--log-format=text", "--access-log", "off",
                          "--fairness=off", "--queue-delay-ms", "0"),
                     0);
    assert_string_equal(options.data_dir, "/d");
    assert_int_equal(options.n_listen, 2);
    assert_int_equal(options.n_workers, 3);
    assert_true(options.has_controller);
    assert_int_equal(options.listen[1].trusted_fronts.n, 2);
    assert_string_equal(options.id, "gw-1");
    assert_int_equal(options.log_level, DM_LOG_DEBUG);
    assert_true(options.log_is_text);
    assert_false(options.access_log);
    assert_false(options.is_fair);
    assert_int_equal(options.queue_delay_ms, 0);
}

static void test_refused(void **state)
{
    static const struct {
        const char *name, *value, *says;
    } cases[] = {
        {"--workers", "0", "from 1 to 256"},
        {"--workers", "many", "found 'many'"},
        {"--listen", "8080", "127.0.0.1:80"},
        {"--listen", "127.0.0.1:0", "port from 1"},
        {"--listen", "127.0.0.1:80 head-timeout-ms=x",
         "head-timeout-ms: expected a number from 0 to 3600000, found 'x'"},
        {"--connections", "0", "a number from 1 to"},
        {"--admin", "nowhere", "expected an address"},
        {"--controller", "127.0.0.1:1", "unix:/path"},
        {"--controller-uid", "-1", "a number"},
        {"--id", "a b", "letters"},
        {"--id", "", "letters"},
        {"--trusted-fronts", "10.0.0.1/8", "10.0.0.0/8"},
        {"--access-log", "maybe", "off or on"},
        {"--log-level", "loud", "debug, info, warn or error"},
        {"--log-format", "xml", "json or text"},
        {"--fairness", "maybe", "off or on"},
        {"--queue-delay-ms", "60001", "a number from 0 to 60000"},
        {"--drain-ms", "soon", "a number"},
        {"--head-timeout-ms", "3600001", "a number from 0 to 3600000"},
        {"--idle-timeout-ms", "", "a number"},
        {"--body-timeout-ms", "1s", "a number"},
        {"--body-rate", "-1", "a number"},
        {"--body-max", "1M", "a number"},
        {"--cell-uid-base", "0", "a number from 1 to 4294950910"},
        {"--cell-uid-base", "4294950911", "a number from 1 to"},
        {"--cgroup", "here", "an absolute path"},
        {"--cell", "", "the name of a tenant"},
        {"--cell-uid", "root", "a number"},
    };

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        assert_int_equal(READ("--data", "/d", cases[i].name, cases[i].value), DM_EINVAL);
        assert_true(strncmp(err.message, cases[i].name, strlen(cases[i].name)) == 0);
        if (!strstr(err.message, cases[i].says))
            fail_msg("'%s' does not say '%s'", err.message, cases[i].says);
    }
    assert_int_equal(READ("--data", "/d", "--speed", "9"), DM_EINVAL);
    assert_non_null(strstr(err.message, "'--speed'"));
    assert_int_equal(READ("--data"), DM_EINVAL);
    assert_int_equal(READ("--workers", "1"), DM_EINVAL);
    assert_non_null(strstr(err.message, "--data"));
    assert_int_equal(READ("--data", "/"
                                    "01234567890123456789012345678901234567890123456789012345678901234567890123456789"),
                     DM_EINVAL);
}

static void test_relative_data_becomes_absolute(void **state)
{
    assert_int_equal(chdir("/tmp"), 0);
    assert_int_equal(READ("--data", "here/gateway"), 0);
    assert_string_equal(options.data_dir, "/tmp/here/gateway");
}

static void test_passed_on(void **state)
{
    struct dm_gateway_options before;
    struct dm_gateway_args args;

    assert_int_equal(READ("--data=/d", "--listen=0.0.0.0:80", "--listen=[::1]:81 head-timeout-ms=9 trusted-fronts=",
                          "--listen=*:82 http2=off proxy-protocol=10.0.0.0/8,unix:", "--workers=4", "--id=x",
                          "--trusted-fronts=10.0.0.0/8,2001:db8::/32", "--log-level=warn", "--log-format=json",
                          "--access-log=off", "--fairness=off", "--queue-delay-ms=7", "--drain-ms=77",
                          "--head-timeout-ms=1", "--idle-timeout-ms=2", "--body-timeout-ms=3", "--body-rate=4",
                          "--body-max=5000000000"),
                     0);
    before = options;
    dm_gateway_options_args(&before, DM_ROLE_WORKER, 3, 1, &args);
    assert_int_equal(dm_gateway_options_read(&options, (int)args.count, args.items, &err), 0);
    assert_int_equal(options.role, DM_ROLE_WORKER);
    assert_int_equal(options.slot, 3);
    assert_int_equal(options.bank, 1);
    assert_string_equal(options.data_dir, before.data_dir);
    assert_int_equal(options.n_listen, 4);
    assert_memory_equal(options.listen, before.listen, sizeof(before.listen));
    assert_int_equal(options.listen[1].limits.head_timeout_ms, 9);
    assert_int_equal(options.listen[1].trusted_fronts.n, 0);
    assert_int_equal(options.listen[3].limits.head_timeout_ms, 1);
    assert_false(options.listen[3].has_http2);
    assert_true(options.listen[3].is_optional);
    assert_int_equal(options.n_workers, 4);
    assert_string_equal(options.id, "x");
    assert_false(options.is_fair);
    assert_int_equal(options.listen[0].trusted_fronts.n, 2);
    assert_int_equal(options.log_level, DM_LOG_WARN);
    assert_false(options.log_is_text);
    assert_false(options.access_log);
    assert_int_equal(options.queue_delay_ms, 7);
    assert_int_equal(options.drain_ms, 77);
    assert_int_equal(options.listen[0].limits.head_timeout_ms, 1);
    assert_int_equal(options.listen[0].limits.idle_timeout_ms, 2);
    assert_int_equal(options.listen[0].limits.body_timeout_ms, 3);
    assert_int_equal(options.listen[0].limits.body_rate, 4);
    assert_int_equal(options.listen[0].limits.body_max, 5000000000);
}

/* What a cell's worker is told, it makes the same of: by that the keeper knows it. */
static void test_passed_on_to_cells(void **state)
{
    struct dm_gateway_options before;
    struct dm_gateway_args args;

    assert_int_equal(READ("--data=/d", "--cell-uid-base=70000", "--cgroup=/sys/fs/cgroup"), 0);
    assert_int_equal(options.cell_uid_base, 70000);
    assert_string_equal(options.cgroup, "/sys/fs/cgroup");
    before = options;
    memcpy(before.cell, "orders", sizeof("orders"));
    before.cell_uid = 70007;
    memset(before.data_dir, 'x', DM_GATEWAY_DATA_MAX + 10);
    before.data_dir[0] = '/';
    before.data_dir[DM_GATEWAY_DATA_MAX + 10] = '\0';
    dm_gateway_options_args(&before, DM_ROLE_WORKER, 0, 1, &args);
    assert_int_equal(dm_gateway_options_read(&options, (int)args.count, args.items, &err), 0);
    assert_string_equal(options.cell, "orders");
    assert_int_equal(options.cell_uid, 70007);
    assert_string_equal(options.data_dir, before.data_dir);
    assert_int_equal(options.cell_uid_base, DM_GATEWAY_NO_UID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),  cmocka_unit_test(test_everything),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_relative_data_becomes_absolute),
        cmocka_unit_test(test_passed_on), cmocka_unit_test(test_passed_on_to_cells),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
