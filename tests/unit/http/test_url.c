#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "http/host.h"
#include "http/path.h"
#include "http/query.h"

static void a_normal_path_is_returned_as_it_is(void **state)
{
    struct dm_str path = DM_STR("/orders/%EC%A3%BC/.well-known/..a/...;v=1"), normal;

    assert_int_equal(dm_path_normalise(path, 0, NULL, &normal), 0);
    assert_ptr_equal(normal.ptr, path.ptr);
    assert_int_equal(normal.len, path.len);
}

static void a_refused_path_leaves_the_result_alone(void **state)
{
    struct dm_str normal = DM_STR("untouched");
    char buf[32];

    assert_int_equal(dm_path_normalise(DM_STR("/a/%2f"), 0, buf, &normal), -DM_HTTP_ESCAPED_SLASH);
    assert_true(dm_str_eq(normal, DM_STR("untouched")));
}

static void hosts_are_written_without_the_default_port(void **state)
{
    char buf[DM_HOST_MAX], text[DM_HOST_MAX + 6];
    struct dm_host host;

    assert_int_equal(dm_host_parse(DM_STR("A.b:443"), buf, &host), 0);
    assert_true(dm_str_eq(dm_str_n(text, dm_host_write(&host, true, text)), DM_STR("a.b")));
    assert_true(dm_str_eq(dm_str_n(text, dm_host_write(&host, false, text)), DM_STR("a.b:443")));
    assert_int_equal(dm_host_parse(DM_STR("[::1]:65535"), buf, &host), 0);
    assert_true(dm_str_eq(dm_str_n(text, dm_host_write(&host, false, text)), DM_STR("[::1]:65535")));
    assert_int_equal(dm_host_parse(DM_STR("a"), buf, &host), 0);
    assert_int_equal(dm_host_port(&host, true), 443);
    assert_int_equal(dm_host_port(&host, false), 80);
}

static void arguments_are_found_by_decoded_name(void **state)
{
    struct dm_str query = DM_STR("a=1&user%5fkey=k+1&user_key=2&flag");
    struct dm_query_arg arg;
    char buf[16];

    assert_true(dm_query_find(query, DM_STR("user_key"), &arg));
    assert_true(dm_str_eq(dm_query_decode(arg.value, buf), DM_STR("k 1")));
    assert_true(dm_query_find(query, DM_STR("flag"), &arg));
    assert_false(arg.has_value);
    assert_false(dm_query_find(query, DM_STR("User_key"), &arg));
    assert_false(dm_query_find(DM_STR(""), DM_STR("a"), &arg));
}

static void comparing_decodes_on_the_way(void **state)
{
    assert_true(dm_query_eq(DM_STR("a%20b"), DM_STR("a b")));
    assert_true(dm_query_eq(DM_STR("a+b"), DM_STR("a b")));
    assert_true(dm_query_eq(DM_STR(""), DM_STR("")));
    assert_true(dm_query_eq(DM_STR("100%"), DM_STR("100%")));
    assert_false(dm_query_eq(DM_STR("ab"), DM_STR("abc")));
    assert_false(dm_query_eq(DM_STR("abc"), DM_STR("ab")));
    assert_false(dm_query_eq(DM_STR("%41b"), DM_STR("ab")));
}

static void a_credential_is_taken_out(void **state)
{
    static const struct {
        const char *query, *want;
    } cases[] = {
        {"user_key=k", ""},
        {"a=1&user_key=k", "a=1"},
        {"user_key=k&a=1", "a=1"},
        {"a=1&user_key=k&b=%20", "a=1&b=%20"},
        {"user%5Fkey=k&user_key&a", "a"},
        {"a=user_key", "a=user_key"},
        {"", ""},
        {"a&&b", "a&&b"},
    };
    char memory[64];
    struct dm_buf buf;

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        dm_buf_init_fixed(&buf, memory, sizeof(memory));
        dm_query_without(dm_str_of(cases[i].query), DM_STR("user_key"), &buf);
        assert_true(dm_str_eq(dm_buf_str(&buf), dm_str_of(cases[i].want)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_normal_path_is_returned_as_it_is),
        cmocka_unit_test(a_refused_path_leaves_the_result_alone),
        cmocka_unit_test(hosts_are_written_without_the_default_port),
        cmocka_unit_test(arguments_are_found_by_decoded_name),
        cmocka_unit_test(comparing_decodes_on_the_way),
        cmocka_unit_test(a_credential_is_taken_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
