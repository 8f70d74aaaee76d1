/* Threads for blocking calls. A job's run happens on one of them, its done on the loop's thread. On the real system only.
 *
 * J1. A job belongs to the pool from submit until its done is called.
 * J2. Every job submitted is run and done exactly once, also when the pool ends.
 *
 * Threads: all calls on the loop's thread; run on any. */
#ifndef DM_IO_POOL_H
#define DM_IO_POOL_H

#include "io/loop.h"

struct dm_pool;

/* Embedded in its owner. */
struct dm_job {
    void (*run)(struct dm_job *job);
    void (*done)(struct dm_job *job); /* may submit and free the job */
    struct dm_job *next;
};

/* n_threads >= 1; queue_max: jobs waiting for a thread. NULL when threads or descriptors are exhausted. */
struct dm_pool *dm_pool_new(struct dm_loop *loop, unsigned n_threads, size_t queue_max);
/* Waits for all jobs, calling their done (what these submit is refused), ends the threads and frees the pool. */
void dm_pool_free(struct dm_pool *pool);
/* 0; DM_EBUDGET when the queue is full; DM_ECLOSED when the pool is ending. */
DM_MUST_USE int dm_pool_submit(struct dm_pool *pool, struct dm_job *job);
/* Jobs submitted and not done. */
size_t dm_pool_in_flight(const struct dm_pool *pool);

#endif
