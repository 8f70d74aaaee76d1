/* A tenant reaches a gateway as four units, each numbered by its own mark. */
#ifndef DM_MODEL_UNIT_KIND_H
#define DM_MODEL_UNIT_KIND_H

#include <stdint.h>

enum dm_unit_kind { DM_UNIT_RELEASE = 1, DM_UNIT_APPLICATIONS = 2, DM_UNIT_GRANTS = 3, DM_UNIT_DOMAINS = 4 };
#define DM_UNIT_KINDS 5                        /* size of an array indexed by kind */
extern const char *const dm_unit_kind_names[]; /* by kind; "" at 0 */

/* A version of a unit. Orders by epoch, then sequence; sequences start at 1, (0, 0) is "none". */
struct dm_mark {
    uint64_t epoch;
    uint64_t sequence;
};

/* <0, 0, >0 */
static inline int dm_mark_cmp(struct dm_mark a, struct dm_mark b)
{
    if (a.epoch != b.epoch)
        return a.epoch < b.epoch ? -1 : 1;
    return a.sequence == b.sequence ? 0 : a.sequence < b.sequence ? -1 : 1;
}

#endif
