/* OpenAPI and the reference pages: whole, resolvable, and the committed pages are the generated ones. */
#include "fixture.h"

#include "base/buf.h"
#include "base/jsonw.h"
#include "base/sys.h"
#include "model/backend.h"
#include "model/openapi.h"
#include "model/product.h"
#include "model/reference.h"

static const struct dm_route_doc routes[] = {
    {"GET", "/api/v1/tenants/{tenant}/backends", "listBackends", "List", DM_ROUTE_LIST, 200, NULL, &dm_schema_backend},
    {"PUT", "/api/v1/tenants/{tenant}/backends/{name}", "putBackend", "Put",
     DM_ROUTE_IF_MATCH | DM_ROUTE_WAIT | DM_ROUTE_DRY_RUN | DM_ROUTE_MASTER, 200, &dm_schema_backend,
     &dm_schema_backend},
    {"GET", "/healthz", "healthz", "Health", DM_ROUTE_OPEN, 200, NULL, NULL},
    {"DELETE", "/api/v1/tenants/{tenant}/backends/{name}", "deleteBackend", "Delete", 0, 204, NULL, NULL},
};

static struct dm_json *describe(void)
{
    static const struct dm_json_limits limits = {.max_bytes = 1 << 22, .max_depth = 64};
    struct dm_json *root = NULL;
    struct dm_err err = {0};
    struct dm_buf buf;
    struct dm_jsonw w;

    dm_buf_init(&buf, 1 << 22);
    dm_jsonw_init(&w, &buf);
    dm_openapi_write(routes, DM_COUNT(routes), &w);
    assert_false(buf.failed);
    if (dm_json_parse(dm_buf_str(&buf), &limits, &root, &err) < 0)
        fail_msg("%s", err.message);
    dm_buf_done(&buf);
    return root;
}

/* Every "$ref" of the tree names a component that is there. Returns how many. */
static size_t check_refs(const struct dm_json *root, const struct dm_json *node)
{
    size_t n = 0;

    if (dm_json_type(node) == DM_JSON_ARRAY) {
        for (size_t i = 0; i < dm_json_count(node); i++)
            n += check_refs(root, dm_json_at(node, i));
    } else if (dm_json_type(node) == DM_JSON_OBJECT) {
        struct dm_str name;
        struct dm_json *value;

        for (void *at = NULL; dm_json_next(node, &at, &name, &value);) {
            if (dm_str_eq(name, DM_STR("$ref"))) {
                struct dm_str ref = dm_json_string(value);
                char pointer[256];

                snprintf(pointer, sizeof(pointer), "%.*s", (int)ref.len - 1, ref.ptr + 1);
                if (!fixture_at(root, pointer))
                    fail_msg("no %s", pointer);
                n++;
            }
            n += check_refs(root, value);
        }
    }
    return n;
}

static void resolves_every_reference(void **state)
{
    struct dm_json *root = describe();

    assert_true(check_refs(root, root) > 30);
    dm_json_free(root);
}

static void assert_text(const struct dm_json *root, const char *pointer, const char *expected)
{
    const struct dm_json *value = fixture_at(root, pointer);

    if (!value)
        fail_msg("no %s", pointer);
    if (dm_json_type(value) == DM_JSON_STRING) {
        if (!dm_str_eq(dm_json_string(value), dm_str_of(expected)))
            fail_msg("%s is %.*s", pointer, DM_STR_ARG(dm_json_string(value)));
        return;
    }
    {
        struct dm_buf buf;

        dm_buf_init(&buf, 1 << 16);
        dm_json_print(value, false, &buf);
        if (!dm_str_eq(dm_buf_str(&buf), dm_str_of(expected)))
            fail_msg("%s is %.*s", pointer, DM_STR_ARG(dm_buf_str(&buf)));
        dm_buf_done(&buf);
    }
}

static void describes_fields(void **state)
{
    struct dm_json *root = describe();

#define SCHEMAS "/components/schemas/"
    assert_text(root, "/openapi", "3.1.0");
    assert_text(root, SCHEMAS "Backend/required", "[\"name\",\"endpoints\"]");
    assert_text(root, SCHEMAS "Backend/additionalProperties", "false");
    assert_text(root, SCHEMAS "Backend/properties/connect_timeout_ms/minimum", "1");
    assert_text(root, SCHEMAS "Backend/properties/connect_timeout_ms/default", "1000");
    assert_text(root, SCHEMAS "Backend/properties/base_path/default", "/");
    assert_text(root, SCHEMAS "Backend/properties/endpoints/minItems", "1");
    assert_text(root, SCHEMAS "Backend/properties/endpoints/items/$ref", "#/components/schemas/Endpoint");
    assert_text(root, SCHEMAS "Limit/properties/period/enum",
                "[\"minute\",\"hour\",\"day\",\"week\",\"month\",\"year\",\"eternity\"]");
    assert_text(root, SCHEMAS "Policy/discriminator/propertyName", "type");
    assert_text(root, SCHEMAS "Policy/discriminator/mapping/cors", "#/components/schemas/PolicyCors");
    assert_text(root, SCHEMAS "PolicyCors/properties/type/const", "cors");
    assert_text(root, SCHEMAS "PolicyApiKey/properties/in/default", "[\"header\",\"query\"]");
    assert_text(root, SCHEMAS "Credential/properties/key/writeOnly", "true");
    assert_text(root, SCHEMAS "Credential/properties/id/readOnly", "true");
    assert_text(root, SCHEMAS "Version/properties/errors/additionalProperties/$ref",
                "#/components/schemas/ErrorOverride");
    assert_null(fixture_at(root, SCHEMAS "ErrorOverride/properties/reason"));
    assert_null(fixture_at(root, SCHEMAS "SealedCredential"));
    dm_json_free(root);
}

static void describes_routes(void **state)
{
    struct dm_json *root = describe();
    const struct dm_json *item = fixture_at(root, "/paths/~1api~1v1~1tenants~1{tenant}~1backends~1{name}");

    assert_int_equal(dm_json_count(fixture_at(root, "/paths")), 3);
    assert_int_equal(dm_json_count(item), 2);
    assert_text(item, "/put/operationId", "putBackend");
    assert_text(item, "/put/parameters/0/name", "tenant");
    assert_text(item, "/put/parameters/0/required", "true");
    assert_text(item, "/put/parameters/2/name", "If-Match");
    assert_text(item, "/put/parameters/5/name", "dry_run");
    assert_text(item, "/put/requestBody/content/application~1json/schema/$ref", "#/components/schemas/Backend");
    assert_text(item, "/delete/responses/204/description", "Done.");
    assert_text(root, "/paths/~1healthz/get/security", "[]");
    assert_text(root,
                "/paths/~1api~1v1~1tenants~1{tenant}~1backends/get/responses/200/content/application~1json/schema/"
                "properties/items/items/$ref",
                "#/components/schemas/Backend");
    dm_json_free(root);
}

static void assert_committed(const char *name, void (*page)(struct dm_buf *ret))
{
    struct dm_buf generated, committed = {0};
    struct dm_err err = {0};
    char path[4096];

    dm_buf_init(&generated, DM_REFERENCE_MAX);
    page(&generated);
    assert_false(generated.failed);
    dm_buf_init(&committed, DM_REFERENCE_MAX);
    snprintf(path, sizeof(path), "%s/%s", TEST_REFERENCE_DIR, name);
    if (dm_sys_read_file(dm_sys_real(), path, DM_REFERENCE_MAX, &committed, &err) < 0)
        fail_msg("%s", err.message);
    if (!dm_str_eq(dm_buf_str(&generated), dm_buf_str(&committed)))
        fail_msg("%s is not what the tables say; run daemun-reference docs/reference", path);
    dm_buf_done(&generated);
    dm_buf_done(&committed);
}

static void committed_pages_are_the_generated_ones(void **state)
{
    assert_committed("resources.md", dm_reference_resources);
    assert_committed("reasons.md", dm_reference_reasons);
    assert_committed("listeners.md", dm_reference_listeners);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resolves_every_reference),
        cmocka_unit_test(describes_fields),
        cmocka_unit_test(describes_routes),
        cmocka_unit_test(committed_pages_are_the_generated_ones),
    };

    return cmocka_run_group_tests_name("model/openapi", tests, fixture_crypto, NULL);
}
