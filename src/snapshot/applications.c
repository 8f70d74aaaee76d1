#include "snapshot/applications.h"

const struct dm_ucredential *dm_uapplications_find(const struct dm_unit *unit, const uint8_t digest[DM_DIGEST_BYTES])
{
    const struct dm_uapplications *u = DM_UNIT_ROOT(unit, dm_uapplications);
    const struct dm_ucredential *slots = dm_unit_at(unit, u->credentials);
    uint64_t at;

    if (u->n_slots == 0)
        return NULL;
    memcpy(&at, digest, sizeof(at));
    for (at &= u->n_slots - 1; slots[at].application != 0; at = (at + 1) & (u->n_slots - 1))
        if (dm_secret_eq(slots[at].digest, digest, DM_DIGEST_BYTES))
            return &slots[at];
    return NULL;
}
