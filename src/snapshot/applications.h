/* Layout of the unit `applications`: who may call, under which plan, and the digests that prove it. */
#ifndef DM_SNAPSHOT_APPLICATIONS_H
#define DM_SNAPSHOT_APPLICATIONS_H

#include "snapshot/unit.h"

struct dm_usubscription {
    uint64_t product_id, plan_id; /* dm_unit_name_id; the plan's is of "product/plan" */
};

struct dm_uapplication {
    uint64_t id;
    struct dm_ustr name;
    dm_off subscriptions;
    uint32_t n_subscriptions;
    uint32_t is_suspended;
    uint32_t index; /* of this application in the unit */
};

/* An open-addressing slot: position = first 8 bytes of the digest, masked; linear probing; application 0 = free. */
struct dm_ucredential {
    uint8_t digest[DM_DIGEST_BYTES];
    dm_off application;
    uint32_t is_disabled;
    uint64_t expires_at; /* Unix seconds, 0 = never */
};

struct dm_uapplications {
    uint32_t digest_key_id;
    uint8_t digest_key[32];
    dm_off applications, credentials;
    uint32_t n_applications;
    uint32_t n_slots; /* a power of two, at most half full; 0 = none */
};

/* The credential with this digest, or NULL. Compared in constant time. */
const struct dm_ucredential *dm_uapplications_find(const struct dm_unit *unit, const uint8_t digest[DM_DIGEST_BYTES]);

#endif
