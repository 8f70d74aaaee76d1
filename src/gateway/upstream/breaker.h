/* A circuit breaker: decides from what came of calls whether further ones are worth making. Without clock, I/O or memory of its own;
 * whoever has it says what time it is.
 *
 *   state      calls are              ends by
 *   CLOSED     let through            run_max failures (or cut answers) behind one another, or failed or slow calls at their share
 *                                     of a window with at least calls_min: OPEN
 *   OPEN       refused                the first call behind open_for_ns, or behind dm_breaker_hurry(), which becomes a probe: HALF_OPEN
 *   HALF_OPEN  let through as probes  probes_max that passed: CLOSED with an empty window; one that failed, or was slow: OPEN for
 *                                     twice as long, up to open_max_ns
 *   The mode says what people want: AUTO as above; HELD_CLOSED: always let through; HELD_OPEN: always refused. Each change of it begins
 *   anew in CLOSED or OPEN.
 *
 * B1. What a call came to counts only in the state in which it was let through, so that what began before an opening neither closes nor
 *     opens anything.
 * B2. In HALF_OPEN at most probes_max calls are out or passed. When the last that was let through is out for as long as the breaker is
 *     open at first, those that are out count no longer, and others take their place: a caller may be slow.
 * B3. A call that says nothing (its caller went away) is as if it had not been.
 * B4. The time open doubles from open_ns to open_max_ns while it opens again soon: before it was closed for as long as the last
 *     opening and a window together.
 * B5. A call counts once, when its answer begins or does not come. An answer that is cut within a window's time counts as one more,
 *     failed; later its end says nothing about calls now.
 * B6. Several that judge for the same backend go on from each other's state (view, adopt), each with a window of its own. Of them, only
 *     one at a time makes probes, and B2 holds for all together.
 *
 * Threads: the owner's. */
#ifndef DM_GATEWAY_UPSTREAM_BREAKER_H
#define DM_GATEWAY_UPSTREAM_BREAKER_H

#include "model/circuit.h"

#define DM_BREAKER_SLICES 10 /* the window moves on by a slice at a time */

enum dm_breaker_outcome { DM_BREAKER_OK, DM_BREAKER_SLOW, DM_BREAKER_FAILED };
struct dm_breaker_settings {
    int mode;                 /* enum dm_breaker_mode (model/backend.h) */
    enum dm_breaker_cause by; /* whose word the mode is: MODE or HAND */
    uint32_t run_max, calls_min;
    uint32_t failed_percent, slow_percent; /* 1 to 100 */
    uint32_t probes_max;
    uint64_t window_ns, open_ns, open_max_ns;
};

/* Calls of a slice or a window. */
struct dm_breaker_count {
    uint32_t calls, failed, slow;
};

/* The last change, with its evidence. */
struct dm_breaker_change {
    enum dm_breaker_state from, to;
    enum dm_breaker_cause cause;
    struct dm_breaker_count window; /* as it was */
    uint32_t run;                   /* failures, or cut answers, behind one another */
    uint64_t open_for_ns;           /* of OPEN; UINT64_MAX: until the mode changes */
    uint64_t lasted_ns;             /* the state that ended */
};

struct dm_breaker {
    enum dm_breaker_state state;
    uint32_t generation; /* of the state: B1 */
    struct dm_breaker_settings settings;
    struct dm_breaker_count slices[DM_BREAKER_SLICES], window;
    unsigned slice;
    uint64_t slice_end_ns;
    uint32_t run, cuts;
    uint32_t probes_out, probes_passed;
    uint64_t since_ns, open_for_ns;
    uint64_t probed_ns; /* when the last probe was let through */
    uint8_t level;
    bool is_prober; /* B6: in HALF_OPEN the probes are this one's to make */
    bool has_changed;
    bool is_hurried; /* of OPEN */
    struct dm_breaker_change change;
};

/* A call that was let through; zero it before the first use. */
struct dm_breaker_ticket {
    uint32_t generation;
    uint8_t step;   /* enum below */
    bool has_place; /* of the backend's limit of calls at a time (limiter.h); not the breaker's */
};
enum { DM_BREAKER_TICKET_NONE, DM_BREAKER_TICKET_OUT, DM_BREAKER_TICKET_ANSWERED };

void dm_breaker_init(struct dm_breaker *breaker, const struct dm_breaker_settings *settings, uint64_t now_ns);
/* What was counted stays, unless the mode is another one. */
void dm_breaker_set(struct dm_breaker *breaker, const struct dm_breaker_settings *settings, uint64_t now_ns);

/* Somebody knows that the calls' other side is well again: the next one is a probe, whatever is left of the time open. */
void dm_breaker_hurry(struct dm_breaker *breaker);

/* May a call be made? Then its ticket is followed by answer, fail or drop. */
static inline bool dm_breaker_take(struct dm_breaker *breaker, struct dm_breaker_ticket *ticket, uint64_t now_ns);
/* How long no call will be let through, as far as that is known. */
uint64_t dm_breaker_wait_ns(const struct dm_breaker *breaker, uint64_t now_ns);

/* The call's answer has begun. With OK and SLOW whole, cut or drop follows. Without effect on a ticket that is not out. */
void dm_breaker_answer(struct dm_breaker *breaker, struct dm_breaker_ticket *ticket, enum dm_breaker_outcome outcome,
                       uint64_t now_ns);
/* There will be no answer. */
static inline void dm_breaker_fail(struct dm_breaker *breaker, struct dm_breaker_ticket *ticket, uint64_t now_ns);
/* The answer ended as it should, or broke off. answered_ns: when it began. */
void dm_breaker_whole(struct dm_breaker *breaker, struct dm_breaker_ticket *ticket);
void dm_breaker_cut(struct dm_breaker *breaker, struct dm_breaker_ticket *ticket, uint64_t answered_ns,
                    uint64_t now_ns);
/* B3 */
void dm_breaker_drop(struct dm_breaker *breaker, struct dm_breaker_ticket *ticket);

/* --- several that judge for the same backend (B6) ----------------------------------------------------------------- */

struct dm_breaker_view dm_breaker_view(const struct dm_breaker *breaker, uint64_t now_ns);
/* Goes on from another's state; what calls that are out come to counts no more. It is no change of this one's. */
void dm_breaker_adopt(struct dm_breaker *breaker, const struct dm_breaker_view *view, uint64_t now_ns);
/* In HALF_OPEN: who made the probes does so no more. */
void dm_breaker_claim(struct dm_breaker *breaker);

/* True once after each change of the state. */
static inline bool dm_breaker_has_changed(struct dm_breaker *breaker);

/* dm_breaker_take, when it is not closed. */
bool dm_breaker_take_probe(struct dm_breaker *breaker, struct dm_breaker_ticket *ticket, uint64_t now_ns);

static inline bool dm_breaker_take(struct dm_breaker *b, struct dm_breaker_ticket *ticket, uint64_t now_ns)
{
    if (DM_UNLIKELY(b->state != DM_BREAKER_CLOSED))
        return dm_breaker_take_probe(b, ticket, now_ns);
    *ticket = (struct dm_breaker_ticket){b->generation, DM_BREAKER_TICKET_OUT};
    return true;
}

static inline void dm_breaker_fail(struct dm_breaker *b, struct dm_breaker_ticket *ticket, uint64_t now_ns)
{
    dm_breaker_answer(b, ticket, DM_BREAKER_FAILED, now_ns);
}

static inline bool dm_breaker_has_changed(struct dm_breaker *b)
{
    bool has_changed = b->has_changed;

    b->has_changed = false;
    return has_changed;
}

#endif
