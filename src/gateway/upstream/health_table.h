/* Whose turn it is to check an endpoint, and what checks said of it: shared pages of all workers of a gateway, so that many workers
 * ask a backend no more often than one, and all go by one verdict.
 *
 * A tenant has a row, by the place of its counters; a checked endpoint has a cell in it. Any worker that finds a check due may lease it:
 * until the lease ends nobody else begins one. What came of it is written with the time of the next.
 *
 * A1. One lease at a time: `due` moves by compare-and-swap, and who moved it alone writes the verdict. A worker that dies with a lease
 *     leaves it to the others, when it has ended; one that comes too late writes nothing, or what nobody has written over.
 * A2. A row is its tenant's alone: no tenant's endpoints take another's cells. A cell whose check has been due for DM_HEALTH_KEEP_NS,
 *     or is due after any time that could have been set, is nobody's any more: what it said is forgotten, and the next endpoint has it.
 * A3. A due time that is further ahead than the one who asks would ever set is none: the machine has begun its clock anew.
 *
 * Time is the loop's (CLOCK_MONOTONIC), which is one for all processes of the machine; the wall clock is of no account. The pages outlive
 * workers and keeper. Threads: none shared; processes through the pages. */
#ifndef DM_GATEWAY_UPSTREAM_HEALTH_TABLE_H
#define DM_GATEWAY_UPSTREAM_HEALTH_TABLE_H

#include "gateway/observe/counters.h"
#include "gateway/upstream/health.h"
#include "io/shm.h"
#include "model/backend.h"

#define DM_HEALTH_KEEP_NS UINT64_C(60000000000)
#define DM_HEALTH_AHEAD_NS UINT64_C(7200000000000) /* more than the longest interval, with all that is added */

struct dm_health_cell;
struct dm_health_page;

struct dm_health_table {
    struct dm_shm shm;
    struct dm_health_page *page;
};

DM_MUST_USE int dm_health_table_open(struct dm_health_table *table, const char *path, struct dm_err *err);
/* One that is not open, but zeroed, is fine. */
void dm_health_table_close(struct dm_health_table *table);

/* The cell of this key (not 0) in the row, which is taken with a first check at due_ns if the key has none. NULL: the row is full. To be asked for anew
 * each time. */
struct dm_health_cell *dm_health_table_find(struct dm_health_table *table, size_t row, uint64_t key, uint64_t now_ns,
                                            uint64_t due_ns);
struct dm_health dm_health_cell_read(const struct dm_health_cell *cell);
/* When its next check is due; A3: ahead_ns is how far ahead it can be. */
uint64_t dm_health_cell_due_ns(const struct dm_health_cell *cell, uint64_t now_ns, uint64_t ahead_ns);
/* Takes the check that is due until `until_ns`. False: it is not, or another worker has it. */
bool dm_health_cell_lease(struct dm_health_cell *cell, uint64_t now_ns, uint64_t ahead_ns, uint64_t until_ns);
/* Writes what the check of this lease says. DM_EAGAIN, and nothing is written: the lease was over. 0, or 1 when the verdict is
 * another one now; *ret is what is said then. end follows. */
DM_MUST_USE int dm_health_cell_note(struct dm_health_cell *cell, uint64_t lease_ns,
                                    const struct dm_health_settings *settings, bool has_passed, struct dm_health *ret);
/* Ends the lease, unless it was over; the next check is due at due_ns. */
void dm_health_cell_end(struct dm_health_cell *cell, uint64_t lease_ns, uint64_t due_ns);

#endif
