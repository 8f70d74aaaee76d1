/* What the workers of a gateway know together of the circuits of backends: a table in shared pages with an entry for each backend of
 * each tenant. A worker that opens a circuit opens it for all, and who closes it closes it for all.
 *
 *   word    state    is                                        changed by
 *           CLOSED   calls are made                            a worker that has seen enough failures: OPEN
 *           OPEN     none is made before its time is over      the first worker with a call behind it: HALF_OPEN
 *           HALF_OPEN  one worker makes the probes, all of     that worker: CLOSED, OPEN, or the lease anew; any worker
 *                    them, as long as its lease runs           when the lease is over: HALF_OPEN, with its own
 *           held     as CLOSED or OPEN, by people's word       whoever hears that word first
 *   hold    what people said through the API, and until when   the keeper
 *
 * X1. The state is one word, and is changed only from the value that was read before, by one compare-and-swap. Of two that decide at
 *     once one wins and the other goes on from what it finds; a worker that dies has changed it or has not.
 * X2. Nothing waits for a worker: the right to probe is a lease of DM_CIRCUIT_LEASE_MS that is renewed while probes are out.
 * X3. Whose an entry is stands in its key, which is mixed from the platform's own ids under a seed that is drawn when the pages are
 *     made and shown to nobody. The names in it are checked against the key before they are believed, and so is each change that is told.
 * X4. The word's tag is of what the backend is (endpoints, TLS, protocol). Who joins with another tag begins anew with CLOSED; who
 *     finds another tag than its own has lost the entry and goes on alone: its release is being replaced.
 * X5. An entry may be taken for another backend once nobody touched it for DM_CIRCUIT_STALE_MS. Workers touch theirs every
 *     DM_CIRCUIT_TOUCH_MS, and one that slept through all that time finds another tag.
 * X6. Changes are told in a ring of the last DM_CIRCUIT_CHANGES. One that is being written, or whose writer died meanwhile, is not read.
 *
 * When an entry's place is taken by others (DM_CIRCUIT_PROBES), a worker goes on alone as if it were the only one. Times are of the
 * machine's monotonic clock, in milliseconds; those of another boot are seen to be none of this one. The pages outlive workers and
 * keeper. Threads: none shared; processes through the pages. */
#ifndef DM_GATEWAY_CIRCUIT_TABLE_H
#define DM_GATEWAY_CIRCUIT_TABLE_H

#include "io/shm.h"
#include "model/circuit.h"

#include <stdatomic.h>

#define DM_CIRCUIT_ENTRIES (1u << 14)
#define DM_CIRCUIT_PROBES 64
#define DM_CIRCUIT_NAME_MAX 64
#define DM_CIRCUIT_LEASE_MS 3000
#define DM_CIRCUIT_TOUCH_MS 60000
#define DM_CIRCUIT_STALE_MS 600000

struct dm_circuit_page;

/* The words of an entry that are read for each call. */
struct dm_circuit_entry {
    _Atomic uint64_t word;
    _Atomic uint64_t hold; /* 0: nobody said anything */
};

struct dm_circuit_table {
    struct dm_shm shm;
    struct dm_circuit_page *page; /* NULL: none */
    uint64_t n_full;              /* times that there was no place, in this process */
};

DM_MUST_USE int dm_circuit_table_open(struct dm_circuit_table *table, const char *path, struct dm_err *err);
void dm_circuit_table_close(struct dm_circuit_table *table);

/* A backend, by the platform's words. */
struct dm_circuit_name {
    uint64_t tenant_id;
    struct dm_str tenant, backend; /* at most DM_CIRCUIT_NAME_MAX bytes */
};

/* A worker's part in an entry; zeroed is none, and what is done with it is without effect. */
struct dm_circuit {
    struct dm_circuit_entry *entry; /* NULL: none, or lost (X4) */
    uint64_t seen, seen_hold;
    uint64_t tag;
    uint64_t touched_ms;
};

/* what: a digest of what the backend is (X4). */
void dm_circuit_join(struct dm_circuit_table *table, struct dm_circuit *circuit, const struct dm_circuit_name *name,
                     uint64_t what, uint64_t now_ms);
/* Takes what stands there for seen. False: there is no entry, or not any more. */
DM_MUST_USE bool dm_circuit_read(struct dm_circuit *circuit, struct dm_breaker_view *ret);
/* What people say (enum dm_breaker_mode); AUTO: nothing. Takes it for seen. */
int dm_circuit_hold(struct dm_circuit *circuit);
/* X1. False: the word is another one than was seen. True also when there is no entry, or nothing to change. */
DM_MUST_USE bool dm_circuit_put(struct dm_circuit *circuit, const struct dm_breaker_view *view);
/* Of HALF_OPEN as it was seen: may anybody take it (X2)? */
bool dm_circuit_is_lease_over(const struct dm_circuit *circuit, uint64_t now_ms);
/* X5; now and then. */
void dm_circuit_touch(struct dm_circuit *circuit, uint64_t now_ms);

static inline bool dm_circuit_has_news(const struct dm_circuit *c)
{
    return c->entry && (atomic_load_explicit(&c->entry->word, memory_order_acquire) != c->seen ||
                        atomic_load_explicit(&c->entry->hold, memory_order_acquire) != c->seen_hold);
}

/* What workers found out last of how many calls the backend can do at a time; all 0: nothing. */
struct dm_circuit_limit dm_circuit_limit(const struct dm_circuit *circuit);
void dm_circuit_set_limit(struct dm_circuit *circuit, struct dm_circuit_limit limit);

/* --- changes ------------------------------------------------------------------------------------------------------- */

/* The number is given here. */
void dm_circuit_tell(struct dm_circuit *circuit, struct dm_circuit_table *table,
                     const struct dm_circuit_change *change);

/* --- the keeper's ------------------------------------------------------------------------------------------------- */

/* An entry as it stands; strings of the report lie in names. */
struct dm_circuit_info {
    struct dm_circuit_report report;
    struct dm_circuit_limit limit;
    char names[2][DM_CIRCUIT_NAME_MAX + 1];
};

/* Another value whenever something has changed. */
uint64_t dm_circuit_table_changes(const struct dm_circuit_table *table);
uint64_t dm_circuit_table_used(const struct dm_circuit_table *table);
/* Walks the entries that are somebody's now: begin with *at = 0. False: that was all. */
bool dm_circuit_table_next(const struct dm_circuit_table *table, size_t *at, uint64_t now_ms,
                           struct dm_circuit_info *ret);
/* Says what people want of a backend. Workers hear it with their next call, and an entry is made when there is
 * none yet. False: there is no place for one. */
DM_MUST_USE bool dm_circuit_table_hold(struct dm_circuit_table *table, const struct dm_circuit_hold *hold,
                                       uint64_t now_ms, uint64_t wall_ms);
/* The entry that dm_circuit_table_next gave last (its *at) is touched, as it has a hold. */
void dm_circuit_table_touch(struct dm_circuit_table *table, size_t at, uint64_t now_ms);

#endif
