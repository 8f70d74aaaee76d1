/* Resources through the API: ETags, references, refusals with their place, pages. */
#include "shop.h"

#include "control/store/usage.h"
#include "base/mem.h"

/* --- resources -------------------------------------------------------------------------------------------------------- */

static void test_etags(void **state)
{
    struct harness *h = *state;
    struct answer answer;
    char *etag, fields[128];

    make_orders(h);
    request(h, &answer, "GET", T "/backends/service", MASTER, "", NULL);
    etag = answer_field(&answer, "ETag");
    answer_done(&answer);
    snprintf(fields, sizeof(fields), "If-Match: %s\r\n", etag);
    assert_str(expect(h, 200, "base_path", "PATCH", T "/backends/service", MASTER, fields, "{\"base_path\":\"/a\"}"),
               "/a");
    assert_str(expect(h, 412, "reason", "PATCH", T "/backends/service", MASTER, fields, "{\"base_path\":\"/b\"}"),
               "precondition_failed");
    assert_str(expect(h, 412, "reason", "DELETE", T "/backends/service", MASTER, fields, NULL), "precondition_failed");
    assert_str(GET(200, "base_path", T "/backends/service"), "/a");
    assert_str(expect(h, 412, "reason", "PUT", T "/backends/service", MASTER, "If-None-Match: *\r\n",
                      "{\"endpoints\":[{\"host\":\"127.0.0.1\",\"port\":9101}]}"),
               "precondition_failed");
    done(expect(h, 201, NULL, "PUT", T "/backends/other", MASTER, "If-None-Match: *\r\n",
                "{\"endpoints\":[{\"host\":\"127.0.0.1\",\"port\":9101}]}"));
    assert_str(expect(h, 412, "reason", "PUT", T "/backends/third", MASTER, "If-Match: *\r\n",
                      "{\"endpoints\":[{\"host\":\"127.0.0.1\",\"port\":9101}]}"),
               "precondition_failed");
    done(etag);
}

static long etag_of(struct harness *h, const char *target)
{
    struct answer answer;
    char *etag;
    long number;

    request(h, &answer, "GET", target, MASTER, "", NULL);
    etag = answer_field(&answer, "ETag");
    answer_done(&answer);
    assert_non_null(etag);
    number = strtol(etag + 1, NULL, 10);
    done(etag);
    return number;
}

/* P2: the numbers that a tenant sees go on by its own changes alone, however much others write. */
static void test_numbers_say_nothing_of_others(void **state)
{
    struct harness *h = *state;
    char *token, target[256], *cursor, *sequence;
    long before;

    make_orders(h);
    token = tenant_token(h, "orders");
    before = etag_of(h, T "/document");
    done(POST(201, NULL, "/api/v1/tenants", "{\"name\":\"catalog\"}"));
    done(tenant_token(h, "catalog"));
    done(PATCH(200, NULL, "/api/v1/tenants/catalog", "{\"weight\":7}"));
    done(PATCH(200, NULL, T "/backends/service", "{\"base_path\":\"/a\"}"));
    assert_int_equal(etag_of(h, T "/backends/service"), before + 1);
    assert_int_equal(etag_of(h, T "/document"), before + 1);

    sequence = expect(h, 200, "items.0.sequence", "GET", T "/changes", token, "", NULL);
    assert_int_equal(strtol(sequence, NULL, 10), before + 1);
    assert_null(expect(h, 200, "items.0.hash", "GET", T "/changes", token, "", NULL));
    done(GET(200, "items.0.hash", "/api/v1/changes"));
    cursor = expect(h, 200, "next", "GET", T "/changes?limit=1", token, "", NULL);
    snprintf(target, sizeof(target), T "/changes?limit=1&cursor=%s", cursor);
    done(sequence);
    sequence = expect(h, 200, "items.0.sequence", "GET", target, token, "", NULL);
    assert_int_equal(strtol(sequence, NULL, 10), before);
    assert_null(expect(h, 200, "id", "GET", T, token, "", NULL));
    assert_str(GET(200, "id", T), "1");
    done(sequence);
    done(cursor);
    done(token);
}

/* An ETag stands for one state, also when the thing, or the whole tenant, goes and comes again. */
static void test_etags_never_repeat(void **state)
{
    struct harness *h = *state;
    static const char backend[] = "{\"endpoints\":[{\"host\":\"127.0.0.1\",\"port\":9101}]}";
    long first, last;

    make_orders(h);
    done(PUT(201, NULL, T "/backends/other", backend));
    first = etag_of(h, T "/backends/other");
    done(DELETE(204, NULL, T "/backends/other"));
    done(PUT(201, NULL, T "/backends/other", backend));
    assert_true(etag_of(h, T "/backends/other") > first);
    last = etag_of(h, T "/document");
    done(DELETE(204, NULL, T));
    make_orders(h);
    assert_true(etag_of(h, T) > last);
    assert_true(etag_of(h, T "/grants") > etag_of(h, T));
}

/* The same body again writes nothing: same ETag, no change record, no new sequence. */
static void test_put_is_idempotent(void **state)
{
    struct harness *h = *state;
    struct answer first, second;
    char *a, *b, *before, *after;

    make_orders(h);
    request(h, &first, "PUT", T "/products/shop", MASTER, "", product);
    before = GET(200, "units.0.sequence", T "/status");
    request(h, &second, "PUT", T "/products/shop", MASTER, "", product);
    after = GET(200, "units.0.sequence", T "/status");
    a = answer_field(&first, "ETag");
    b = answer_field(&second, "ETag");
    assert_int_equal(second.status, 200);
    assert_string_equal(a, b);
    assert_string_equal(before, after);
    done(a);
    done(b);
    done(before);
    done(after);
    answer_done(&first);
    answer_done(&second);
}

static void test_refusals_name_the_place(void **state)
{
    struct harness *h = *state;

    make_orders(h);
    assert_str(PUT(422, "errors.0.pointer", T "/backends/x", "{\"endpoints\":[{\"host\":\"127.0.0.1\",\"port\":0}]}"),
               "/endpoints/0/port");
    assert_str(PUT(422, "errors.0.pointer", T "/backends/x", "{\"endpoint\":[]}"), "/endpoint");
    assert_str(PUT(422, "errors.0.pointer", T "/backends/x",
                   "{\"name\":\"y\",\"endpoints\":[{\"host\":\"127.0.0.1\",\"port\":9101}]}"),
               "/name");
    assert_str(PUT(403, "reason", T "/backends/x", "{\"endpoints\":[{\"host\":\"127.0.0.1\",\"port\":9102}]}"),
               "not_granted");
    assert_str(
        PUT(403, "errors.0.pointer", T "/backends/x", "{\"endpoints\":[{\"host\":\"127.0.0.1\",\"port\":9102}]}"),
        "/endpoints/0");
    assert_str(PATCH(403, "errors.0.pointer", T "/products/shop", "{\"domains\":[\"evil.example\"]}"), "/domains/0");
    assert_str(PATCH(422, "errors.0.pointer", T "/products/shop",
                     "{\"versions\":[{\"name\":\"v1\",\"path\":\"/\",\"policies\":[{\"type\":\"api_key\"}],"
                     "\"backends\":[{\"path\":\"/\",\"backend\":\"nosuch\"}]}]}"),
               "/versions/0/backends/0/backend");
    assert_str(PUT(400, "reason", T "/backends/x", "{\"endpoints\":"), "malformed");
    assert_str(PUT(422, "reason", T "/backends/x", "[]"), "invalid");
    done(GET(404, NULL, T "/backends/x"));
    assert_str(GET(404, "reason", "/api/v2"), "not_found");
    assert_str(POST(405, "reason", T "/backends", "{}"), "method_not_allowed");
    assert_str(expect(h, 415, "reason", "PUT", T "/backends/x", MASTER, "Content-Type: text/yaml\r\n", "x"),
               "unsupported_media_type");
}

static void test_references(void **state)
{
    struct harness *h = *state;

    make_orders(h);
    assert_str(DELETE(409, "reason", T "/backends/service"), "in_use");
    assert_str(PUT(422, "errors.0.pointer", T "/applications/mobile",
                   "{\"subscriptions\":[{\"product\":\"shop\",\"plan\":\"nosuch\"}]}"),
               "/subscriptions/0/plan");
    assert_str(PUT(422, "errors.0.pointer", T "/applications/mobile",
                   "{\"subscriptions\":[{\"product\":\"nosuch\",\"plan\":\"basic\"}]}"),
               "/subscriptions/0/product");
    done(PUT(201, NULL, T "/applications/mobile", "{\"subscriptions\":[{\"product\":\"shop\",\"plan\":\"gold\"}]}"));
    assert_str(PATCH(409, "reason", T "/products/shop", "{\"plans\":[{\"name\":\"basic\"}]}"), "in_use");
    assert_str(DELETE(409, "reason", T "/products/shop"), "in_use");
    done(DELETE(204, NULL, T "/applications/mobile"));
    done(DELETE(204, NULL, T "/products/shop"));
    done(DELETE(204, NULL, T "/backends/service"));
    done(DELETE(404, NULL, T "/backends/service"));
}

static void test_merge_patch(void **state)
{
    struct harness *h = *state;

    make_orders(h);
    assert_str(PATCH(200, "description", T "/backends/service", "{\"description\":\"d\",\"base_path\":\"/p\"}"), "d");
    assert_str(PATCH(200, "base_path", T "/backends/service", "{\"description\":null}"), "/p");
    assert_str(GET(200, "description", T "/backends/service"), "");
    done(PATCH(404, NULL, T "/backends/nosuch", "{}"));
    assert_str(PATCH(200, "weight", T, "{\"weight\":7}"), "7");
    assert_str(PATCH(200, "caps.connections", T, "{\"caps\":{\"connections\":5}}"), "5");
    assert_str(GET(200, "weight", T), "7");
    assert_str(PATCH(200, "endpoints.0.port", T "/grants", "{\"domains\":[]}"), "9101");
}

static void test_domains_are_of_one_tenant(void **state)
{
    struct harness *h = *state;

    make_orders(h);
    done(POST(201, NULL, "/api/v1/tenants", "{\"name\":\"catalog\"}"));
    assert_str(PUT(409, "reason", "/api/v1/tenants/catalog/grants",
                   "{\"domains\":[{\"name\":\"catalog.localhost\"},{\"name\":\"orders.localhost\"}]}"),
               "domain_taken");
    assert_str(PUT(409, "errors.0.pointer", "/api/v1/tenants/catalog/grants",
                   "{\"domains\":[{\"name\":\"catalog.localhost\"},{\"name\":\"orders.localhost\"}]}"),
               "/domains/1/name");
    assert_str(GET(200, "domains", "/api/v1/tenants/catalog/grants"), "[]");
    done(DELETE(204, NULL, T));
    done(GET(404, NULL, T));
    done(PUT(200, NULL, "/api/v1/tenants/catalog/grants", "{\"domains\":[{\"name\":\"orders.localhost\"}]}"));
}

static void test_pages(void **state)
{
    struct harness *h = *state;
    char target[256], *next, *name;

    make_orders(h);
    for (int c = 'a'; c <= 'g'; c++) {
        snprintf(target, sizeof(target), T "/backends/%c", c);
        done(PUT(201, NULL, target, "{\"endpoints\":[{\"host\":\"127.0.0.1\",\"port\":9101}]}"));
    }
    next = GET(200, "next", T "/backends?limit=3");
    assert_non_null(next);
    /* What comes and goes between two pages moves nothing: the next page begins behind "c". */
    done(DELETE(204, NULL, T "/backends/c"));
    done(PUT(201, NULL, T "/backends/aa", "{\"endpoints\":[{\"host\":\"127.0.0.1\",\"port\":9101}]}"));
    snprintf(target, sizeof(target), T "/backends?limit=100&cursor=%s", next);
    name = GET(200, "items.0.name", target);
    assert_str(name, "d");
    assert_str(GET(200, "items.4.name", target), "service");
    assert_null(GET(200, "next", target));
    assert_str(GET(422, "reason", T "/backends?cursor=%21"), "invalid");
    assert_str(GET(422, "reason", T "/backends?limit=0"), "invalid");
    assert_str(GET(200, "items.0.kind", T "/changes?limit=1"), "backend");
    done(next);
}

#define USAGE_MINUTES 11000
#define USAGE_SPAN "from=1970-01-01T00:00:00Z&to=1970-02-01T00:00:00Z"

static void add_usage(struct harness *h)
{
    struct dm_usage_row row = {.product = DM_STR("shop"), .metric = DM_STR("hits"), .count = 1};
    struct dm_tenant_handle *tenant;
    struct dm_txn *txn;

    assert_int_equal(dm_txn_begin(h->store, DM_TXN_WRITE, &h->arena, &txn, &h->err), 0);
    assert_int_equal(dm_tenants_open(txn, &master_caller, DM_STR("orders"), &tenant, &h->err), 0);
    for (row.minute = 0; row.minute < USAGE_MINUTES; row.minute++)
        assert_int_equal(dm_usage_add(tenant, &row, &h->err), 0);
    row.product = DM_STR("zoo");
    assert_int_equal(dm_usage_add(tenant, &row, &h->err), 0);
    assert_int_equal(dm_txn_commit(&txn, &h->err), 0);
}

/* The items of the page at *next (NULL = the first), which then is the cursor of the page behind it, or NULL. */
static size_t count_page(struct harness *h, char **next)
{
    char target[512];
    struct answer answer;
    size_t n = 0;

    snprintf(target, sizeof(target), T "/usage?limit=1000&step=minute&" USAGE_SPAN "%s%s",
             *next != NULL ? "&cursor=" : "", *next != NULL ? *next : "");
    request(h, &answer, "GET", target, MASTER, "", NULL);
    assert_int_equal(answer.status, 200);
    dm_free(*next);
    *next = answer_member(&answer, "next");
    dm_buf_add_char(&answer.body, '\0');
    for (const char *at = answer.body.ptr; (at = strstr(at, "\"count\":1}")) != NULL; at++)
        n++;
    answer_done(&answer);
    return n;
}

/* Nothing is lost and nothing comes twice, however much there is. */
static void test_usage_pages(void **state)
{
    struct harness *h = *state;
    char target[256], *next = NULL, *first;
    size_t n = 0;

    make_orders(h);
    add_usage(h);
    do
        n += count_page(h, &next);
    while (next != NULL);
    assert_int_equal(n, USAGE_MINUTES + 1);

    /* The second page is of the first one's span, also when the request leaves it to the clock. */
    first = GET(200, "next", T "/usage?limit=1&" USAGE_SPAN);
    assert_non_null(first);
    snprintf(target, sizeof(target), T "/usage?cursor=%s", first);
    assert_str(GET(200, "items.0.product", target), "zoo");
    assert_str(GET(200, "items.0.from", target), "1970-01-01T00:00:00Z");
    assert_null(GET(200, "items.1", target));
    done(first);
    assert_str(GET(422, "reason", T "/usage?cursor=b3JkZXJz"), "invalid"); /* "orders", of another list */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, harness_serving_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_etags),
        TEST(test_numbers_say_nothing_of_others),
        TEST(test_etags_never_repeat),
        TEST(test_put_is_idempotent),
        TEST(test_refusals_name_the_place),
        TEST(test_references),
        TEST(test_merge_patch),
        TEST(test_domains_are_of_one_tenant),
        TEST(test_pages),
        TEST(test_usage_pages),
    };

    return cmocka_run_group_tests_name("api resources", tests, NULL, NULL);
}
