/* A change record: one per acknowledged write. */
#ifndef DM_MODEL_CHANGE_H
#define DM_MODEL_CHANGE_H

#include "base/str.h"

struct dm_schema;

enum dm_change_action { DM_CHANGE_CREATE, DM_CHANGE_UPDATE, DM_CHANGE_DELETE };
extern const char *const dm_change_action_names[];

/* One difference (dm_model_diff); before and after are JSON text, "" = none. */
struct dm_change_detail {
    struct dm_str pointer;
    struct dm_str before, after;
};

struct dm_change {
    int64_t sequence;     /* among the tenant's own; in the platform's list among all */
    struct dm_str at;     /* RFC 3339, UTC */
    struct dm_str actor;  /* name of the token */
    struct dm_str tenant; /* "" = the platform's */
    int action;           /* enum dm_change_action */
    struct dm_str kind;   /* "product", "backend", … */
    struct dm_str name;
    struct dm_str request_id;
    struct dm_change_detail *details;
    size_t n_details;
    struct dm_str hash; /* hexadecimal; "" in a tenant's list */
};

#define DM_CHANGE_DETAILS_MAX 256

extern const struct dm_schema dm_schema_change_detail;
extern const struct dm_schema dm_schema_change;

#endif
