/* Messages between the keeper and a worker over an io/channel on DATA/gateway/run/keeper.sock. The worker connects, also
 * again after the keeper was replaced; both are the same program on the same machine, so payloads are these structs as they
 * lie in memory, and a worker whose HELLO names another version is told to drain and is replaced.
 *
 *   worker                                  keeper
 *   HELLO  slot, pid, version         ──►
 *                                     ◄──   UNIT …    all that is live and sound; an adopted worker skips what it has
 *                                     ◄──   LOG       descriptor: where access log lines go (a pipe)
 *                                     ◄──   SYNCED    the worker listens from here on
 *   SERVING                           ──►             it does
 *   APPLIED …                         ──►
 *                                     ◄──   UNIT, GONE   as things change
 *   USAGE …                           ──►             what was counted, every second while there is something
 *                                     ◄──   DRAIN     finish and exit
 *
 * W1. A worker that lost the keeper serves on with what it has and tries to reconnect every 100 ms.
 * W2. Each UNIT and GONE gets one APPLIED. */
#ifndef DM_GATEWAY_WORKER_LINK_H
#define DM_GATEWAY_WORKER_LINK_H

#include "model/link.h"
#include "model/unit_kind.h"
#include "snapshot/unit.h"

enum dm_worker_message {
    DM_WORKER_HELLO = 1,   /* struct dm_worker_hello */
    DM_WORKER_UNIT,        /* struct dm_worker_unit */
    DM_WORKER_GONE,        /* struct dm_worker_unit, path empty */
    DM_WORKER_APPLIED,     /* struct dm_worker_applied */
    DM_WORKER_LOG,         /* no payload, with a descriptor */
    DM_WORKER_SYNCED,      /* no payload */
    DM_WORKER_DRAIN,       /* uint32_t: milliseconds until it must be gone */
    DM_WORKER_USAGE,       /* struct dm_worker_usage[] */
    DM_WORKER_SERVING,     /* no payload */
    DM_WORKER_TENANT_KEY,  /* struct dm_worker_tenant_key: before the first unit that needs it */
    DM_WORKER_TICKET_KEYS, /* struct dm_tls_ticket_keys: at the beginning, and when they were rotated */
};

#define DM_WORKER_PATH_MAX 512
#define DM_WORKER_TENANTS_MAX 16384 /* counter slots */

struct dm_worker_hello {
    char version[32]; /* DM_VERSION, NUL-terminated */
    uint32_t slot;    /* 0 … workers - 1 */
    int32_t pid;
};

struct dm_worker_unit {
    char tenant[DM_UNIT_TENANT_MAX + 1];
    char path[DM_WORKER_PATH_MAX]; /* of the unit file */
    uint32_t kind;
    uint32_t counter_slot; /* of the tenant in the counters page */
    struct dm_mark mark;
};

/* As the controller sealed it to this gateway's box key (model/tenant_key.h). */
struct dm_worker_tenant_key {
    uint64_t tenant_id, key_id;
    uint32_t sealed_bytes;
    uint8_t sealed[DM_LINK_SEALED_MAX];
    uint32_t unused;
};

struct dm_worker_applied {
    char tenant[DM_UNIT_TENANT_MAX + 1];
    char message[256]; /* of a failure */
    uint32_t kind;
    int32_t code; /* 0 or a dm_error */
    struct dm_mark mark;
};

/* Counted since the message before. */
struct dm_worker_usage {
    char tenant[DM_UNIT_TENANT_MAX + 1];
    char product[65], metric[65];
    uint64_t application; /* id */
    uint64_t delta;
};

#endif
