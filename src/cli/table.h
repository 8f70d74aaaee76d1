/* Aligned columns for people. */
#ifndef DM_CLI_TABLE_H
#define DM_CLI_TABLE_H

#include "base/buf.h"
#include "base/vec.h"

#define DM_TABLE_COLUMNS_MAX 10
#define DM_TABLE_CELL_MAX 1024

/* Zero-initialise; dm_table_done when finished. */
struct dm_table {
    const char *const *titles; /* NULL-terminated, borrowed */
    DM_VEC(char *) cells;      /* row by row */
};

void dm_table_init(struct dm_table *table, const char *const *titles);
void dm_table_done(struct dm_table *table);
/* The next cell; copied. Control characters become '?', what is longer than DM_TABLE_CELL_MAX is cut. */
void dm_table_add(struct dm_table *table, struct dm_str text);
void dm_table_printf(struct dm_table *table, const char *fmt, ...) DM_PRINTF(2, 3);
/* Titles and rows; columns are two spaces apart, the last one is not padded. An empty cell is "-". */
void dm_table_print(const struct dm_table *table, FILE *out);

/* Columns that the text takes on a terminal: characters, East Asian wide ones twice. */
size_t dm_table_width(struct dm_str text);

#endif
