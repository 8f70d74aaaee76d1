#include <stdarg.h>

#include "cli/table.h"

void dm_table_init(struct dm_table *table, const char *const *titles)
{
    *table = (struct dm_table){.titles = titles};
}

void dm_table_done(struct dm_table *table)
{
    for (size_t i = 0; i < table->cells.count; i++)
        dm_free(table->cells.items[i]);
    dm_vec_done(&table->cells);
}

void dm_table_add(struct dm_table *table, struct dm_str text)
{
    char *cell = dm_strdup(dm_str_n(text.ptr, DM_MIN(text.len, DM_TABLE_CELL_MAX)));

    for (char *p = cell; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7F)
            *p = '?';
    *dm_vec_push(&table->cells) = cell;
}

void dm_table_printf(struct dm_table *table, const char *fmt, ...)
{
    char text[DM_TABLE_CELL_MAX];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    dm_table_add(table, dm_str_of(text));
}

/* --- width -------------------------------------------------------------------------------------------------------- */

/* The code point of a character that begins at s.ptr[i]; malformed bytes count as one character each. */
static uint32_t code_point(struct dm_str s, size_t *i)
{
    unsigned char c = (unsigned char)s.ptr[*i];
    size_t more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : c >= 0xC0 ? 1 : 0;
    uint32_t ret = more == 3 ? c & 0x07 : more == 2 ? c & 0x0F : more == 1 ? c & 0x1F : c;

    (*i)++;
    while (more-- > 0 && *i < s.len && ((unsigned char)s.ptr[*i] & 0xC0) == 0x80)
        ret = ret << 6 | ((unsigned char)s.ptr[(*i)++] & 0x3F);
    return ret;
}

static bool is_wide(uint32_t c)
{
    return (c >= 0x1100 && c <= 0x115F) || (c >= 0x2E80 && c <= 0xA4CF) || (c >= 0xAC00 && c <= 0xD7A3) ||
           (c >= 0xF900 && c <= 0xFAFF) || (c >= 0xFE30 && c <= 0xFE6F) || (c >= 0xFF00 && c <= 0xFF60) ||
           (c >= 0xFFE0 && c <= 0xFFE6) || (c >= 0x1F300 && c <= 0x1FAFF) || (c >= 0x20000 && c <= 0x3FFFD);
}

size_t dm_table_width(struct dm_str text)
{
    size_t width = 0, i = 0;

    while (i < text.len)
        width += is_wide(code_point(text, &i)) ? 2 : 1;
    return width;
}

/* --- printing ----------------------------------------------------------------------------------------------------- */

static const char *shown(const char *cell)
{
    return cell[0] ? cell : "-";
}

static void print_cell(FILE *out, const char *text, size_t width, bool is_last)
{
    size_t have = dm_table_width(dm_str_of(text));

    fprintf(out, "%s%*s", text, is_last || have >= width ? 0 : (int)(width - have), "");
    fputs(is_last ? "\n" : "  ", out);
}

void dm_table_print(const struct dm_table *table, FILE *out)
{
    size_t widths[DM_TABLE_COLUMNS_MAX] = {0}, n = 0;

    for (; n < DM_TABLE_COLUMNS_MAX && table->titles[n]; n++)
        widths[n] = dm_table_width(dm_str_of(table->titles[n]));
    for (size_t i = 0; i < table->cells.count; i++)
        widths[i % n] = DM_MAX(widths[i % n], dm_table_width(dm_str_of(shown(table->cells.items[i]))));
    for (size_t i = 0; i < n; i++)
        print_cell(out, table->titles[i], widths[i], i == n - 1);
    for (size_t i = 0; i < table->cells.count; i++)
        print_cell(out, shown(table->cells.items[i]), widths[i % n], i % n == n - 1);
}
