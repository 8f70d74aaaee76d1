/* Reading JSON (RFC 8259) with caps, on jansson. Duplicate members, trailing text, invalid UTF-8, numbers that are not
 * finite, and depth or size above the caps are refused. A document is a tree that the root owns; values inside are
 * borrowed from it. Threads: a tree belongs to one thread at a time. */
#ifndef DM_BASE_JSON_H
#define DM_BASE_JSON_H

#include "base/err.h"

struct dm_json; /* opaque; only ever by pointer */

enum dm_json_type {
    DM_JSON_NULL,
    DM_JSON_BOOL,
    DM_JSON_INT,
    DM_JSON_REAL,
    DM_JSON_STRING,
    DM_JSON_ARRAY,
    DM_JSON_OBJECT
};

struct dm_json_limits {
    size_t max_bytes;
    unsigned max_depth;
};

/* Any JSON value may be the root. The new root is the caller's (dm_json_free). Refused with DM_EINVAL, or DM_EBUDGET above
 * a cap; the message begins with "line L column C: ". An integer outside int64_t and the escape \u0000 are refused. */
DM_MUST_USE int dm_json_parse(struct dm_str text, const struct dm_json_limits *limits, struct dm_json **ret,
                              struct dm_err *err);
void dm_json_free(struct dm_json *root);
/* For DM_CLEANUP. */
void dm_json_freep(struct dm_json **root);

enum dm_json_type dm_json_type(const struct dm_json *value);
/* "object", "string", … with article-free names for messages. */
const char *dm_json_type_name(const struct dm_json *value);

bool dm_json_bool(const struct dm_json *value);            /* of a BOOL */
int64_t dm_json_int(const struct dm_json *value);          /* of an INT */
double dm_json_real(const struct dm_json *value);          /* of an INT or REAL */
struct dm_str dm_json_string(const struct dm_json *value); /* of a STRING; NUL-terminated behind its length */

size_t dm_json_count(const struct dm_json *value); /* items of an ARRAY, members of an OBJECT */
struct dm_json *dm_json_at(const struct dm_json *array, size_t i);
/* The member, or NULL. */
struct dm_json *dm_json_get(const struct dm_json *object, const char *name);
/* Members in document order: start with *at = NULL; false at the end. */
bool dm_json_next(const struct dm_json *object, void **at, struct dm_str *ret_name, struct dm_json **ret_value);

/* Building, for cold code (merge, YAML, tests). A value given to set/append becomes the container's and is not NULL; a
 * name is valid UTF-8. */
struct dm_json *dm_json_new_object(void);
struct dm_json *dm_json_new_array(void);
struct dm_json *dm_json_new_string(struct dm_str s); /* NULL if not UTF-8 or with a NUL */
struct dm_json *dm_json_new_int(int64_t n);
struct dm_json *dm_json_new_real(double n); /* NULL if not finite */
struct dm_json *dm_json_new_bool(bool b);
struct dm_json *dm_json_new_null(void);
struct dm_json *dm_json_copy(const struct dm_json *value); /* deep */
void dm_json_set(struct dm_json *object, const char *name, struct dm_json *value);
void dm_json_del(struct dm_json *object, const char *name);
void dm_json_append(struct dm_json *array, struct dm_json *value);
bool dm_json_equal(const struct dm_json *a, const struct dm_json *b);

/* Text of a tree: compact, or indented by two spaces; members in document order. */
struct dm_buf;
void dm_json_print(const struct dm_json *value, bool is_indented, struct dm_buf *ret);

#endif
