#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "http/fault.h"
#include "http/field.h"
#include "http/method.h"

static void every_name_has_its_id_in_any_case(void **state)
{
    for (unsigned id = 1; id < DM_HTTP_FIELD_ID_COUNT; id++) {
        struct dm_str name = dm_http_field_name((enum dm_http_field_id)id);
        char upper[64];

        assert_true(name.len > 1 && name.len < sizeof(upper) && dm_http_field_name_is_valid(name));
        for (size_t i = 0; i < name.len; i++)
            upper[i] = (char)(name.ptr[i] >= 'a' && name.ptr[i] <= 'z' ? name.ptr[i] - 32 : name.ptr[i]);
        assert_int_equal(dm_http_field_id_of(name), id);
        assert_int_equal(dm_http_field_id_of(dm_str_n(upper, name.len)), id);
        assert_int_equal(dm_http_field_id_of(dm_str_n(name.ptr, name.len - 1)) == id, 0);
    }
}

/* One byte changed to any other token character is another name, or none. */
static void near_names_are_other_names(void **state)
{
    static const char others[] = "!#$%&'*+-.^_`|~0189aznxAZNX";
    char copy[64];

    for (unsigned id = 1; id < DM_HTTP_FIELD_ID_COUNT; id++) {
        struct dm_str name = dm_http_field_name((enum dm_http_field_id)id);

        for (size_t i = 0; i < name.len; i++) {
            memcpy(copy, name.ptr, name.len);
            for (const char *c = others; *c; c++) {
                copy[i] = *c;
                if ((*c | 0x20) != name.ptr[i])
                    assert_int_not_equal(dm_http_field_id_of(dm_str_n(copy, name.len)), id);
            }
        }
    }
}

static void unknown_names_have_no_id(void **state)
{
    assert_int_equal(dm_http_field_id_of(DM_STR("")), DM_HTTP_FIELD_ID_OTHER);
    assert_int_equal(dm_http_field_id_of(DM_STR("x")), DM_HTTP_FIELD_ID_OTHER);
    assert_int_equal(dm_http_field_id_of(DM_STR("X-API-Key")), DM_HTTP_FIELD_ID_OTHER);
    assert_int_equal(dm_http_field_id_of(DM_STR("a-name-that-is-longer-than-any-known-name")), DM_HTTP_FIELD_ID_OTHER);
    assert_int_equal(dm_http_field_name(DM_HTTP_FIELD_ID_OTHER).len, 0);
}

static void names_and_values_are_checked(void **state)
{
    assert_true(dm_http_field_name_is_valid(DM_STR("X-A_b.1")));
    assert_false(dm_http_field_name_is_valid(DM_STR("")));
    assert_false(dm_http_field_name_is_valid(DM_STR("a b")));
    assert_false(dm_http_field_name_is_valid(DM_STR("a:")));
    assert_true(dm_http_field_value_is_valid(DM_STR("")));
    assert_true(dm_http_field_value_is_valid(DM_STR("a\tb c")));
    assert_false(dm_http_field_value_is_valid(DM_STR(" a")));
    assert_false(dm_http_field_value_is_valid(DM_STR("a ")));
    assert_false(dm_http_field_value_is_valid(DM_STR("a\r\nX: y")));
    assert_false(dm_http_field_value_is_valid(DM_STR("\xeb")));
    assert_false(dm_http_field_value_is_valid(dm_str_n("a\0b", 3)));
}

static void lists_are_walked(void **state)
{
    struct dm_str rest = DM_STR(", a ,,\tb;q=\"x,\\\"y\",c , \"open, end");
    static const char *const want[] = {"a", "b;q=\"x,\\\"y\"", "c", "\"open, end"};
    struct dm_str element;

    for (size_t i = 0; i < DM_COUNT(want); i++) {
        assert_true(dm_http_list_next(&rest, &element));
        assert_true(dm_str_eq(element, dm_str_of(want[i])));
    }
    assert_false(dm_http_list_next(&rest, &element));
    assert_true(dm_http_list_has(DM_STR("gzip, TRAILERS"), DM_STR("trailers")));
    assert_false(dm_http_list_has(DM_STR("gzip, x-trailers"), DM_STR("trailers")));
    rest = DM_STR("\"\\");
    assert_true(dm_http_list_next(&rest, &element));
    assert_int_equal(element.len, 2);
}

static void methods_are_known_exactly(void **state)
{
    for (unsigned i = 1; i < DM_HTTP_METHOD_COUNT; i++) {
        struct dm_str name = dm_http_method_name((enum dm_http_method)i);

        assert_true(name.len > 0);
        assert_int_equal(dm_http_method_of(name), i);
    }
    assert_int_equal(dm_http_method_of(DM_STR("get")), DM_HTTP_METHOD_OTHER);
    assert_int_equal(dm_http_method_of(DM_STR("")), DM_HTTP_METHOD_OTHER);
    assert_true(dm_http_method_is_idempotent(DM_HTTP_METHOD_PUT));
    assert_false(dm_http_method_is_idempotent(DM_HTTP_METHOD_POST));
    assert_false(dm_http_method_is_idempotent(DM_HTTP_METHOD_PATCH));
    assert_false(dm_http_method_is_idempotent(DM_HTTP_METHOD_OTHER));
}

static void faults_have_names_of_their_own_and_a_status(void **state)
{
    static const unsigned statuses[] = {400, 413, 414, 417, 431, 501, 505};

    for (int i = 1; i < DM_HTTP_FAULT_COUNT; i++) {
        bool is_known = false;

        for (size_t k = 0; k < DM_COUNT(statuses); k++)
            is_known |= dm_http_fault_status((enum dm_http_fault)i) == statuses[k];
        assert_true(is_known);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(dm_http_fault_name((enum dm_http_fault)i),
                                    dm_http_fault_name((enum dm_http_fault)k));
    }
    assert_string_equal(dm_http_fault_name((enum dm_http_fault)9999), "unknown");
    assert_string_equal(dm_http_fault_name(DM_HTTP_NO_FAULT), "none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_has_its_id_in_any_case),
        cmocka_unit_test(near_names_are_other_names),
        cmocka_unit_test(unknown_names_have_no_id),
        cmocka_unit_test(names_and_values_are_checked),
        cmocka_unit_test(lists_are_walked),
        cmocka_unit_test(methods_are_known_exactly),
        cmocka_unit_test(faults_have_names_of_their_own_and_a_status),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
