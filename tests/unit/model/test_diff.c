/* Differences between two files, by pointers with names. */
#include "fixture.h"

#include "model/tenant_file.h"

struct change {
    const char *at, *value;  /* of the file */
    const char *expected[4]; /* "+ pointer after", "- pointer before", "~ pointer before -> after" */
};

static const struct change changes[] = {
    {"/backends/0/base_path", "'/new'", {"~ /backends/orders-service/base_path \"/base\" -> \"/new\""}},
    {"/backends/0/idle_timeout_ms", "5", {"~ /backends/orders-service/idle_timeout_ms 60000 -> 5"}},
    {"/backends/1/host_header", "", {"- /backends/images/host_header \"img.example:8000\""}},
    {"/backends/0/host_header", "'h'", {"+ /backends/orders-service/host_header \"h\""}},
    {"/backends/2",
     "{'name':'new','endpoints':[{'host':'10.1.0.1','port':8000}]}",
     {"+ /backends/new {\"name\":\"new\",\"endpoints\":[{\"host\":\"10.1.0.1\",\"port\":8000}]}"}},
    {"/backends/0/endpoints/2",
     "",
     {"- /backends/orders-service/endpoints/2 {\"host\":\"svc.orders.internal\",\"port\":8443}"}},
    {"/backends/0/endpoints/1/weight", "4", {"~ /backends/orders-service/endpoints/1/weight 3 -> 4"}},
    {"/grants", "", {"- /grants {\"domains\":[{\"name\":\"orders.localhost\",\"environment\":\"production\"},"}},
    {"/products/0/versions/0/mapping_rules/0/delta",
     "7",
     {"~ /products/orders/versions/v1/mapping_rules/0/delta 1 -> 7"}},
    {"/products/0/versions/0/mapping_rules",
     "[{'method':'PUT','pattern':'/a'},{'method':'GET','pattern':'/orders/{id}$','metric':'list'},"
     "{'method':'ANY','pattern':'/','delta':2,'last':true}]",
     {"+ /products/orders/versions/v1/mapping_rules/0 {\"method\":\"PUT\",\"pattern\":\"/a\"}"}},
    {"/products/0/versions/0/errors/no_mapping_rule",
     "",
     {"- /products/orders/versions/v1/errors/no_mapping_rule {\"status\":412}"}},
    {"/products/0/versions/0/errors/no_mapping_rule/status",
     "410",
     {"~ /products/orders/versions/v1/errors/no_mapping_rule/status 412 -> 410"}},
    {"/products/0/versions/0/policies/1",
     "{'type':'ip_check','mode':'deny','addresses':['::1']}",
     {"- /products/orders/versions/v1/policies/1 {\"type\":\"headers\"",
      "+ /products/orders/versions/v1/policies/1 {\"type\":\"ip_check\",\"mode\":\"deny\",\"addresses\":[\"::1\"]}"}},
    {"/products/0/versions/0/policies/0/in",
     "['basic']",
     {"~ /products/orders/versions/v1/policies/0/in [\"header\",\"query\"] -> [\"basic\"]"}},
    {"/products/0/versions/0/policies/2/addresses/0",
     "'10.0.0.0/8'",
     {"- /products/orders/versions/v1/policies/2/addresses/0 \"127.0.0.0/8\"",
      "+ /products/orders/versions/v1/policies/2/addresses/0 \"10.0.0.0/8\""}},
    {"/applications/0/credentials/0/key",
     "'k-9'",
     {"~ /applications/mobile/credentials/first/key \"(secret)\" -> \"(secret)\""}},
    {"/applications/0/credentials/0/key", "", {NULL}},
    {"/applications/0/id", "9", {NULL}},
    {"/applications/1/state", "'active'", {"~ /applications/web/state \"suspended\" -> \"active\""}},
};

static void assert_diff(const struct dm_diff *diff, const char *expected)
{
    static const char signs[] = "+-~";
    char text[4096];

    if (diff->op == DM_DIFF_CHANGED)
        snprintf(text, sizeof(text), "~ %.*s %.*s -> %.*s", DM_STR_ARG(diff->pointer), DM_STR_ARG(diff->before),
                 DM_STR_ARG(diff->after));
    else
        snprintf(text, sizeof(text), "%c %.*s %.*s", signs[diff->op], DM_STR_ARG(diff->pointer),
                 DM_STR_ARG(diff->op == DM_DIFF_ADDED ? diff->after : diff->before));
    if (strncmp(text, expected, strlen(expected)) != 0)
        fail_msg("expected %s\nfound %s", expected, text);
}

static void finds_each_change(void **state)
{
    struct dm_json *good = fixture_json(fixture_file);

    for (size_t i = 0; i < DM_COUNT(changes); i++) {
        struct dm_json *changed = fixture_with(good, changes[i].at, changes[i].value);
        struct dm_tenant_file before, after;
        struct dm_arena arena;
        struct dm_diff *diffs;
        ssize_t n, expected = 0;

        dm_arena_init(&arena, NULL, 1 << 20);
        assert_int_equal(dm_model_read(&dm_schema_tenant_file, good, &arena, &before, NULL), 0);
        assert_int_equal(dm_model_read(&dm_schema_tenant_file, changed, &arena, &after, NULL), 0);
        n = dm_model_diff(&dm_schema_tenant_file, &before, &after, &arena, &diffs);
        while (changes[i].expected[expected])
            expected++;
        if (n != expected)
            fail_msg("%s = %s: %zd differences", changes[i].at, changes[i].value, n);
        for (ssize_t d = 0; d < n; d++)
            assert_diff(&diffs[d], changes[i].expected[d]);
        dm_arena_done(&arena);
        dm_json_free(changed);
    }
    dm_json_free(good);
}

/* What is empty before is all added; what is empty after is all removed. */
static void finds_whole_resources(void **state)
{
    struct dm_tenant_file full, empty;
    struct dm_arena arena;
    struct dm_diff *diffs;
    ssize_t n;

    dm_arena_init(&arena, NULL, 1 << 20);
    fixture_read(&dm_schema_tenant_file, fixture_file, &arena, &full);
    fixture_read(&dm_schema_tenant_file, "{'daemun':1,'tenant':'orders'}", &arena, &empty);
    n = dm_model_diff(&dm_schema_tenant_file, &empty, &full, &arena, &diffs);
    assert_int_equal(n, 1 + 2 + 2 + 1 + 1 + 2);
    for (ssize_t i = 0; i < n; i++)
        assert_int_equal(diffs[i].op, DM_DIFF_ADDED);
    n = dm_model_diff(&dm_schema_tenant_file, &full, &empty, &arena, &diffs);
    assert_int_equal(n, 9);
    for (ssize_t i = 0; i < n; i++)
        assert_int_equal(diffs[i].op, DM_DIFF_REMOVED);
    dm_arena_done(&arena);
}

static void never_shows_a_secret(void **state)
{
    struct dm_tenant_file before, after;
    struct dm_arena arena;
    struct dm_diff *diffs;
    ssize_t n;

    dm_arena_init(&arena, NULL, 1 << 20);
    fixture_read(&dm_schema_tenant_file, "{'daemun':1,'tenant':'orders'}", &arena, &before);
    fixture_read(&dm_schema_tenant_file, fixture_file, &arena, &after);
    n = dm_model_diff(&dm_schema_tenant_file, &before, &after, &arena, &diffs);
    for (ssize_t i = 0; i < n; i++)
        assert_null(strstr(diffs[i].after.ptr, "k-1"));
    dm_arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_each_change),
        cmocka_unit_test(finds_whole_resources),
        cmocka_unit_test(never_shows_a_secret),
    };

    return cmocka_run_group_tests_name("model/diff", tests, fixture_crypto, NULL);
}
