/* How many calls a backend is given at a time, found out from how long they take. Without clock, I/O or memory of its own.
 *
 * A backend with C places and a service time S answers after S as long as at most C calls are with it, and after S n/C when n > C are:
 * the rest waits there. So latency alone does not say whether a backend is full or has become slower; how latency follows the number of
 * calls does. Let n be the calls in flight and r their latency: the elasticity e = d log r / d log n is 0 below C and 1 above.
 *
 *   base    the latency without a queue: the lowest that was seen. gap: how far the latency is above it, in powers of two
 *   limit   as low as it may be with the backend never idle: gap between LOW and HIGH (1.25 and 1.67 times the base)
 *
 *   state      limit                        ends by
 *   SEEKING    grows while gap < LOW and    gap > HIGH: TESTING. gap >= LOW and the base is not proven: DRAINING
 *              it is reached
 *   TESTING    up and down by a fifth, by   e > 0 for sure: the limit is lowered by a fifth, and so on until gap < HIGH: SEEKING.
 *              chance                       e < E_MIN for sure: the backend has become slower: it has another base. SEEKING
 *   DRAINING   lowered by a fifth as long   throughput falls: there the queue is empty, and the base proven. SEEKING
 *              as throughput stays
 *
 * L1. The limit moves only while it is reached: calls had to wait or were refused for it. With less to do it stays.
 * L2. A window is judged when its mean is known well enough (the standard error of the mean logarithm), so the fewer or the more varied
 *     calls there are the longer it takes. Logarithms: what is rare and very slow does not weigh more than what is fast.
 * L3. A base is proven when throughput above it was clearly higher than at it: there was no queue then. It is lowered when a window was
 *     faster, and raised by TESTING alone.
 * L4. No periodic dips. What it takes to test is a fifth of the limit at most, and only once latency has risen.
 * L5. Windows end at multiples of a length of the wall clock, so that several who limit calls to one backend move together, and see what
 *     all of them did.
 *
 * After Brakmo and Peterson's TCP Vegas (1995) and Netflix' concurrency-limits (2018), which compare latencies; what they take for a queue
 * is asked here of the backend itself, as Dong et al. do in PCC (2015). Threads: the owner's. */
#ifndef DM_GATEWAY_UPSTREAM_LIMITER_H
#define DM_GATEWAY_UPSTREAM_LIMITER_H

#include "model/circuit.h"

#define DM_LIMITER_SLOT_NS UINT64_C(500000000)

struct dm_limiter_settings {
    double min, max; /* of the limit; 1 <= min <= max */
};

enum dm_limiter_state { DM_LIMITER_SEEKING, DM_LIMITER_TESTING, DM_LIMITER_DRAINING };

/* Calls that were answered in a window. Latencies as logarithms to the base 2 of nanoseconds. */
struct dm_limiter_window {
    uint64_t from_ns;
    uint32_t n;
    double sum, sum_squares; /* of logarithms */
    double sum_took_ns, sum_in_flight;
    bool is_reached; /* L1 */
};

/* What a window says. */
struct dm_limiter_point {
    double latency, in_flight; /* logarithms */
    double error;              /* standard error of latency */
};

/* How latency answers to the number of calls: sums over pairs of windows behind one another, old ones fading. */
struct dm_limiter_slope {
    double xy, xx, variance; /* of xy */
    double wander;           /* squares of how latency moves by itself */
};

struct dm_limiter {
    struct dm_limiter_settings settings;
    double limit;
    uint32_t in_flight;
    enum dm_limiter_state state;
    struct dm_limiter_window window;
    uint64_t due_ns, settled_ns; /* a window may end; calls answered before are of another limit */
    double base;                 /* 0: not known yet */
    double base_rate;            /* throughput at it, a logarithm */
    double top;                  /* TESTING: the limit that is tested; DRAINING: the highest throughput */
    unsigned n_hints;            /* windows behind one another that say the same of the base */
    bool is_proven;              /* L3 */
    bool has_before;
    struct dm_limiter_point before; /* the window before */
    struct dm_limiter_slope slope;
    uint64_t chance;
};

/* seed: any number. */
void dm_limiter_init(struct dm_limiter *limiter, const struct dm_limiter_settings *settings, double limit,
                     uint64_t seed);
/* What was found out stays, within the new bounds. */
void dm_limiter_set(struct dm_limiter *limiter, const struct dm_limiter_settings *settings);

/* May a call be made? False: it waits or is refused, and the limit is reached (L1). */
static inline bool dm_limiter_has_room(struct dm_limiter *limiter);
/* A call is made. One of the two below follows. */
static inline void dm_limiter_enter(struct dm_limiter *limiter);
/* It says nothing: it failed, or was given up. */
static inline void dm_limiter_leave(struct dm_limiter *limiter);
/* It was answered. wall_ns: the time now. True: a window was judged. */
bool dm_limiter_answer(struct dm_limiter *limiter, uint64_t took_ns, uint64_t wall_ns);

/* After a window was judged: what others are to know. */
struct dm_circuit_limit dm_limiter_found(const struct dm_limiter *limiter);
/* Goes on from the base of another that has found one: the same counts for all. */
void dm_limiter_hear(struct dm_limiter *limiter, struct dm_circuit_limit found);

static inline bool dm_limiter_has_room(struct dm_limiter *l)
{
    if (l->in_flight < (uint32_t)l->limit)
        return true;
    l->window.is_reached = true;
    return false;
}

static inline void dm_limiter_enter(struct dm_limiter *l)
{
    l->in_flight++;
}

static inline void dm_limiter_leave(struct dm_limiter *l)
{
    l->in_flight--;
}

#endif
