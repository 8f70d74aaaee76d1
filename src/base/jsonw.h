/* Streaming JSON writer into a dm_buf: commas and quotes are its business, nesting is checked by assertion. It never
 * allocates itself. Invalid UTF-8 in a string becomes U+FFFD. */
#ifndef DM_BASE_JSONW_H
#define DM_BASE_JSONW_H

#include "base/buf.h"

#define DM_JSONW_DEPTH_MAX 63

struct dm_jsonw {
    struct dm_buf *buf;
    uint64_t has_items; /* a bit per level: a comma is due */
    uint64_t is_object; /* a bit per level */
    unsigned depth;
    bool after_name;
};

void dm_jsonw_init(struct dm_jsonw *w, struct dm_buf *buf);
void dm_jsonw_begin_object(struct dm_jsonw *w);
void dm_jsonw_end_object(struct dm_jsonw *w);
void dm_jsonw_begin_array(struct dm_jsonw *w);
void dm_jsonw_end_array(struct dm_jsonw *w);
void dm_jsonw_name(struct dm_jsonw *w, const char *name);
void dm_jsonw_name_str(struct dm_jsonw *w, struct dm_str name);
void dm_jsonw_str(struct dm_jsonw *w, struct dm_str value);
void dm_jsonw_cstr(struct dm_jsonw *w, const char *value);
void dm_jsonw_printf(struct dm_jsonw *w, const char *fmt, ...) DM_PRINTF(2, 3); /* a string, at most 1 KiB */
void dm_jsonw_u64(struct dm_jsonw *w, uint64_t value);
void dm_jsonw_i64(struct dm_jsonw *w, int64_t value);
void dm_jsonw_real(struct dm_jsonw *w, double value); /* shortest text that reads back the same; null if not finite */
void dm_jsonw_bool(struct dm_jsonw *w, bool value);
void dm_jsonw_null(struct dm_jsonw *w);
/* `json` is written as it is: it must be one valid JSON value. */
void dm_jsonw_raw(struct dm_jsonw *w, struct dm_str json);

/* Shorthands: a named member. */
void dm_jsonw_member_str(struct dm_jsonw *w, const char *name, struct dm_str value);
void dm_jsonw_member_cstr(struct dm_jsonw *w, const char *name, const char *value);
void dm_jsonw_member_u64(struct dm_jsonw *w, const char *name, uint64_t value);
void dm_jsonw_member_bool(struct dm_jsonw *w, const char *name, bool value);

#endif
