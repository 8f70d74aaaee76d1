/* Messages between the keeper and a worker over an io/channel on DATA/gateway/run/keeper.sock. The worker connects, also
 * again after the keeper was replaced. Both are programs on the same machine, so payloads are these structs as they lie in
 * memory.
 *
 *   worker                                  keeper
 *   LISTENER …                        ──►             the listening sockets that it has, each with its descriptor
 *   HELLO  slot, bank, pid, program   ──►
 *                                     ◄──   TICKET_KEYS, TENANT_KEY …
 *                                     ◄──   UNIT …    all that is live and sound; an adopted worker skips what it has
 *                                     ◄──   LOG       descriptor: where access log lines go (a pipe)
 *                                     ◄──   LISTENER …  each with its descriptor; an adopted worker drops what it has
 *                                     ◄──   SYNCED    the worker listens from here on
 *   SERVING                           ──►             it does
 *   APPLIED …                         ──►
 *                                     ◄──   UNIT, GONE   as things change
 *                                     ◄──   LISTENER, UNLISTEN   of another slot, whose worker can't serve for the moment
 *   USAGE …                           ──►             what was counted, every second while there is something
 *   LEAVING                           ──►             it was told by a signal to end, and goes once another serves
 *                                     ◄──   CELL …    tenants that a cell serves, each with the giving end of its queue
 *                                     ◄──   CELL_GONE a tenant has no cell any more; its units went before
 *   CELL_LEFT                         ──►             nothing more is given to the cell
 *                                     ◄──   DRAIN     finish and exit
 *                                     ◄──   PART      the keeper makes way for another: say what is left and hang up
 *
 * W1. A worker that lost the keeper serves on with what it has and tries to reconnect every 100 ms.
 * W2. Each UNIT and GONE gets one APPLIED.
 * W3. A keeper talks with workers of other versions while they hand over. So HELLO, TICKET_KEYS, LISTENER, LOG, USAGE, LEAVING,
 *     DRAIN and PART keep their numbers and layouts for ever; a struct may grow at its end, and who gets a shorter one takes the rest as
 *     zeros. Everything else is said only to a worker of the same DM_WORKER_LINK_VERSION and unit format.
 *     A worker of a cell hears of its tenant alone. It reads no file by its name: UNIT comes with a descriptor, and in place of TENANT_KEY
 *     and LISTENER it gets DATA_KEY and QUEUE. What it says is held against its tenant; it has ticket keys of its own.
 * W4. A worker brings the ticket keys that it has to each keeper: so they outlive every keeper, and end with the last worker. */
#ifndef DM_GATEWAY_WORKER_LINK_H
#define DM_GATEWAY_WORKER_LINK_H

#include "io/tls.h"
#include "model/link.h"
#include "model/tenant_key.h"
#include "model/unit_kind.h"
#include "snapshot/unit.h"

#define DM_WORKER_LINK_VERSION 2 /* raise on every change of a message that W3 does not name */

enum dm_worker_message {
    DM_WORKER_HELLO = 1,   /* struct dm_worker_hello */
    DM_WORKER_UNIT,        /* struct dm_worker_unit */
    DM_WORKER_GONE,        /* struct dm_worker_unit, path empty */
    DM_WORKER_APPLIED,     /* struct dm_worker_applied */
    DM_WORKER_LOG,         /* no payload, with a descriptor */
    DM_WORKER_SYNCED,      /* no payload */
    DM_WORKER_DRAIN,       /* struct dm_worker_drain */
    DM_WORKER_USAGE,       /* struct dm_worker_usage[] */
    DM_WORKER_SERVING,     /* no payload */
    DM_WORKER_TENANT_KEY,  /* struct dm_worker_tenant_key: before the first unit that needs it */
    DM_WORKER_TICKET_KEYS, /* struct dm_worker_tickets: at the beginning, and when they have changed */
    DM_WORKER_LISTENER,    /* struct dm_worker_socket, with a descriptor that is bound and listens */
    DM_WORKER_UNLISTEN,    /* struct dm_worker_socket */
    DM_WORKER_LEAVING,     /* no payload */
    DM_WORKER_PART,        /* no payload */
    DM_WORKER_CELL,        /* struct dm_worker_cell; without a descriptor: the cell is held back */
    DM_WORKER_CELL_GONE,   /* struct dm_worker_cell */
    DM_WORKER_CELL_LEFT,   /* struct dm_worker_cell */
    DM_WORKER_QUEUE,       /* no payload, with a descriptor: the taking end of the cell's queue (io/handover.h) */
    DM_WORKER_DATA_KEY,    /* struct dm_worker_data_key. Secret */
};

#define DM_WORKER_PATH_MAX 512
#define DM_WORKER_ADDRESS_MAX 128
#define DM_WORKER_TENANTS_MAX 16384 /* counter slots */

enum { DM_WORKER_IS_SERVING = 1, DM_WORKER_IS_DRAINING = 2 };

/* What session tickets are sealed under. Secret. */
struct dm_worker_tickets {
    struct dm_tls_ticket_keys keys;
    uint64_t due_ns; /* when they are to be rotated, by the monotonic clock of this machine; 0: there are none */
};

struct dm_worker_hello {
    char version[32]; /* DM_VERSION, NUL-terminated */
    uint32_t slot;    /* 0 … workers - 1 */
    int32_t pid;
    uint32_t bank;
    uint32_t flags; /* DM_WORKER_IS_… */
    uint32_t link_version, unit_format, counters_version;
    uint8_t program[DM_DIGEST_BYTES]; /* dm_program_mark() */
    struct dm_worker_tickets tickets; /* W4 */
};

/* What a worker, or a keeper, of the first versions sends, and as much of DRAIN as such a worker takes. */
#define DM_WORKER_HELLO_MIN offsetof(struct dm_worker_hello, bank)
#define DM_WORKER_TICKETS_MIN offsetof(struct dm_worker_tickets, due_ns)
#define DM_WORKER_DRAIN_MIN sizeof(uint32_t)

/* An address that has one socket for each slot, or (Unix) one for all, which is slot 0's. */
struct dm_worker_socket {
    char address[DM_WORKER_ADDRESS_MAX]; /* as dm_addr_format() writes it, NUL-terminated */
    uint32_t slot;
};

struct dm_worker_drain {
    uint32_t ms;      /* until it must be gone */
    uint32_t idle_ms; /* how long a client may take to begin its next request */
    uint32_t is_end;  /* of a cell's worker: the queue ends too, and what is given until then is served */
};

struct dm_worker_cell {
    char tenant[DM_UNIT_TENANT_MAX + 1];
};

/* Of the cell's tenant, opened. */
struct dm_worker_data_key {
    uint64_t tenant_id, key_id;
    uint8_t key[DM_TENANT_KEY_BYTES];
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
