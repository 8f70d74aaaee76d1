/* The declarative file through the API: what goes out comes in again, whole or not at all. */
#include "shop.h"

#include "base/mem.h"

/* --- the declarative file ----------------------------------------------------------------------------------------------- */

static void test_document_round_trip(void **state)
{
    struct harness *h = *state;
    struct answer answer, again;
    char *body;

    make_orders(h);
    done(PUT(201, NULL, T "/applications/mobile",
             "{\"subscriptions\":[{\"product\":\"shop\",\"plan\":\"basic\"}],\"credentials\":[{\"name\":\"first\"}]}"));
    request(h, &answer, "GET", T "/document", MASTER, "", NULL);
    body = dm_strdup(dm_buf_str(&answer.body));
    assert_str(PUT(200, "changes", T "/document?dry_run=true", body), "[]");
    assert_str(PUT(200, "changed", T "/document", body), "false");
    request(h, &again, "GET", T "/document", MASTER, "", NULL);
    assert_int_equal(answer.body.len, again.body.len);
    assert_memory_equal(answer.body.ptr, again.body.ptr, answer.body.len);
    done(body);
    answer_done(&answer);
    answer_done(&again);
}

static const char file_head[] = "{\"daemun\":1,\"tenant\":\"orders\",\"backends\":[{\"name\":\"service\",\"endpoints\":"
                                "[{\"host\":\"127.0.0.1\",\"port\":9101}]}]";

static void test_document_apply(void **state)
{
    struct harness *h = *state;
    char body[2048], *key;

    make_orders(h);
    snprintf(
        body, sizeof(body),
        "%s,\"products\":[{\"name\":\"shop\",\"domains\":[\"orders.localhost\"],\"plans\":[{\"name\":\"basic\"}],"
        "\"versions\":[{\"name\":\"v1\",\"policies\":[{\"type\":\"api_key\"}],\"backends\":[{\"backend\":\"service\"}]}]}],"
        "\"applications\":[{\"name\":\"a\",\"credentials\":[{\"name\":\"k\"}]},"
        "{\"name\":\"b\",\"credentials\":[{\"name\":\"k\",\"key\":\"0123456789abcdef\"}]}]}",
        file_head);
    /* A dry run answers what would change and changes nothing. */
    assert_str(PUT(200, "changed", T "/document?dry_run=true", body), "true");
    assert_str(GET(200, "items", T "/applications"), "[]");
    key = PUT(200, "credentials.0.key", T "/document", body);
    assert_non_null(key);
    assert_str(PUT(200, "changed", T "/document", body), "false");
    assert_str(GET(200, "versions.0.mapping_rules", T "/products/shop"), "[]");

    /* A key moves from one application to another within one file; credentials that are left out stay. */
    snprintf(body, sizeof(body),
             "%s,\"applications\":[{\"name\":\"a\"},{\"name\":\"c\",\"credentials\":[{\"name\":\"k\",\"key\":"
             "\"0123456789abcdef\"}]}]}",
             file_head);
    assert_str(PUT(200, "changed", T "/document", body), "true");
    assert_str(GET(200, "credentials.0.name", T "/applications/a"), "k");
    done(GET(404, NULL, T "/applications/b"));
    done(GET(404, NULL, T "/products/shop"));

    /* Nothing is half-applied. */
    snprintf(body, sizeof(body),
             "%s,\"applications\":[{\"name\":\"new\"},{\"name\":\"d\",\"credentials\":[{\"name\":"
             "\"k\",\"key\":\"0123456789abcdef\"}]},{\"name\":\"c\"}]}",
             file_head);
    assert_str(PUT(409, "reason", T "/document", body), "key_in_use");
    done(GET(404, NULL, T "/applications/new"));
    assert_str(PUT(422, "errors.0.pointer", T "/document", "{\"daemun\":1,\"tenant\":\"catalog\"}"), "/tenant");
    done(key);
}

static void test_document_grants_are_the_masters(void **state)
{
    struct harness *h = *state;
    char *token;

    make_orders(h);
    token = tenant_token(h, "orders");
    assert_str(expect(h, 403, "errors.0.pointer", "PUT", T "/document", token, "",
                      "{\"daemun\":1,\"tenant\":\"orders\",\"grants\":{\"domains\":[{\"name\":\"more.localhost\"}]}}"),
               "/grants");
    assert_str(expect(h, 200, "changed", "PUT", T "/document", token, "",
                      "{\"daemun\":1,\"tenant\":\"orders\",\"grants\":{\"domains\":[{\"name\":\"orders.localhost\"}],"
                      "\"endpoints\":[{\"address\":\"127.0.0.1\",\"port\":9101}]}}"),
               "true");
    assert_str(expect(h, 403, "reason", "PUT", T "/document", token, "",
                      "{\"daemun\":1,\"tenant\":\"orders\",\"backends\":[{\"name\":\"x\",\"endpoints\":"
                      "[{\"host\":\"127.0.0.1\",\"port\":9102}]}]}"),
               "not_granted");
    dm_free(token);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, harness_serving_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_document_round_trip),
        TEST(test_document_apply),
        TEST(test_document_grants_are_the_masters),
    };

    return cmocka_run_group_tests_name("api document", tests, NULL, NULL);
}
