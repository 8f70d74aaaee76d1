/* The route table, dispatch and OpenAPI say the same. */
#include "harness.h"

#include "control/api/merge.h"
#include "control/api/problem.h"
#include "control/api/route.h"
#include "base/json.h"
#include "base/jsonw.h"

static const struct dm_route *find(const char *method, const char *path, struct dm_str *params, char *allow)
{
    struct dm_buf buf;
    const struct dm_route *route;

    dm_buf_init_fixed(&buf, allow, 128);
    route = dm_route_find(dm_str_of(method), dm_str_of(path), params, 4, &buf);
    allow[buf.len] = '\0';
    return route;
}

static void test_every_route_is_found(void **state)
{
    struct dm_str params[4];
    char allow[160];

    for (size_t i = 0; i < dm_routes_count; i++) {
        const char *template = dm_routes[i].doc.path;

        /* A template is itself a path that it matches. */
        assert_ptr_equal(find(dm_routes[i].doc.method, template, params, allow), &dm_routes[i]);
        assert_int_equal(dm_route_index(&dm_routes[i]), i);
    }
}

static void test_params(void **state)
{
    struct dm_str params[4];
    char allow[160];

    assert_non_null(find("DELETE", "/api/v1/tenants/a/applications/b/credentials/c", params, allow));
    assert_true(dm_str_eq(params[0], DM_STR("a")));
    assert_true(dm_str_eq(params[1], DM_STR("b")));
    assert_true(dm_str_eq(params[2], DM_STR("c")));
    assert_non_null(find("HEAD", "/api/v1/tenants/a", params, allow));
    assert_null(find("POST", "/api/v1/tenants/a", params, allow));
    assert_string_equal(allow, "GET, HEAD, PUT, PATCH, DELETE");
    static const char *const none[] = {"/",
                                       "/api/v1",
                                       "/api/v1/",
                                       "/api/v1/tenants/",
                                       "/api/v1/tenants//grants",
                                       "/api/v1/tenants/a/grants/",
                                       "/api/v1/tenantsx",
                                       "/metrics/x"};
    for (size_t i = 0; i < DM_COUNT(none); i++) {
        assert_null(find("GET", none[i], params, allow));
        assert_string_equal(allow, "");
    }
}

static bool is_described(const struct dm_json *paths, const struct dm_route *route)
{
    const struct dm_json *item = dm_json_get(paths, route->doc.path);
    char method[16];
    size_t n = 0;

    for (; route->doc.method[n] != '\0'; n++)
        method[n] = (char)(route->doc.method[n] | 0x20);
    method[n] = '\0';
    return item != NULL && dm_json_get(item, method) != NULL;
}

static void test_openapi_describes_every_route(void **state)
{
    struct dm_route_doc *docs = calloc(dm_routes_count, sizeof(*docs));
    struct dm_json_limits limits = {16u << 20, 64};
    struct dm_json *root = NULL;
    struct dm_buf text;
    struct dm_jsonw w;

    for (size_t i = 0; i < dm_routes_count; i++)
        docs[i] = dm_routes[i].doc;
    dm_buf_init(&text, 16u << 20);
    dm_jsonw_init(&w, &text);
    dm_openapi_write(docs, dm_routes_count, &w);
    assert_int_equal(dm_json_parse(dm_buf_str(&text), &limits, &root, NULL), 0);
    for (size_t i = 0; i < dm_routes_count; i++)
        if (!is_described(dm_json_get(root, "paths"), &dm_routes[i]))
            fail_msg("%s %s is not described", dm_routes[i].doc.method, dm_routes[i].doc.path);
    dm_json_free(root);
    dm_buf_done(&text);
    free(docs);
}

/* What OpenAPI calls the master's is what the table of rights gives to the master alone. */
static void test_rights_and_openapi_agree(void **state)
{
    struct dm_caller admin = {.standing = DM_STANDING_TENANT_ADMIN, .tenant = DM_STR("a")};

    for (size_t i = 0; i < dm_routes_count; i++) {
        unsigned flags = dm_routes[i].doc.flags;
        bool is_admins = dm_access_check(&admin, dm_routes[i].operation, DM_STR("a"), NULL) == 0;

        assert_int_equal((flags & DM_ROUTE_MASTER) == 0, is_admins);
        assert_int_equal((flags & DM_ROUTE_OPEN) != 0, dm_routes[i].operation == DM_OP_OPEN);
        assert_int_equal(dm_routes[i].doc.request != NULL, dm_routes[i].body_max > 0);
    }
}

/* RFC 7396, appendix A. */
static void test_merge_patch(void **state)
{
    static const char *const cases[][3] = {
        {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
        {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
        {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
        {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}"},
        {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
        {"{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]"},
        {"{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}"},
        {"[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
        {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
    };
    struct dm_json_limits limits = {4096, 16};

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        struct dm_json *json[3];

        for (int k = 0; k < 3; k++)
            assert_int_equal(dm_json_parse(dm_str_of(cases[i][k]), &limits, &json[k], NULL), 0);
        json[0] = dm_merge_patch(json[0], json[1]);
        assert_true(dm_json_equal(json[0], json[2]));
        for (int k = 0; k < 3; k++)
            dm_json_free(json[k]);
    }
}

static void test_every_reason_has_a_status(void **state)
{
    static const int codes[] = {DM_EINVAL, DM_ENOENT,  DM_EEXIST, DM_ECONFLICT,
                                DM_EPERM,  DM_EBUDGET, DM_EIO,    DM_ECORRUPT};
    static const unsigned statuses[] = {422, 404, 409, 409, 403, 413, 503, 503};

    for (size_t i = 0; i < DM_COUNT(codes); i++) {
        struct dm_failure failure = {0};

        dm_failure_add(&failure, codes[i], NULL, "", "x");
        assert_int_equal(dm_problem_status(dm_failure_reason(&failure)), statuses[i]);
    }
    assert_int_equal(dm_problem_status("no such reason"), 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_route_is_found),
        cmocka_unit_test(test_params),
        cmocka_unit_test(test_openapi_describes_every_route),
        cmocka_unit_test(test_rights_and_openapi_agree),
        cmocka_unit_test(test_merge_patch),
        cmocka_unit_test(test_every_reason_has_a_status),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
