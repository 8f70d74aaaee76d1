/* The kinds of a tenant's resources: one table that store, API and documents go by. */
#ifndef DM_CONTROL_RELEASE_KIND_H
#define DM_CONTROL_RELEASE_KIND_H

#include "base/str.h"
#include "model/unit_kind.h"

struct dm_schema;

enum dm_kind {
    DM_KIND_BACKEND,
    DM_KIND_PRODUCT,
    DM_KIND_DOMAIN,
    DM_KIND_CERTIFICATE,
    DM_KIND_APPLICATION,
    DM_KIND_GRANTS,
    DM_KIND_COUNT
};

struct dm_kind_info {
    struct dm_str name; /* "backend", also in the store and in change records */
    const char *plural; /* "backends", in paths and pointers */
    const struct dm_schema *schema;
    size_t bytes;           /* of the struct */
    size_t name_offset;     /* of its dm_str name; grants have none */
    size_t max;             /* of a tenant */
    enum dm_unit_kind unit; /* the unit it goes into */
};

extern const struct dm_kind_info dm_kinds[DM_KIND_COUNT];

/* The name in a struct of this kind; "" of grants. */
struct dm_str dm_kind_name_of(enum dm_kind kind, const void *object);

#endif
