/* The text of JSON strings and numbers, for the writer and the printer of trees. */
#ifndef DM_BASE_JSONW_INT_H
#define DM_BASE_JSONW_INT_H

#include "base/buf.h"

/* s in quotes, escaped as far as RFC 8259 section 7 asks. */
void dm_jsonw_quote(struct dm_buf *buf, struct dm_str s);
/* The shortest decimal that reads back the same; value is finite. */
void dm_jsonw_number(struct dm_buf *buf, double value);

#endif
