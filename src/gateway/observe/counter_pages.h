/* The counters of all workers of a gateway, as one of them sees them: its own page, and those of the others, which it reads. What a
 * tenant holds of the gateway is the sum of what each worker says that it holds.
 *
 * A worker that has just started is seen at the next look. One that died counts with what it held until its slot is cleared
 * (dm_counters_close), which its keeper does. Threads: the worker's. */
#ifndef DM_GATEWAY_OBSERVE_COUNTER_PAGES_H
#define DM_GATEWAY_OBSERVE_COUNTER_PAGES_H

#include "gateway/observe/counters.h"
#include "io/shm.h"
#include "model/link.h"

#define DM_COUNTER_PAGES_MAX (2 * DM_LINK_WORKERS_MAX) /* two may sit in a slot while one takes over from the other */

struct dm_counter_pages {
    struct dm_counters_page *own;                                /* borrowed */
    const struct dm_counters_page *others[DM_COUNTER_PAGES_MAX]; /* that were found */
    size_t n_others;
    size_t page_bytes;                         /* of each; 0: of all of it */
    struct dm_shm *maps[DM_COUNTER_PAGES_MAX]; /* by seat; NULL: not found */
};

/* Maps the page of another worker's seat, if it is there and was not found before. Opens a file: now and then, not for a
 * request. */
void dm_counter_pages_look(struct dm_counter_pages *pages, unsigned seat, const char *path);
void dm_counter_pages_done(struct dm_counter_pages *pages);

/* The sum over the other workers of a number (by its offset) of the tenant whose counters in the own page these are. */
uint64_t dm_counter_pages_others(const struct dm_counter_pages *pages, const struct dm_tenant_counters *counters,
                                 size_t offset);

#endif
