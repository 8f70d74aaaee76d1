/* Prometheus text: shape, escaping, sums. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/map.h"
#include "base/mem.h"
#include "gateway/observe/metrics.h"

static struct dm_counters_page *pages[2];
static struct dm_buf text;

static int setup(void **state)
{
    for (int i = 0; i < 2; i++)
        pages[i] = dm_calloc(1, sizeof(*pages[i]));
    dm_buf_init(&text, 1 << 20);
    return 0;
}

static int teardown(void **state)
{
    for (int i = 0; i < 2; i++)
        dm_free(pages[i]);
    dm_buf_done(&text);
    return 0;
}

static void write_view(const struct dm_metrics_tenant *tenants, size_t n)
{
    static const struct dm_metrics_circuit circuits[] = {
        {{"orders", 6}, {"a\"b", 3}, 2},
        {{"catalog", 7}, {"service", 7}, 0},
    };
    struct dm_metrics_worker workers[2] = {{.pages = {pages[0]}, .is_up = true, .log_lines = 7},
                                           {.pages = {pages[1]}, .number = 1, .n_restarts = 3}};
    struct dm_metrics_view view = {.version = DM_STR("1.2"),
                                   .gateway = DM_STR("gw"),
                                   .tenants = tenants,
                                   .n_tenants = n,
                                   .circuits = circuits,
                                   .n_circuits = DM_COUNT(circuits),
                                   .workers = workers,
                                   .n_workers = 2,
                                   .has_link = true,
                                   .link_silent_s = 1.5};

    dm_metrics_write(&view, &text);
    assert_false(text.failed);
    dm_buf_add_char(&text, '\0');
}

static void assert_has(const char *line)
{
    char whole[512];

    snprintf(whole, sizeof(whole), "\n%s\n", line);
    if (!strstr(text.ptr, whole))
        fail_msg("no line '%s'", line);
}

static void assert_has_not(const char *part)
{
    if (strstr(text.ptr, part))
        fail_msg("there is '%s'", part);
}

static void test_sums_over_workers(void **state)
{
    struct dm_metrics_tenant tenant = {.name = DM_STR("orders"), .slot = 5, .is_live = true, .n_refused = 2};

    tenant.live[DM_UNIT_RELEASE] = (struct dm_mark){1, 12};
    pages[0]->tenants[5].requests = 40;
    pages[1]->tenants[5].requests = 2;
    pages[0]->tenants[5].status[2] = 41;
    pages[0]->tenants[5].reasons[DM_REASON_LIMIT_EXCEEDED] = 4;
    pages[0]->tenants[5].exchanges_begun = 10;
    pages[0]->tenants[5].tunnels_begun = 9;
    pages[1]->tenants[5].tunnels_ended = 5;
    pages[1]->tenants[5].exchanges_ended = 7;
    pages[0]->tenants[5].latency[0] = 1;
    pages[1]->tenants[5].latency[DM_LATENCY_BUCKETS - 1] = 1;
    pages[1]->tenants[5].latency_us_sum = 2500000;
    pages[1]->worker.loop_busy_ns = 1500000000;
    pages[0]->tenants[5].cpu_ns = 1000000000;
    pages[1]->tenants[5].cpu_ns = 250000000;
    pages[0]->tenants[5].connections = 3;
    pages[1]->tenants[5].connections = 4;
    pages[1]->tenants[5].upstream_connections = 2;
    pages[0]->tenants[5].refused[DM_CAP_CONNECTIONS] = 5;
    pages[1]->tenants[5].refused[DM_CAP_BODY_BYTES] = 6;
    pages[0]->tenants[5].waiting[DM_WAIT_EXCHANGES] = pages[1]->tenants[5].waiting[DM_WAIT_EXCHANGES] = 2;
    pages[1]->tenants[5].waits[DM_WAIT_EXCHANGES] = 9;
    pages[1]->tenants[5].waits_expired[DM_WAIT_EXCHANGES] = pages[1]->tenants[5].wait[0] = 3;
    pages[1]->tenants[5].wait_us_sum = 1500000;
    pages[0]->tenants[5].upstream_tls_failures[DM_TLS_REASON_CERTIFICATE_EXPIRED] = 2;
    pages[1]->tenants[5].upstream_tls_failures[DM_TLS_REASON_CERTIFICATE_EXPIRED] = 1;
    pages[0]->tenants[5].timeouts[DM_HTTP_TIMEOUT_READER] = 8;
    write_view(&tenant, 1);
    assert_has("daemun_requests_total{tenant=\"orders\"} 42");
    assert_has("daemun_responses_total{tenant=\"orders\",class=\"2xx\"} 41");
    assert_has("daemun_refusals_total{tenant=\"orders\",reason=\"limit_exceeded\"} 4");
    assert_has_not("auth_missing");
    assert_has("daemun_tenant_connections{tenant=\"orders\"} 7");
    assert_has("daemun_tenant_cpu_seconds_total{tenant=\"orders\"} 1.25");
    assert_has("daemun_tenant_upstream_connections{tenant=\"orders\"} 2");
    assert_has("daemun_tenant_refused_total{tenant=\"orders\",cap=\"connections\"} 5");
    assert_has("daemun_tenant_refused_total{tenant=\"orders\",cap=\"body_bytes\"} 6");
    assert_has("daemun_tenant_waiting{tenant=\"orders\",cap=\"exchanges\"} 4");
    assert_has("daemun_tenant_waits_total{tenant=\"orders\",cap=\"exchanges\"} 9");
    assert_has("daemun_tenant_waits_expired_total{tenant=\"orders\",cap=\"exchanges\"} 3");
    assert_has("daemun_tenant_wait_seconds_bucket{tenant=\"orders\",le=\"0.0001\"} 3");
    assert_has("daemun_tenant_wait_seconds_sum{tenant=\"orders\"} 1.5");
    assert_has_not("cap=\"headers\"");
    assert_has("daemun_upstream_tls_failures_total{tenant=\"orders\",reason=\"certificate_expired\"} 3");
    assert_has_not("reason=\"alert\"");
    assert_has("daemun_tenant_timeouts_total{tenant=\"orders\",what=\"reader\"} 8");
    assert_has_not("what=\"idle\"");
    assert_has("daemun_requests_in_flight{tenant=\"orders\"} 3");
    assert_has("daemun_tunnels{tenant=\"orders\"} 4");
    assert_has("daemun_tunnels_total{tenant=\"orders\"} 9");
    assert_has("daemun_request_duration_seconds_bucket{tenant=\"orders\",le=\"0.0001\"} 1");
    assert_has("daemun_request_duration_seconds_bucket{tenant=\"orders\",le=\"30\"} 1");
    assert_has("daemun_request_duration_seconds_bucket{tenant=\"orders\",le=\"+Inf\"} 2");
    assert_has("daemun_request_duration_seconds_sum{tenant=\"orders\"} 2.5");
    assert_has("daemun_request_duration_seconds_count{tenant=\"orders\"} 2");
    assert_has("daemun_unit_sequence{tenant=\"orders\",kind=\"release\"} 12");
    assert_has("daemun_units_refused{tenant=\"orders\"} 2");
    assert_has("daemun_worker_up{worker=\"0\"} 1");
    assert_has("daemun_worker_up{worker=\"1\"} 0");
    assert_has("daemun_worker_restarts_total{worker=\"1\"} 3");
    assert_has("daemun_access_log_written_total{worker=\"0\"} 7");
    assert_has("daemun_worker_loop_busy_seconds_total{worker=\"1\"} 1.5");
    assert_has("daemun_circuit_state{tenant=\"orders\",backend=\"a\\\"b\"} 2");
    assert_has("daemun_circuit_state{tenant=\"catalog\",backend=\"service\"} 0");
    assert_has("daemun_link_silent_seconds 1.500");
    assert_has("daemun_build_info{version=\"1.2\",gateway=\"gw\",program=\"daemun-gateway\"} 1");
}

static void test_escaping(void **state)
{
    struct dm_metrics_tenant tenant = {.name = DM_STR("a\"b\\c\nd"), .is_live = true};

    write_view(&tenant, 1);
    assert_has("daemun_requests_total{tenant=\"a\\\"b\\\\c\\nd\"} 0");
}

static void test_tenants_that_are_gone(void **state)
{
    struct dm_metrics_tenant tenants[2] = {{.name = DM_STR("gone"), .slot = 0}, {.name = DM_STR("counted"), .slot = 1}};

    pages[0]->tenants[1].requests = 1;
    write_view(tenants, 2);
    assert_has_not("\"gone\"");
    assert_has("daemun_requests_total{tenant=\"counted\"} 1");
}

static void test_two_seats_are_one_worker(void **state)
{
    struct dm_metrics_tenant tenant = {.name = DM_STR("orders"), .slot = 1, .is_live = true};
    struct dm_metrics_worker worker = {.pages = {pages[0], pages[1]}, .is_up = true, .n_former = 1, .n_leaving = 2};
    struct dm_metrics_view view = {
        .version = DM_STR("1.2"), .tenants = &tenant, .n_tenants = 1, .workers = &worker, .n_workers = 1};

    pages[0]->tenants[1].requests = 3;
    pages[1]->tenants[1].requests = 4;
    pages[0]->worker.connections_accepted = 5;
    pages[1]->worker.connections_accepted = 6;
    pages[0]->worker.connections_open = 1;
    pages[1]->worker.connections_open = 2;
    pages[0]->worker.limit_slots_used = 9;
    pages[1]->worker.limit_slots_used = 8;
    dm_metrics_write(&view, &text);
    assert_has("daemun_requests_total{tenant=\"orders\"} 7");
    assert_has("daemun_worker_connections_total{worker=\"0\"} 11");
    assert_has("daemun_worker_connections{worker=\"0\"} 3");
    assert_has("daemun_worker_limit_slots{worker=\"0\"} 9");
    assert_has("daemun_worker_former{worker=\"0\"} 1");
    assert_has("daemun_worker_draining{worker=\"0\"} 2");
}

static void test_worker_without_pages(void **state)
{
    struct dm_metrics_tenant tenant = {.name = DM_STR("orders"), .slot = 1, .is_live = true};
    struct dm_counters_page *kept = pages[1];

    pages[1] = NULL;
    pages[0]->tenants[1].requests = 3;
    write_view(&tenant, 1);
    assert_has("daemun_requests_total{tenant=\"orders\"} 3");
    assert_has_not("daemun_worker_connections{worker=\"1\"}");
    pages[1] = kept;
}

/* The length of the family's name that a sample line belongs to. */
static size_t family_len(struct dm_str line)
{
    static const char *const suffixes[] = {"_seconds_bucket", "_seconds_sum", "_seconds_count"};
    size_t len = DM_MIN(dm_str_find(line, '{'), dm_str_find(line, ' '));

    for (size_t i = 0; i < DM_COUNT(suffixes); i++)
        if (dm_str_ends(dm_str_n(line.ptr, len), dm_str_of(suffixes[i])))
            return len - strlen(strrchr(suffixes[i], '_'));
    return len;
}

/* Each family is announced once, and its samples follow, before the next one. */
static void test_shape(void **state)
{
    struct dm_metrics_tenant tenants[2] = {{.name = DM_STR("a"), .slot = 0, .is_live = true},
                                           {.name = DM_STR("b"), .slot = 1, .is_live = true}};
    struct dm_str rest, line, family = DM_STR_NULL;
    struct dm_map seen;

    pages[0]->tenants[0].requests = pages[1]->tenants[1].requests = 5;
    pages[0]->tenants[0].reasons[DM_REASON_AUTH_MISSING] = 1;
    pages[0]->tenants[0].refused[DM_CAP_STREAMS] = pages[0]->tenants[1].timeouts[DM_HTTP_TIMEOUT_HEAD] = 1;
    write_view(tenants, 2);
    dm_map_init_random(&seen);
    rest = dm_str_n(text.ptr, text.len - 1);
    while (dm_str_cut(&rest, '\n', &line) && line.len > 0) {
        if (dm_str_starts(line, DM_STR("# HELP "))) {
            family = dm_str_skip(line, 7);
            family.len = dm_str_find(family, ' ');
            assert_null(dm_map_put(&seen, family, pages));
        } else if (dm_str_starts(line, DM_STR("# TYPE "))) {
            assert_true(dm_str_starts(dm_str_skip(line, 7), family));
        } else {
            assert_true(dm_str_eq(dm_str_n(line.ptr, family_len(line)), family));
        }
    }
    dm_map_done(&seen);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_sums_over_workers),    TEST(test_escaping), TEST(test_tenants_that_are_gone),
        TEST(test_worker_without_pages), TEST(test_shape),    TEST(test_two_seats_are_one_worker),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
