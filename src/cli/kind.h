/* Kinds of things that `get`, `create` and `delete` know. */
#ifndef DM_CLI_KIND_H
#define DM_CLI_KIND_H

#include "cli/table.h"

struct dm_json;

enum dm_kind_scope {
    DM_SCOPE_PLATFORM, /* /api/v1/X */
    DM_SCOPE_TENANT,   /* /api/v1/tenants/T/X */
    DM_SCOPE_EITHER,   /* the platform's for a master who names no tenant */
};

struct dm_kind_info {
    const char *plural, *singular;
    enum dm_kind_scope scope;
    const char *summary;
    bool is_single; /* one object, no list: grants, status */
    bool has_pages;
    bool has_items;            /* each can be asked for by name */
    const char *const *titles; /* of the table; NULL-terminated */
    void (*row)(const struct dm_json *item, struct dm_table *table);
    void (*print)(const struct dm_json *whole, FILE *out); /* in place of titles and row */
};

/* By plural or singular; NULL when there is none such. */
const struct dm_kind_info *dm_kind_info_find(const char *name);
extern const struct dm_kind_info dm_kind_infos[];
extern const size_t dm_kind_infos_count;
/* The plurals, NULL-terminated, for messages and completion. */
extern const char *const dm_kind_plurals[];
/* The nearest name, or NULL. */
const char *dm_kind_info_near(const char *name);

/* A member as text: strings as they are, numbers and booleans in digits and words, "" when it is not there. */
struct dm_str dm_kind_text(const struct dm_json *object, const char *name, char *buf, size_t max);

#endif
