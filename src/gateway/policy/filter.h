/* A filter of a response's body: what stands between the bytes that a backend sends and those that the client gets. A policy
 * begins one when it sees the response's head; the exchange drives it. An exchange without one pays for a test of a pointer.
 *
 * Back-pressure goes through it: while the client does not take what came out, nothing more is taken in, and the backend is not
 * read. What is inside is bounded by DM_FILTER_OUT_BYTES and the filter's own state.
 *
 * What was taken in goes out at the latest when the backend has been silent for a turn of the loop (FLUSH), so that streams
 * arrive as they are sent and a body that comes at once is not cut into pieces.
 *
 * An exchange has one filter; two in a row are one that runs both. Threads: the worker's. */
#ifndef DM_GATEWAY_POLICY_FILTER_H
#define DM_GATEWAY_POLICY_FILTER_H

#include "base/buf.h"
#include "io/loop.h"

struct dm_exchange;
struct dm_filter;

#define DM_FILTER_OUT_BYTES (16u << 10)

enum dm_filter_op {
    DM_FILTER_RUN,   /* take in; what comes out may wait */
    DM_FILTER_FLUSH, /* bring out what was taken in so far */
    DM_FILTER_END,   /* bring out all; nothing is taken in after it */
};

struct dm_filter_ops {
    /* Takes from *in, moving it on, and adds to out, never more than its room (which is not 0). True: the operation is through,
     * *in is empty. False: out is full; it is called again with the same operation and the rest of *in, which only RUN has. */
    bool (*run)(struct dm_filter *filter, enum dm_filter_op op, struct dm_str *in, struct dm_buf *out);
    /* The last call: after END was through, or before. */
    void (*free)(struct dm_filter *filter);
};

/* Embedded in the policy's own state. */
struct dm_filter {
    const struct dm_filter_ops *ops;
    struct dm_exchange *ex;
    struct dm_loop *loop;
    struct dm_task pause; /* posted while something may have to be flushed */
    struct dm_buf out;
    size_t out_at;          /* of it, what the client took */
    struct dm_str trailers; /* after the end */
    uint8_t op;             /* enum dm_filter_op: what is in hand, or was last */
    bool is_through;        /* it is done */
    bool is_fed;            /* something came since pause was posted */
    bool is_unflushed;      /* something came since the last flush */
    bool has_ended;         /* the backend's body is complete */
    char room[DM_FILTER_OUT_BYTES];
};

/* Makes it the exchange's filter, before the response's head goes out. */
void dm_filter_begin(struct dm_filter *filter, const struct dm_filter_ops *ops, struct dm_exchange *ex);
/* Bytes of the body; returns how many were taken. Fewer than len: when dm_filter_writable() says so, the rest may come. */
size_t dm_filter_body(struct dm_filter *filter, const char *ptr, size_t len);
/* The body is complete. Ends the response now or when the client has taken what is left; the filter, and the exchange too if
 * its other side is through, may be gone after the call. DM_EBUDGET when the trailers can't be kept until then. */
DM_MUST_USE int dm_filter_end(struct dm_filter *filter, struct dm_str trailers);
/* The client takes more. True: so does the filter; false: nobody touches filter and exchange, as after dm_filter_end(). */
bool dm_filter_writable(struct dm_filter *filter);
/* Ends the exchange's filter, if it has one. */
void dm_filter_drop(struct dm_exchange *ex);

#endif
