/* Files of cases: "== NAME" begins one, "#" a comment; what its other lines mean is the reader's. */
#ifndef DM_TESTS_WIRE_CASE_FILE_H
#define DM_TESTS_WIRE_CASE_FILE_H

#include "base/buf.h"

/* Whole file; aborts with a message when it cannot be read. Freed by the caller. */
struct dm_str case_file(const char *path);

/* Moves *text to the first line of the next case. False at the end. */
bool case_begin(struct dm_str *text, struct dm_str *ret_name);
/* The next line of the case that says something. False at its end. */
bool case_line(struct dm_str *text, struct dm_str *ret);
/* Says which line of which case can't be read. Returns -1. */
int case_fail(struct dm_str name, struct dm_str line);

/* Adds the text with its escapes replaced: \r \n \t \0 \s (space) \\ \xHH. */
void case_unescape(struct dm_str text, struct dm_buf *out);

#endif
