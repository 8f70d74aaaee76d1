/* Counters of limits, exact across the workers of one gateway: a hash table of atomics in shared pages.
 *
 * T1. A key has one slot. Who owns a slot and until when is one word, so that it is claimed, kept and taken over by one
 *     compare-and-swap: no step in between is ever seen, and a worker that dies leaves nothing half done.
 * T2. dm_limit_take never lets a counter pass its maximum, whatever the other workers do meanwhile.
 * T3. The table never grows. When a key finds no slot within the probe bound, the counter is not kept: the request passes
 *     and `n_full` counts it, so that a shortage of memory never locks callers out. A limit of 0 is closed all the same.
 * T4. Windows go forward. A worker whose clock is a moment behind counts in the window that another one has begun; a slot
 *     that is further ahead means that the clock was set back, and begins anew.
 *
 * A slot may be taken over some minutes after what it counted has expired, longer than the clocks of two workers differ.
 * Counts and buckets have tables of their own: what a former owner left in a slot is then always of an ended window, or a
 * full bucket, and needs no clearing.
 *
 * Keys are mixed from the platform's own ids under a seed that is drawn when the pages are made and shown to nobody: who names
 * limits can't aim at another's slot. The pages outlive workers and keeper. Threads: none shared; processes through the pages. */
#ifndef DM_GATEWAY_LIMIT_TABLE_H
#define DM_GATEWAY_LIMIT_TABLE_H

#include "base/err.h"
#include "io/shm.h"

#define DM_LIMIT_SLOTS (1u << 18) /* of each kind */
#define DM_LIMIT_COUNT_MAX ((UINT64_C(1) << 40) - 1)

struct dm_limit_page;

struct dm_limit_table {
    struct dm_shm shm;
    struct dm_limit_page *page;
    uint64_t n_full; /* of this worker */
};

DM_MUST_USE int dm_limit_table_open(struct dm_limit_table *table, const char *path, struct dm_err *err);
void dm_limit_table_close(struct dm_limit_table *table);
uint64_t dm_limit_table_used(const struct dm_limit_table *table);

/* Whose counters: one seeded value for all limits of a request. */
uint64_t dm_limit_scope(const struct dm_limit_table *table, uint64_t tenant_id, uint64_t application_id);
/* The key of one counter in a scope. Within a tenant limit_id is a hash already; across tenants scopes are unpredictable. */
uint64_t dm_limit_key(uint64_t scope, uint64_t limit_id);

/* Takes `amount` from the counter of window number `window` unless it would then pass max. Returns false when it would.
 * expires_s: Unix time at which the window ends, UINT64_MAX for never. ret_count: the counter's value after, or the refused
 * state. */
bool dm_limit_take(struct dm_limit_table *table, uint64_t key, uint32_t window, uint64_t expires_s, uint64_t now_s,
                   uint64_t amount, uint64_t max, uint64_t *ret_count);
/* Gives back what dm_limit_take took in the same window; nothing when the window is over. */
void dm_limit_give_back(struct dm_limit_table *table, uint64_t key, uint32_t window, uint64_t amount);

/* A token bucket as one number (GCRA, ITU-T I.371): takes `amount` units of interval_ns each from a bucket of burst_ns.
 * now_ns is Unix time, interval_ns > 0. False when it is too early: *ret_wait_ns is then how long, or 0 when the bucket never
 * holds as much. */
bool dm_limit_take_rate(struct dm_limit_table *table, uint64_t key, uint64_t now_ns, uint64_t amount,
                        uint64_t interval_ns, uint64_t burst_ns, uint64_t *ret_wait_ns);
void dm_limit_give_back_rate(struct dm_limit_table *table, uint64_t key, uint64_t amount, uint64_t interval_ns);

#endif
