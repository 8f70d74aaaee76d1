#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "http/head.h"
#include "http/serialize.h"

#define REQUEST                                                                                                        \
    "GET http://Orders.Example/a?b=c HTTP/1.1\r\nHost: x\r\nVia: 1.1 a\r\n"                                            \
    "X-Key: one\r\nvia: 1.0 b\r\nx-key: two\r\n\r\n"

static void parse(const char *text, struct dm_http_head *ret)
{
    size_t scan = 0;

    assert_int_equal(dm_http_parse_request(text, strlen(text), &scan, &dm_http_limits_default, ret), strlen(text));
}

static void fields_are_found_by_id_and_name(void **state)
{
    struct dm_http_head head;
    struct dm_http_field *field;

    parse(REQUEST, &head);
    field = dm_http_head_find(&head, DM_HTTP_FIELD_ID_VIA);
    assert_true(dm_str_eq(field->value, DM_STR("1.1 a")));
    field = dm_http_head_find_next(&head, field);
    assert_true(dm_str_eq(field->value, DM_STR("1.0 b")));
    assert_null(dm_http_head_find_next(&head, field));
    field = dm_http_head_find_name(&head, DM_STR("X-KEY"));
    assert_true(dm_str_eq(field->value, DM_STR("one")));
    field = dm_http_head_find_next(&head, field);
    assert_true(dm_str_eq(field->value, DM_STR("two")));
    assert_null(dm_http_head_find_name(&head, DM_STR("x-none")));
    assert_null(dm_http_head_find(&head, DM_HTTP_FIELD_ID_DATE));
    assert_true(dm_str_eq(dm_http_head_value(&head, DM_HTTP_FIELD_ID_HOST), DM_STR("x")));
    assert_null(dm_http_head_value(&head, DM_HTTP_FIELD_ID_DATE).ptr);
}

static void dropped_fields_are_gone(void **state)
{
    struct dm_http_head head;

    parse(REQUEST, &head);
    assert_int_equal(dm_http_head_drop(&head, DM_STR("VIA")), 2);
    assert_null(dm_http_head_find(&head, DM_HTTP_FIELD_ID_VIA));
    assert_int_equal(dm_http_head_drop(&head, DM_STR("X-Key")), 2);
    assert_int_equal(dm_http_head_drop(&head, DM_STR("X-Key")), 0);
    assert_int_equal(dm_http_head_drop(&head, DM_STR("X-None")), 0);
    assert_non_null(dm_http_head_add(&head, DM_STR("Via"), DM_STR("1.1 gate")));
    assert_true(dm_str_eq(dm_http_head_value(&head, DM_HTTP_FIELD_ID_VIA), DM_STR("1.1 gate")));
}

static void fields_are_added_up_to_the_bound(void **state)
{
    struct dm_http_head head;
    struct dm_http_field *field;
    unsigned added = 0;

    parse(REQUEST, &head);
    field = dm_http_head_add(&head, DM_STR("Proxy-Connection"), DM_STR("close"));
    assert_true(dm_http_field_is_hop(field));
    field = dm_http_head_add(&head, DM_STR("app_id"), DM_STR("1"));
    assert_int_equal(field->flags, DM_HTTP_FIELD_FOLDED);
    for (; dm_http_head_add(&head, DM_STR("X"), DM_STR("y")); added++)
        assert_true(added < DM_HTTP_FIELDS_MAX);
    assert_int_equal(head.field_count, DM_HTTP_FIELDS_MAX);
}

/* After the move neither the old bytes nor the old head are needed. */
static void a_head_moves_with_its_bytes(void **state)
{
    size_t len = strlen(REQUEST);
    char *from = dm_alloc(len), *to = dm_alloc(len);
    struct dm_http_head *first = dm_alloc(sizeof(*first)), *head = dm_alloc(sizeof(*head));
    size_t scan = 0;

    memcpy(from, REQUEST, len);
    assert_int_equal(dm_http_parse_request(from, len, &scan, &dm_http_limits_default, first), len);
    memcpy(to, from, len);
    dm_http_head_move(first, from, len, to, head);
    memset(from, 'x', len);
    memset(first, 'x', sizeof(*first));
    dm_free(from);
    dm_free(first);
    assert_true(dm_str_eq(head->host.name, DM_STR("orders.example")));
    assert_true(dm_str_eq(head->method_name, DM_STR("GET")));
    assert_true(dm_str_eq(head->scheme, DM_STR("http")));
    assert_true(dm_str_eq(head->authority, DM_STR("Orders.Example")));
    assert_true(dm_str_eq(head->path, DM_STR("/a")));
    assert_true(dm_str_eq(head->query, DM_STR("b=c")));
    assert_true(dm_str_eq(dm_http_head_find_name(head, DM_STR("x-key"))->value, DM_STR("one")));
    assert_true(head->target.ptr >= to && head->target.ptr < to + len);
    dm_free(head);
    dm_free(to);
}

/* Written again it is what it was, and needs nothing of the first; in any less room than it needs it is not there. */
static void a_copy_stands_alone(void **state)
{
    size_t len = strlen(REQUEST), needed;
    char *from = dm_alloc(len);
    struct dm_http_head *first = dm_alloc(sizeof(*first)), *head = dm_alloc(sizeof(*head));
    struct dm_buf before, after;
    struct dm_arena arena;
    size_t scan = 0;

    dm_buf_init(&before, 4096);
    dm_buf_init(&after, 4096);
    memcpy(from, REQUEST, len);
    assert_int_equal(dm_http_parse_request(from, len, &scan, &dm_http_limits_default, first), len);
    dm_arena_init(&arena, NULL, 4096);
    assert_int_equal(dm_http_head_copy(first, &arena, head), 0);
    needed = arena.used_bytes;
    dm_arena_done(&arena);
    for (size_t budget = 0; budget < needed; budget += 16) {
        dm_arena_init(&arena, NULL, budget);
        assert_int_equal(dm_http_head_copy(first, &arena, head), DM_EBUDGET);
        dm_arena_done(&arena);
    }
    dm_arena_init(&arena, NULL, needed);
    assert_int_equal(dm_http_head_copy(first, &arena, head), 0);
    dm_http_write_fields(&before, first, 0);
    memset(from, 'x', len);
    memset(first, 'x', sizeof(*first));
    dm_http_write_fields(&after, head, 0);
    assert_true(dm_str_eq(dm_buf_str(&before), dm_buf_str(&after)));
    assert_true(dm_str_eq(head->host.name, DM_STR("orders.example")));
    assert_true(dm_str_eq(head->target, DM_STR("http://Orders.Example/a?b=c")));
    assert_true(dm_str_eq(head->path, DM_STR("/a")));
    assert_true(dm_str_eq(head->query, DM_STR("b=c")));
    assert_true(dm_str_eq(dm_http_head_find_name(head, DM_STR("x-key"))->value, DM_STR("one")));
    dm_arena_done(&arena);
    dm_buf_done(&before);
    dm_buf_done(&after);
    dm_free(head);
    dm_free(first);
    dm_free(from);
}

static void a_path_that_was_left_out_survives_a_move(void **state)
{
    static const char text[] = "GET http://a HTTP/1.1\r\nHost: a\r\n\r\n";
    char copy[sizeof(text)];
    struct dm_http_head head;

    parse(text, &head);
    memcpy(copy, text, sizeof(text));
    dm_http_head_move(&head, text, sizeof(text) - 1, copy, &head);
    assert_true(dm_str_eq(head.path, DM_STR("/")));
    assert_ptr_equal(head.host.name.ptr, copy + 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_found_by_id_and_name),
        cmocka_unit_test(dropped_fields_are_gone),
        cmocka_unit_test(fields_are_added_up_to_the_bound),
        cmocka_unit_test(a_head_moves_with_its_bytes),
        cmocka_unit_test(a_copy_stands_alone),
        cmocka_unit_test(a_path_that_was_left_out_survives_a_move),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
