/* What applications used, on its way to the controller: summed, written to a spool as numbered batches, sent, kept until the
 * controller says that it is stored.
 *
 * U1. A batch is spooled under its number before it is sent, and sent again under the same number until it is USED; numbers
 *     only go up, over restarts too (they are taken from disk in blocks, the first from the clock). So the controller can tell what it has stored, and
 *     nothing is counted twice. What is lost with a killed keeper is what came in the last flush_ms.
 * U2. One batch is in flight at a time, and sent again when it is not USED in retry_ms: batches are stored in the order of
 *     their numbers. A spool file holds all batches of one flush.
 * U3. While the controller is away or slow, flushes are rarer; the spool is bounded, and its oldest files are dropped and counted.
 *
 * Threads: the loop's. */
#ifndef DM_GATEWAY_LINK_SPOOL_H
#define DM_GATEWAY_LINK_SPOOL_H

#include "base/buf.h"
#include "base/map.h"
#include "base/vec.h"
#include "io/loop.h"
#include "model/link.h"

struct dm_spool_count {
    struct dm_str tenant, product, metric;
    uint64_t application; /* id */
    uint64_t delta;
};

/* A spool file: batches first … last. */
struct dm_spool_file {
    uint64_t first, last;
    size_t bytes;
};

/* Embedded in its owner, who reads the counts. */
struct dm_spool {
    uint64_t n_batches; /* made */
    uint64_t n_dropped; /* files */
    uint64_t spooled_bytes;
    struct dm_sys *sys;
    struct dm_loop *loop;
    const char *dir;
    /* Sends a frame to the controller; called between dm_spool_up and dm_spool_down only. */
    void (*send)(void *arg, const struct dm_link_message *message);
    void *arg;
    struct dm_map sums;                 /* key bytes -> struct sum */
    DM_VEC(struct dm_spool_file) files; /* oldest first */
    struct dm_timer timer;
    uint64_t next_batch, reserved; /* numbers below reserved may be used */
    uint64_t began_s;              /* of what is summed */
    struct dm_buf frames;          /* of files.items[0], while it is sent */
    size_t sent_at;                /* the frame in flight */
    uint64_t sent_batch;           /* its number; 0: none */
    struct dm_timer retry;
    bool is_up;
    uint32_t flush_ms, flush_down_ms, retry_ms;
    size_t max_bytes, max_files;
};

/* dir is borrowed and made when missing; what is in it from before will be sent. After a failure sys is NULL. */
DM_MUST_USE int dm_spool_open(struct dm_spool *spool, struct dm_loop *loop, const char *dir,
                              void (*send)(void *arg, const struct dm_link_message *message), void *arg,
                              struct dm_err *err);
/* Spools what is summed. */
void dm_spool_close(struct dm_spool *spool);
void dm_spool_add(struct dm_spool *spool, const struct dm_spool_count *count);
/* Writes what is summed now. */
void dm_spool_flush(struct dm_spool *spool);
/* The controller is there, or no more. */
void dm_spool_up(struct dm_spool *spool);
void dm_spool_down(struct dm_spool *spool);
/* The controller has stored this batch. */
void dm_spool_used(struct dm_spool *spool, uint64_t batch);

#endif
