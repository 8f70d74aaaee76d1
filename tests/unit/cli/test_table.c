/* Aligned columns. */
#include "testing.h"

#include "cli/table.h"

static const char *const titles[] = {"NAME", "VALUE", "NOTE", NULL};

static void print(struct dm_table *table, char *ret, size_t max)
{
    FILE *out = fmemopen(ret, max, "w");

    dm_table_print(table, out);
    fclose(out);
    dm_table_done(table);
}

static void test_alignment(void **state)
{
    struct dm_table table;
    char text[512];

    dm_table_init(&table, titles);
    dm_table_add(&table, DM_STR("a"));
    dm_table_printf(&table, "%d", 1234567);
    dm_table_add(&table, DM_STR("short"));
    dm_table_add(&table, DM_STR("longer name"));
    dm_table_add(&table, DM_STR(""));
    dm_table_add(&table, DM_STR(""));
    print(&table, text, sizeof(text));
    assert_string_equal(text, "NAME         VALUE    NOTE\n"
                              "a            1234567  short\n"
                              "longer name  -        -\n");
}

static void test_empty(void **state)
{
    struct dm_table table;
    char text[64];

    dm_table_init(&table, titles);
    print(&table, text, sizeof(text));
    assert_string_equal(text, "NAME  VALUE  NOTE\n");
}

static void test_width(void **state)
{
    struct dm_table table;
    char text[256];

    assert_int_equal(dm_table_width(DM_STR("abc")), 3);
    assert_int_equal(dm_table_width(DM_STR("é")), 1);
    assert_int_equal(dm_table_width(DM_STR("대문")), 4);
    assert_int_equal(dm_table_width(DM_STR("\xFF")), 1);
    dm_table_init(&table, titles);
    dm_table_add(&table, DM_STR("대문"));
    dm_table_add(&table, DM_STR("x"));
    dm_table_add(&table, DM_STR("y"));
    print(&table, text, sizeof(text));
    assert_string_equal(text, "NAME  VALUE  NOTE\n대문  x      y\n");
}

/* Text of others can't steer the terminal. */
static void test_control(void **state)
{
    struct dm_table table;
    char text[256], *big = malloc(DM_TABLE_CELL_MAX * 2);

    dm_table_init(&table, titles);
    dm_table_add(&table, DM_STR("\033[31m\n\x7F"));
    dm_table_add(&table, DM_STR("x"));
    dm_table_add(&table, DM_STR("y"));
    print(&table, text, sizeof(text));
    assert_has(text, "?[31m??");
    memset(big, 'x', DM_TABLE_CELL_MAX * 2);
    dm_table_init(&table, titles);
    dm_table_add(&table, dm_str_n(big, DM_TABLE_CELL_MAX * 2));
    assert_int_equal(strlen(table.cells.items[0]), DM_TABLE_CELL_MAX);
    dm_table_done(&table);
    free(big);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_width),
        cmocka_unit_test(test_control),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
