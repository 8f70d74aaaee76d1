/* How many calls a backend is given at a time: an upstream's limiter at work. A call has a place from dm_upstream_admit() to the head of its
 * answer, or to its end without one; what streams on behind the head, and tunnels, say nothing of a queue at the backend.
 *
 * Each worker has a limit of its own. What the latency is without a queue they find out together: it stands in the circuit's entry
 * (gateway/circuit/table.h), so that one that starts later does not take the others' calls for the backend's slowness. */
#include "gateway/upstream/upstream_int.h"

#include "gateway/observe/counters.h"
#include "model/backend.h"

#define BEGIN 20.0 /* of all workers together */

static uint64_t wall_ns(const struct dm_upstream *u)
{
    struct dm_sys *sys = dm_loop_sys(u->env.loop);

    return sys->ops->wall_ns(sys);
}

static bool is_same(const struct dm_circuit_limit *a, const struct dm_circuit_limit *b)
{
    return !(a->base < b->base || a->base > b->base || a->limit < b->limit || a->limit > b->limit) &&
           a->is_proven == b->is_proven;
}

static void hear(struct dm_upstream *u)
{
    struct dm_circuit_limit said = dm_circuit_limit(&u->shared);

    if (!is_same(&said, &u->heard))
        dm_limiter_hear(&u->limiter, said);
}

static void tell(struct dm_upstream *u)
{
    dm_circuit_set_limit(&u->shared, dm_limiter_found(&u->limiter));
    u->heard = dm_circuit_limit(&u->shared);
}

static void begin(struct dm_upstream *u, const struct dm_limiter_settings *settings)
{
    struct dm_circuit_limit said = dm_circuit_limit(&u->shared);
    uint32_t in_flight = u->limiter.in_flight;

    dm_limiter_init(&u->limiter, settings, said.base > 0 ? (double)said.limit : BEGIN / DM_MAX(u->env.n_workers, 1u),
                    wall_ns(u) ^ u->id);
    u->limiter.in_flight = in_flight;
    u->heard = (struct dm_circuit_limit){0};
    hear(u);
}

void dm_upstream_set_concurrency(struct dm_upstream *u, const struct dm_uconcurrency *from)
{
    struct dm_limiter_settings settings = {from->min, from->max};
    bool was_limited = u->is_limited;

    u->is_limited = from->limit == DM_CONCURRENCY_ADAPTIVE;
    if (u->is_limited && !was_limited)
        begin(u, &settings);
    else if (u->is_limited)
        dm_limiter_set(&u->limiter, &settings);
    dm_wait_queue_room(&u->waiting);
}

bool dm_upstream_has_place(struct dm_upstream *u)
{
    return !u->is_limited || dm_limiter_has_room(&u->limiter);
}

void dm_upstream_take_place(struct dm_upstream *u, struct dm_breaker_ticket *ticket)
{
    ticket->has_place = true;
    u->counters->limited_calls++;
    dm_limiter_enter(&u->limiter);
}

void dm_upstream_leave_place(struct dm_upstream *u, struct dm_breaker_ticket *ticket, uint64_t took_ns)
{
    ticket->has_place = false;
    u->counters->limited_calls--;
    if (took_ns == 0) {
        dm_limiter_leave(&u->limiter);
    } else if (dm_limiter_answer(&u->limiter, took_ns, wall_ns(u))) {
        hear(u);
        tell(u);
    }
    dm_wait_queue_room(&u->waiting);
}
