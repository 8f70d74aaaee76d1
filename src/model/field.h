/* Field tables: one description of a resource that drives reading, validation, writing, comparing, OpenAPI and docs.
 *
 * A resource is a plain struct and a constant struct dm_schema whose fields say where each member lies. Storage by type:
 *
 *   BOOL bool | INT int64_t | STRING, JSON struct dm_str | ENUM int (index into names) | FLAGS unsigned (bit per name)
 *   OBJECT struct T * (NULL = absent) | EMBED struct T in place | STRINGS struct dm_str * and size_t count
 *   ARRAY struct T * and size_t count | MAP the same; the member's name lies in the item's field flagged DM_FIELD_KEY
 *
 * F1. What is read lies in the caller's arena whole; the JSON tree may go.
 * F2. A member that is left out, or null, has its default; a struct that was read holds no other "absent" state.
 * F3. Unknown members are refused, with the nearest known name.
 * F4. Writing is canonical: members in table order, so equal structs give equal bytes.
 * F5. Every string, array and nesting has a bound in the table.
 *
 * Threads: tables are constant; calls share nothing. */
#ifndef DM_MODEL_FIELD_H
#define DM_MODEL_FIELD_H

#include "base/arena.h"
#include "base/err.h"

struct dm_json;
struct dm_jsonw;
struct dm_schema;
struct dm_format;

enum dm_field_type {
    DM_FIELD_BOOL,
    DM_FIELD_INT,
    DM_FIELD_STRING,
    DM_FIELD_ENUM,
    DM_FIELD_FLAGS,
    DM_FIELD_STRINGS,
    DM_FIELD_OBJECT,
    DM_FIELD_EMBED,
    DM_FIELD_ARRAY,
    DM_FIELD_MAP,
    DM_FIELD_JSON, /* any value, kept as compact text; empty = absent */
};

enum dm_field_flag {
    DM_FIELD_REQUIRED = 1,
    DM_FIELD_SECRET = 2,    /* write-only: written only with DM_WRITE_SECRETS, never shown in a diff or a message */
    DM_FIELD_READ_ONLY = 4, /* set by the controller; accepted when read, so that what GET gave can be PUT back */
    DM_FIELD_IDENTITY = 8,  /* unique in its array; pairs items in a diff */
    DM_FIELD_KEY = 16,      /* of an item of a MAP: holds the member's name */
    DM_FIELD_UNSET = 32,    /* the default means "not given" and is never written */
    DM_FIELD_UNIQUE = 64,   /* STRINGS: no two items alike */
};

struct dm_field {
    const char *name;
    enum dm_field_type type;
    unsigned flags;
    size_t offset;
    size_t count_offset;      /* STRINGS, ARRAY, MAP */
    int64_t min, max;         /* INT: value; STRING, JSON: bytes; STRINGS, ARRAY, MAP: items; FLAGS: min of names */
    int64_t item_max;         /* STRINGS: bytes of an item */
    int64_t def_int;          /* BOOL, INT, ENUM, FLAGS */
    const char *def_str;      /* STRING; NULL is "" */
    const char *const *names; /* ENUM, FLAGS: NULL-terminated; "" is a gap in the numbering */
    const struct dm_format *format; /* STRING, and items of STRINGS; may be NULL */
    const struct dm_schema *sub;    /* OBJECT, EMBED, ARRAY, MAP */
    const char *doc;                /* one English sentence */
};

/* One kind of a tagged union. All variants share the union's struct; each table begins with the tag's ENUM field. */
struct dm_variant {
    const char *tag;
    const struct dm_schema *schema;
};

struct dm_check;

struct dm_schema {
    const char *name; /* of the component in OpenAPI: "Backend" */
    const char *doc;
    const struct dm_field *fields;
    size_t n_fields;
    size_t struct_bytes;
    /* Rules beyond the table; called only when all members of the object could be read. May be NULL. */
    void (*validate)(const void *object, struct dm_check *check);
    /* A tagged union: the member `tag` selects the variant; fields and validate are then the variant's. */
    const char *tag;
    const struct dm_variant *variants;
    size_t n_variants;
};

/* --- errors ------------------------------------------------------------------------------------------------------ */

#define DM_ERRS_MAX 16

/* The first errors of a document, in document order of discovery. By value; zero-initialise before use. */
struct dm_errs {
    size_t n;     /* kept in items */
    size_t total; /* found */
    struct dm_err items[DM_ERRS_MAX];
};

/* Adds one; errs may be NULL. Returns code. */
int dm_errs_add(struct dm_errs *errs, int code, const char *pointer, const char *fmt, ...) DM_PRINTF(4, 5);
/* The code of the first error, or 0. */
int dm_errs_code(const struct dm_errs *errs);

/* Where reading stands, and where its errors go. What a validate hook gets. */
struct dm_check {
    struct dm_errs *errs;
    size_t len;
    char pointer[DM_ERR_POINTER_MAX];
};

void dm_check_init(struct dm_check *check, struct dm_errs *errs);
/* An error DM_EINVAL at `sub` below the current place, e.g. "/limits/3/metric" or "". */
void dm_check_fail(struct dm_check *check, const char *sub, const char *fmt, ...) DM_PRINTF(3, 4);
/* The same with another code (DM_EPERM for what a grant forbids). */
void dm_check_fail_code(struct dm_check *check, int code, const char *sub, const char *fmt, ...) DM_PRINTF(4, 5);
/* Steps into a member or item and back out: size_t mark = dm_check_enter(…); …; dm_check_leave(check, mark). */
size_t dm_check_enter(struct dm_check *check, const char *fmt, ...) DM_PRINTF(2, 3);
void dm_check_leave(struct dm_check *check, size_t mark);

/* A value as a message shows it: in single quotes, control bytes as \xNN, cut after 64 bytes. Returns ret. */
#define DM_SHOW_MAX 288
const char *dm_show(struct dm_str value, char ret[DM_SHOW_MAX]);

/* --- generic operations ------------------------------------------------------------------------------------------ */

/* Reads and validates. *ret (schema->struct_bytes) is touched only on success. Collects up to DM_ERRS_MAX errors;
 * returns 0 or the code of the first (DM_EINVAL, or DM_EBUDGET when the arena is exhausted). */
DM_MUST_USE int dm_model_read(const struct dm_schema *schema, const struct dm_json *json, struct dm_arena *arena,
                              void *ret, struct dm_errs *errs);
/* Parses text first. max_bytes bounds the text. */
DM_MUST_USE int dm_model_read_text(const struct dm_schema *schema, struct dm_str text, size_t max_bytes,
                                   struct dm_arena *arena, void *ret, struct dm_errs *errs);

/* The defaults of every field, as reading {} would leave them. */
void dm_model_default(const struct dm_schema *schema, void *ret);

enum dm_write_flag {
    DM_WRITE_SECRETS = 1,
    DM_WRITE_DEFAULTS = 2, /* members that have their default too (not those flagged DM_FIELD_UNSET) */
    DM_WRITE_READ_ONLY = 4,
};
void dm_model_write(const struct dm_schema *schema, const void *object, struct dm_jsonw *w, unsigned write_flags);
/* Only the members, into an object that the caller has begun (to put its own members beside them). */
void dm_model_write_members(const struct dm_schema *schema, const void *object, struct dm_jsonw *w,
                            unsigned write_flags);

/* Equal in all members but those flagged READ_ONLY. */
bool dm_model_equal(const struct dm_schema *schema, const void *a, const void *b);

enum dm_diff_op { DM_DIFF_ADDED, DM_DIFF_REMOVED, DM_DIFF_CHANGED };

/* One difference. pointer names items by their identity where they have one: "/products/orders/versions/v1/path".
 * before and after are JSON text ("" when there is none); a secret is "(secret)". */
struct dm_diff {
    enum dm_diff_op op;
    struct dm_str pointer, before, after;
};

/* All differences but in READ_ONLY members; a secret that is not given on one side is no difference. *ret is an array in
 * the arena. Returns the number, or DM_EBUDGET. */
DM_MUST_USE ssize_t dm_model_diff(const struct dm_schema *schema, const void *before, const void *after,
                                  struct dm_arena *arena, struct dm_diff **ret);

/* The schema of this object: itself, or the variant that its tag selects. */
const struct dm_schema *dm_schema_of(const struct dm_schema *schema, const void *object);
/* Index of `name` in a NULL-terminated list, or -1. */
int dm_names_find(const char *const *names, struct dm_str name);
/* The nearest of the names to `name`, near enough to be meant, or NULL. */
const char *dm_names_near(const char *const *names, struct dm_str name);

/* For tables: DM_AT(struct dm_backend, base_path) */
#define DM_AT(type, member) .offset = offsetof(type, member)
#define DM_AT_ARRAY(type, member) .offset = offsetof(type, member), .count_offset = offsetof(type, n_##member)
#define DM_FIELDS(table) .fields = (table), .n_fields = DM_COUNT(table)

#endif
