/* The generic operations on field tables: round trips, canonical order, defaults, secrets, budgets, error lists. */
#include "fixture.h"

#include "base/buf.h"
#include "base/jsonw.h"
#include "model/tenant.h"
#include "model/tenant_file.h"
#include "model/token.h"

static struct dm_arena arena;

static int set_up(void **state)
{
    dm_arena_init(&arena, NULL, 16 << 20);
    return 0;
}

static int tear_down(void **state)
{
    dm_arena_done(&arena);
    return 0;
}

static void reads_what_it_wrote(void **state)
{
    const unsigned flags[] = {DM_WRITE_SECRETS, DM_WRITE_SECRETS | DM_WRITE_DEFAULTS,
                              DM_WRITE_SECRETS | DM_WRITE_DEFAULTS | DM_WRITE_READ_ONLY};
    struct dm_tenant_file first, again;

    fixture_read(&dm_schema_tenant_file, fixture_file, &arena, &first);
    for (size_t i = 0; i < DM_COUNT(flags); i++) {
        const char *text = fixture_text(&dm_schema_tenant_file, &first, flags[i], &arena);
        struct dm_errs errs = {0};
        struct dm_diff *diffs;

        if (dm_model_read_text(&dm_schema_tenant_file, dm_str_of(text), 1 << 20, &arena, &again, &errs) < 0)
            fail_msg("%s: %s", errs.items[0].pointer, errs.items[0].message);
        assert_true(dm_model_equal(&dm_schema_tenant_file, &first, &again));
        assert_int_equal(dm_model_diff(&dm_schema_tenant_file, &first, &again, &arena, &diffs), 0);
        assert_string_equal(fixture_text(&dm_schema_tenant_file, &again, flags[i], &arena), text);
    }
}

static void writes_in_the_order_of_the_table(void **state)
{
    struct dm_backend backend;

    fixture_read(&dm_schema_backend,
                 "{'idle_timeout_ms':5,'base_path':'/','endpoints':[{'weight':1,'port':1,'host':'a'}],'name':'n'}",
                 &arena, &backend);
    assert_string_equal(fixture_text(&dm_schema_backend, &backend, 0, &arena),
                        "{\"name\":\"n\",\"endpoints\":[{\"host\":\"a\",\"port\":1}],\"idle_timeout_ms\":5}");
    assert_string_equal(
        fixture_text(&dm_schema_backend, &backend, DM_WRITE_DEFAULTS, &arena),
        "{\"name\":\"n\",\"description\":\"\",\"endpoints\":[{\"host\":\"a\",\"port\":1,\"weight\":1}],"
        "\"base_path\":\"/\",\"protocol\":\"http1\",\"connect_timeout_ms\":1000,\"response_timeout_ms\":30000,\"total_timeout_ms\":0,"
        "\"idle_timeout_ms\":5,\"tunnel_idle_timeout_ms\":300000,\"tunnel_total_ms\":0,"
        "\"balance\":{\"method\":\"round_robin\",\"hash_by\":\"address\",\"header\":\"\"},"
        "\"outlier\":{\"consecutive_failures\":5,\"eject_ms\":1000,\"eject_max_ms\":30000,"
        "\"max_percent\":50,\"slow_start_ms\":10000},"
        "\"retry\":{\"tries\":3,\"budget_percent\":20,\"budget_min\":30},"
        "\"breaker\":{\"mode\":\"auto\",\"consecutive_failures\":10,\"failure_percent\":50,"
        "\"failure_statuses\":\"unavailable\",\"slow_ms\":0,\"slow_percent\":80,\"window_ms\":10000,"
        "\"min_requests\":50,\"open_ms\":1000,\"open_max_ms\":30000,\"probes\":1},"
        "\"concurrency\":{\"limit\":\"none\",\"min\":2,\"max\":1000}}");
}

static void orders_maps_by_key(void **state)
{
    struct dm_version a, b;

    fixture_read(&dm_schema_version,
                 "{'name':'v','policies':[{'type':'api_key'}],'errors':{'rate_limited':{'status':430},"
                 "'auth_missing':{'status':403},'limit_exceeded':{'status':431}}}",
                 &arena, &a);
    fixture_read(&dm_schema_version,
                 "{'name':'v','policies':[{'type':'api_key'}],'errors':{'auth_missing':{'status':403},"
                 "'limit_exceeded':{'status':431},'rate_limited':{'status':430}}}",
                 &arena, &b);
    assert_int_equal(a.n_errors, 3);
    assert_int_equal(a.errors[0].status, 403);
    assert_int_equal(a.errors[2].status, 430);
    assert_true(dm_model_equal(&dm_schema_version, &a, &b));
    assert_string_equal(fixture_text(&dm_schema_version, &a, 0, &arena),
                        fixture_text(&dm_schema_version, &b, 0, &arena));
}

static void fills_defaults(void **state)
{
    struct dm_version version;
    struct dm_tenant tenant;
    const struct dm_policy_api_key *key;

    fixture_read(&dm_schema_version,
                 "{'name':'v','policies':[{'type':'api_key'},{'type':'cors','allow_origins':['*']}],"
                 "'mapping_rules':[{'method':'GET','pattern':'/'}],'backends':[{'backend':'b'}]}",
                 &arena, &version);
    key = &version.policies[0].api_key;
    assert_int_equal(key->in, DM_KEY_IN_HEADER | DM_KEY_IN_QUERY);
    assert_true(dm_str_eq(key->query, DM_STR("user_key")));
    assert_true(dm_str_eq(key->header, DM_STR("X-API-Key")));
    assert_false(key->forward);
    assert_int_equal(version.policies[1].type, DM_POLICY_CORS);
    assert_int_equal(version.policies[1].cors.max_age_s, -1);
    assert_true(dm_str_eq(version.path, DM_STR("/")));
    assert_true(dm_str_eq(version.backends[0].path, DM_STR("/")));
    assert_true(dm_str_eq(version.mapping_rules[0].metric, DM_STR("hits")));
    assert_int_equal(version.mapping_rules[0].delta, 1);
    dm_model_default(&dm_schema_tenant, &tenant);
    assert_int_equal(tenant.weight, DM_WEIGHT_DEFAULT);
    assert_int_equal(tenant.caps.connections, 0);
    assert_int_equal(tenant.caps.queue, DM_QUEUE_DEFAULT);
    assert_int_equal(tenant.caps.queue_ms, DM_QUEUE_MS_DEFAULT);
    assert_int_equal(tenant.tenancy, DM_TENANCY_SHARED);
    assert_int_equal(tenant.cell.workers, 1);
}

static void shows_secrets_only_when_asked(void **state)
{
    struct dm_application application;
    struct dm_token token = {.id = 3,
                             .name = DM_STR("ci"),
                             .role = DM_ROLE_TENANT_ADMIN,
                             .tenant = DM_STR("orders"),
                             .token = DM_STR("dmt_secret")};

    fixture_read(&dm_schema_application, "{'name':'a','credentials':[{'name':'c','key':'canary'}]}", &arena,
                 &application);
    assert_null(strstr(
        fixture_text(&dm_schema_application, &application, DM_WRITE_DEFAULTS | DM_WRITE_READ_ONLY, &arena), "canary"));
    assert_non_null(strstr(fixture_text(&dm_schema_application, &application, DM_WRITE_SECRETS, &arena), "canary"));
    assert_string_equal(fixture_text(&dm_schema_token, &token, DM_WRITE_READ_ONLY, &arena),
                        "{\"id\":3,\"name\":\"ci\",\"role\":\"tenant_admin\",\"tenant\":\"orders\"}");
    assert_non_null(strstr(fixture_text(&dm_schema_token, &token, DM_WRITE_READ_ONLY | DM_WRITE_SECRETS, &arena),
                           "\"token\":\"dmt_secret\""));
}

static void ignores_read_only_members_when_comparing(void **state)
{
    struct dm_application a, b;

    fixture_read(&dm_schema_application, "{'id':1,'name':'a'}", &arena, &a);
    fixture_read(&dm_schema_application, "{'name':'a'}", &arena, &b);
    assert_true(dm_model_equal(&dm_schema_application, &a, &b));
    fixture_read(&dm_schema_application, "{'name':'a','state':'suspended'}", &arena, &b);
    assert_false(dm_model_equal(&dm_schema_application, &a, &b));
}

static void lists_all_errors(void **state)
{
    struct dm_json *json = fixture_json("{'name':'A','endpoints':[{'host':'a','port':0},{'port':1}],'x':1}");
    struct dm_backend backend = {.name = DM_STR("before")};
    struct dm_errs errs = {0};

    assert_int_equal(dm_model_read(&dm_schema_backend, json, &arena, &backend, &errs), DM_EINVAL);
    assert_int_equal(errs.total, 4);
    assert_string_equal(errs.items[0].pointer, "/x");
    assert_string_equal(errs.items[1].pointer, "/name");
    assert_string_equal(errs.items[2].pointer, "/endpoints/0/port");
    assert_string_equal(errs.items[3].pointer, "/endpoints/1");
    assert_string_equal(errs.items[3].message, "member 'host' is required");
    assert_true(dm_str_eq(backend.name, DM_STR("before")));
    dm_json_free(json);
}

static void keeps_the_first_errors(void **state)
{
    struct dm_json *json = fixture_json("{'name':'n','endpoints':[]}");
    struct dm_backend backend;
    struct dm_errs errs = {0};

    for (int i = 0; i < 40; i++) {
        char name[16];

        snprintf(name, sizeof(name), "x%d", i);
        dm_json_set(json, name, dm_json_new_int(i));
    }
    assert_int_equal(dm_model_read(&dm_schema_backend, json, &arena, &backend, &errs), DM_EINVAL);
    assert_int_equal(errs.n, DM_ERRS_MAX);
    assert_int_equal(errs.total, 41);
    dm_json_free(json);
}

static void stops_at_the_budget(void **state)
{
    struct dm_json *json = fixture_json(fixture_file);
    struct dm_tenant_file file;

    for (size_t budget = 0;; budget += 512) {
        struct dm_errs errs = {0};
        struct dm_arena small;
        int rc;

        dm_arena_init(&small, NULL, budget);
        rc = dm_model_read(&dm_schema_tenant_file, json, &small, &file, &errs);
        dm_arena_done(&small);
        if (rc == 0)
            break;
        assert_int_equal(errs.items[0].code, DM_EBUDGET);
        assert_true(budget < 1 << 20);
    }
    dm_json_free(json);
}

static void names_the_place_of_bad_text(void **state)
{
    struct dm_backend backend;
    struct dm_errs errs = {0};

    assert_int_equal(dm_model_read_text(&dm_schema_backend, DM_STR("{\"name\":"), 100, &arena, &backend, &errs),
                     DM_EINVAL);
    assert_int_equal(errs.total, 1);
    memset(&errs, 0, sizeof(errs));
    assert_true(dm_model_read_text(&dm_schema_backend, DM_STR("{\"name\":\"aaaaa\"}"), 5, &arena, &backend, &errs) < 0);
    assert_int_equal(errs.total, 1);
}

static void shows_values_safely(void **state)
{
    char text[DM_SHOW_MAX];
    char longer[200];

    assert_string_equal(dm_show(DM_STR("a\r\nb\x7F"), text), "'a\\x0D\\x0Ab\\x7F'");
    memset(longer, 'x', sizeof(longer));
    assert_int_equal(strlen(dm_show(dm_str_n(longer, sizeof(longer)), text)), 64 + 2 + strlen("…"));
    memset(longer, '\1', sizeof(longer));
    assert_int_equal(strlen(dm_show(dm_str_n(longer, sizeof(longer)), text)), 4 * 64 + 2 + strlen("…"));
    memcpy(longer, "가가가가가가가가가가가가가가가가가가가가가가가가", 72);
    assert_true(dm_str_is_utf8(dm_str_of(dm_show(dm_str_n(longer, 72), text))));
}

static void cuts_pointers_at_a_step(void **state)
{
    struct dm_errs errs = {0};
    struct dm_check check;
    size_t mark;

    dm_check_init(&check, &errs);
    mark = dm_check_enter(&check, "/%0200d", 1);
    dm_check_enter(&check, "/%0100d", 2);
    dm_check_fail(&check, "/x", "wrong");
    assert_int_equal(strlen(errs.items[0].pointer), 203);
    dm_check_leave(&check, mark);
    assert_string_equal(check.pointer, "");
}

static void finds_parts_of_a_product(void **state)
{
    struct dm_tenant_file file;
    const struct dm_product *product;

    fixture_read(&dm_schema_tenant_file, fixture_file, &arena, &file);
    product = &file.products[0];
    assert_ptr_equal(dm_product_metric(product, DM_STR("list")), &product->metrics[0]);
    assert_true(dm_str_eq(dm_product_metric(product, DM_STR("hits"))->name, DM_METRIC_HITS));
    assert_null(dm_product_metric(product, DM_STR("x")));
    assert_ptr_equal(dm_product_plan(product, DM_STR("basic")), &product->plans[0]);
    assert_null(dm_product_plan(product, DM_STR("x")));
    assert_ptr_equal(dm_product_version(product, DM_STR("v2")), &product->versions[1]);
    assert_null(dm_product_version(product, DM_STR("v3")));
    assert_int_equal(dm_rate_limit_burst(&product->plans[0].rate_limits[0]), 20);
    assert_int_equal(dm_rate_limit_burst(&(struct dm_rate_limit){.rate = 7}), 7);
    assert_true(dm_rate_unit_ns(DM_RATE_HOUR) == 3600000000000u);
}

static void holds_tenants_and_tokens(void **state)
{
    static const char *const bad[][3] = {
        {"{'name':'a','weight':0}", "/weight", "must be between 1 and 10000, found 0"},
        {"{'name':'a','compat_date':'2026-02-29'}", "/compat_date",
         "must be a date such as 2026-11-01, found '2026-02-29'"},
        {"{'name':'a','caps':{'queue':10001}}", "/caps/queue", "must be between 0 and 10000, found 10001"},
        {"{'name':'a','caps':{'queue_ms':60001}}", "/caps/queue_ms", "must be between 0 and 60000, found 60001"},
        {"{'name':'a','caps':{'connections':-1}}", "/caps/connections", "must be between 0 and 1000000, found -1"},
        {"{'name':'a','caps':{'handshakes':1000001}}", "/caps/handshakes",
         "must be between 0 and 1000000, found 1000001"},
        {"{'name':'a','caps':{'bandwidth_in_bytes':1023}}", "/caps/bandwidth_in_bytes",
         "must be 0 or at least 1024, found 1023"},
        {"{'name':'a','caps':{'bandwidth_out_bytes':2000,'body_rate_bytes':2001}}", "/caps/bandwidth_out_bytes",
         "must be at least body_rate_bytes, which every body has to keep (2001), found 2000"},
        {"{'name':'a','caps':{'queue_ms':0}}", "/caps/queue_ms",
         "must be at least 1 for the 100 requests of queue to wait, found 0 (queue 0: none waits)"},
        {"{'name':'a','caps':{'exchanges':10,'streams':11}}", "/caps/streams",
         "must be at most exchanges, which all connections share (10), found 11"},
        {"{'name':'a','caps':{'header_bytes':1000,'url_bytes':1001}}", "/caps/url_bytes",
         "must be at most header_bytes, of which it is a part (1000), found 1001"},
        {"{'name':'a','tenancy':'alone'}", "/tenancy", "must be 'shared' or 'dedicated', found 'alone'"},
        {"{'name':'a','cell':{'workers':0}}", "/cell/workers", "must be between 1 and 32, found 0"},
        {"{'name':'a','cell':{'workers':33}}", "/cell/workers", "must be between 1 and 32, found 33"},
        {"{'name':'a','cell':{'cpu_percent':3201}}", "/cell/cpu_percent", "must be between 0 and 3200, found 3201"},
        {"{'name':'a','cell':{'cpu_weight':0}}", "/cell/cpu_weight", "must be between 1 and 10000, found 0"},
    };
    struct dm_json *json = fixture_json("{'name':'a','role':'master_admin','tenant':'t'}");
    struct dm_tenant tenant;
    struct dm_token token;
    struct dm_errs errs = {0};

    assert_int_equal(dm_model_read(&dm_schema_token, json, &arena, &token, &errs), DM_EINVAL);
    assert_string_equal(errs.items[0].pointer, "/tenant");
    assert_string_equal(errs.items[0].message, "must be left out when role is 'master_admin'");
    dm_json_free(json);
    for (size_t i = 0; i < DM_COUNT(bad); i++) {
        memset(&errs, 0, sizeof(errs));
        json = fixture_json(bad[i][0]);
        assert_int_equal(dm_model_read(&dm_schema_tenant, json, &arena, &tenant, &errs), DM_EINVAL);
        assert_string_equal(errs.items[0].pointer, bad[i][1]);
        assert_string_equal(errs.items[0].message, bad[i][2]);
        dm_json_free(json);
    }
    fixture_read(&dm_schema_tenant, "{'name':'a','compat_date':'2028-02-29','caps':{'exchanges':5}}", &arena, &tenant);
    assert_int_equal(tenant.caps.exchanges, 5);
    fixture_read(
        &dm_schema_tenant,
        "{'name':'a','caps':{'exchanges':10,'streams':10,'header_bytes':1000,'url_bytes':1000,'queue':0,'queue_ms':0,"
        "'bandwidth_in_bytes':2000,'bandwidth_out_bytes':1024,'body_rate_bytes':1024,'handshakes':5}}",
        &arena, &tenant);
    assert_int_equal(tenant.caps.bandwidth_in_bytes, 2000);
    assert_int_equal(tenant.caps.bandwidth_out_bytes, 1024);
    assert_int_equal(tenant.caps.handshakes, 5);
    fixture_read(&dm_schema_token, "{'name':'a','role':'tenant_admin','expires_at':'2026-11-01T23:59:59Z'}", &arena,
                 &token);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(reads_what_it_wrote),
        T(writes_in_the_order_of_the_table),
        T(orders_maps_by_key),
        T(fills_defaults),
        T(shows_secrets_only_when_asked),
        T(ignores_read_only_members_when_comparing),
        T(lists_all_errors),
        T(keeps_the_first_errors),
        T(stops_at_the_budget),
        T(names_the_place_of_bad_text),
        T(shows_values_safely),
        T(cuts_pointers_at_a_step),
        T(finds_parts_of_a_product),
        T(holds_tenants_and_tokens),
    };

    return cmocka_run_group_tests_name("model/field", tests, fixture_crypto, NULL);
}
