#include "testing.h"

#include "base/err.h"

#include <errno.h>

static void fills_code_pointer_and_message(void **state)
{
    struct dm_err err = {0};

    assert_int_equal(dm_fail(&err, DM_EINVAL, "/pattern", "must start with '/', got '%s'", "x"), DM_EINVAL);
    assert_int_equal(err.code, DM_EINVAL);
    assert_string_equal(err.pointer, "/pattern");
    assert_string_equal(err.message, "must start with '/', got 'x'");
}

static void may_go_without_an_error(void **state)
{
    assert_int_equal(dm_fail(NULL, DM_EPERM, "/a", "x"), DM_EPERM);
}

static void takes_its_own_text_as_argument(void **state)
{
    struct dm_err err = {0};

    assert_int_equal(dm_fail(&err, DM_EINVAL, "/name", "is empty"), DM_EINVAL);
    assert_int_equal(dm_fail(&err, DM_EINVAL, err.pointer, "backend: %s", err.message), DM_EINVAL);
    assert_string_equal(err.pointer, "/name");
    assert_string_equal(err.message, "backend: is empty");
}

static void cuts_a_message_at_a_character(void **state)
{
    struct dm_err err = {0};
    char text[DM_ERR_MESSAGE_MAX + 100];
    size_t i;

    /* Three-byte characters behind 0, 1, 2 bytes: each place of the cut within a character. */
    for (i = 0; i < 3; i++) {
        size_t at = i;

        memset(text, 'x', sizeof(text));
        for (; at + 3 < sizeof(text); at += 3)
            memcpy(text + at, "\xeb\xac\xb8", 3);
        text[at] = '\0';
        assert_int_equal(dm_fail(&err, DM_EINVAL, "", "%s", text), DM_EINVAL);
        assert_true(dm_str_is_utf8(dm_str_of(err.message)));
        assert_true(strlen(err.message) >= DM_ERR_MESSAGE_MAX - 4);
    }
}

static void keeps_a_message_that_just_fits(void **state)
{
    struct dm_err err = {0};
    char text[DM_ERR_MESSAGE_MAX] = "";

    memset(text, 'x', sizeof(text) - 1);
    assert_int_equal(dm_fail(&err, DM_EINVAL, "", "%s", text), DM_EINVAL);
    assert_string_equal(err.message, text);
}

static void cuts_a_pointer_at_a_token(void **state)
{
    struct dm_err err = {0};
    char pointer[DM_ERR_POINTER_MAX + 50];

    memset(pointer, 'x', sizeof(pointer) - 1);
    pointer[sizeof(pointer) - 1] = '\0';
    pointer[0] = pointer[100] = '/';
    assert_int_equal(dm_fail(&err, DM_EINVAL, pointer, "x"), DM_EINVAL);
    assert_int_equal(strlen(err.pointer), 100);
    pointer[100] = 'x';
    assert_int_equal(dm_fail(&err, DM_EINVAL, pointer, "x"), DM_EINVAL);
    assert_string_equal(err.pointer, "");
}

static void puts_prefixes_before_the_pointer(void **state)
{
    struct dm_err err = {0};
    int i;

    assert_int_equal(dm_fail(&err, DM_ENOENT, "/name", "x"), DM_ENOENT);
    assert_int_equal(dm_err_prefix(&err, "/products/%d", 3), DM_ENOENT);
    assert_string_equal(err.pointer, "/products/3/name");
    for (i = 0; i < 100; i++)
        assert_int_equal(dm_err_prefix(&err, "/deeper"), DM_ENOENT);
    assert_true(strlen(err.pointer) < DM_ERR_POINTER_MAX);
    assert_true(dm_str_starts(dm_str_of(err.pointer), DM_STR("/deeper/deeper")));
    assert_true(dm_str_ends(dm_str_of(err.pointer), DM_STR("/deeper")));
}

static void maps_system_errors(void **state)
{
    assert_int_equal(dm_err_of_errno(-ENOENT), DM_ENOENT);
    assert_int_equal(dm_err_of_errno(-EAGAIN), DM_EAGAIN);
    assert_int_equal(dm_err_of_errno(-ENOSPC), DM_EIO);
}

static void names_every_code(void **state)
{
    int code, other;

    for (code = DM_EINVAL; code >= DM_ECLOSED; code--) {
        assert_string_not_equal(dm_err_name(code), dm_err_name(1));
        for (other = code - 1; other >= DM_ECLOSED; other--)
            assert_string_not_equal(dm_err_name(code), dm_err_name(other));
    }
    assert_string_equal(dm_err_name(DM_OK), "ok");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fills_code_pointer_and_message),
        cmocka_unit_test(may_go_without_an_error),
        cmocka_unit_test(takes_its_own_text_as_argument),
        cmocka_unit_test(cuts_a_message_at_a_character),
        cmocka_unit_test(keeps_a_message_that_just_fits),
        cmocka_unit_test(cuts_a_pointer_at_a_token),
        cmocka_unit_test(puts_prefixes_before_the_pointer),
        cmocka_unit_test(maps_system_errors),
        cmocka_unit_test(names_every_code),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
