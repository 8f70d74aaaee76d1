#include "gateway/admission.h"

#include "gateway/answer.h"
#include "gateway/caps.h"
#include "gateway/decide.h"
#include "gateway/exchange_int.h"
#include "gateway/worker.h"
#include "snapshot/grants.h"

/* In the exchange's arena, from the first time that it waits on. */
struct dm_admission {
    struct dm_waiter waiter;
    struct dm_exchange *ex;
    uint64_t since_ns, due_ns; /* of this wait; of all of them (A2) */
    bool is_counted;           /* among those that wait for `what` */
    bool has_turn;             /* for a place at the backend */
    uint8_t what;              /* enum dm_wait */
    uint8_t turn_try;          /* that had its turn for a connection; 0: none */
    const struct dm_uplan *plan;
    unsigned n_matched; /* of struct dm_usage */
    struct dm_usage_item matched[];
};

static struct dm_exchange *exchange_of(const struct dm_waiter *waiter)
{
    return DM_CONTAINER_OF(waiter, const struct dm_admission, waiter)->ex;
}

/* --- counting ----------------------------------------------------------------------------------------------------- */

/* Once, however often it has its turn in vain. */
static void count_begun(const struct dm_exchange *ex, enum dm_wait what)
{
    struct dm_admission *a = ex->admission;

    if (a->is_counted)
        return;
    a->is_counted = true;
    a->what = (uint8_t)what;
    a->since_ns = dm_loop_now_ns(ex->worker->loop);
    ex->tenant->counters->waiting[what]++;
    ex->tenant->counters->waits[what]++;
    ex->tenant->share.n_at_backends += what == DM_WAIT_BACKEND;
}

static void count_ended(const struct dm_exchange *ex)
{
    struct dm_tenant_counters *c = ex->tenant->counters;
    struct dm_admission *a = ex->admission;
    uint64_t us = (dm_loop_now_ns(ex->worker->loop) - a->since_ns) / 1000;

    if (!a->is_counted)
        return;
    a->is_counted = false;
    c->waiting[a->what]--;
    ex->tenant->share.n_at_backends -= a->what == DM_WAIT_BACKEND;
    c->wait[dm_latency_bucket(us)]++;
    c->wait_us_sum += us;
}

static void expire(struct dm_exchange *ex, enum dm_wait what, enum dm_reason reason)
{
    count_ended(ex);
    ex->tenant->counters->waits_expired[what]++;
    dm_upstream_drop(ex->upstream, &ex->ticket);
    dm_answer(ex, reason);
}

static void expire_at_cap(struct dm_waiter *waiter, enum dm_wait what, enum dm_cap cap)
{
    struct dm_exchange *ex = exchange_of(waiter);

    ex->tenant->counters->refused[cap]++;
    expire(ex, what, DM_REASON_TENANT_OVER_CAP);
}

/* --- to be in flight ---------------------------------------------------------------------------------------------- */

static bool is_open(const struct dm_live_tenant *tenant)
{
    return !tenant->is_gone && tenant->grants && !DM_UNIT_ROOT(tenant->grants, dm_ugrants)->is_suspended;
}

static bool has_room_in_flight(struct dm_wait_queue *queue, const struct dm_waiter *first)
{
    const struct dm_exchange *ex = exchange_of(first);

    (void)queue;
    return !is_open(ex->tenant) || dm_caps_has_room(ex);
}

static enum dm_reason take_limits(struct dm_exchange *ex)
{
    const struct dm_admission *a = ex->admission;
    struct dm_usage *usage = &ex->worker->matched;

    usage->count = a->n_matched;
    if (a->n_matched > 0)
        memcpy(usage->items, a->matched, a->n_matched * sizeof(a->matched[0]));
    return dm_decide_limits(ex, a->plan);
}

static enum dm_reason enter(struct dm_exchange *ex)
{
    if (is_open(ex->tenant))
        return take_limits(ex);
    return ex->tenant->is_gone || !ex->tenant->grants ? DM_REASON_HOST_UNKNOWN : DM_REASON_TENANT_SUSPENDED;
}

static void on_turn_in_flight(struct dm_wait_queue *queue, struct dm_waiter *waiter)
{
    struct dm_exchange *ex = exchange_of(waiter);
    enum dm_reason reason;

    (void)queue;
    count_ended(ex);
    if ((reason = enter(ex)) != DM_REASON_NONE)
        dm_answer(ex, reason);
    else
        dm_exchange_begin(ex);
}

static void on_expired_in_flight(struct dm_wait_queue *queue, struct dm_waiter *waiter)
{
    (void)queue;
    expire_at_cap(waiter, DM_WAIT_EXCHANGES, DM_CAP_EXCHANGES);
}

/* The last of a tenant that is gone may be answered. */
static void hold_in_flight(struct dm_wait_queue *queue)
{
    dm_live_tenant_ref(DM_CONTAINER_OF(queue, struct dm_live_tenant, waiting));
}

static void release_in_flight(struct dm_wait_queue *queue)
{
    dm_live_tenant_unref(DM_CONTAINER_OF(queue, struct dm_live_tenant, waiting));
}

static const struct dm_wait_handler in_flight = {hold_in_flight, release_in_flight, has_room_in_flight,
                                                 on_turn_in_flight, on_expired_in_flight};

/* --- for connections ---------------------------------------------------------------------------------------------- */

static bool has_connection(struct dm_wait_queue *queue, const struct dm_waiter *first)
{
    (void)queue;
    return dm_upstream_has_room(exchange_of(first)->upstream);
}

static void on_turn_for_connection(struct dm_wait_queue *queue, struct dm_waiter *waiter)
{
    struct dm_exchange *ex = exchange_of(waiter);

    (void)queue;
    ex->admission->turn_try = ex->tries;
    dm_exchange_call(ex);
}

static void on_expired_for_connection(struct dm_wait_queue *queue, struct dm_waiter *waiter)
{
    (void)queue;
    expire_at_cap(waiter, DM_WAIT_UPSTREAM_CONNECTIONS, DM_CAP_UPSTREAM_CONNECTIONS);
}

static void hold_for_connections(struct dm_wait_queue *queue)
{
    dm_live_tenant_ref(DM_CONTAINER_OF(queue, struct dm_live_tenant, share.waiting));
}

static void release_for_connections(struct dm_wait_queue *queue)
{
    dm_live_tenant_unref(DM_CONTAINER_OF(queue, struct dm_live_tenant, share.waiting));
}

static const struct dm_wait_handler for_connections = {hold_for_connections, release_for_connections, has_connection,
                                                       on_turn_for_connection, on_expired_for_connection};

/* --- for a place at a backend ------------------------------------------------------------------------------------- */

static bool has_place(struct dm_wait_queue *queue, const struct dm_waiter *first)
{
    (void)queue;
    return dm_upstream_has_place(exchange_of(first)->upstream);
}

static void on_turn_at_backend(struct dm_wait_queue *queue, struct dm_waiter *waiter)
{
    struct dm_exchange *ex = exchange_of(waiter);

    (void)queue;
    count_ended(ex);
    ex->admission->has_turn = true;
    dm_exchange_begin(ex);
}

static void on_expired_at_backend(struct dm_wait_queue *queue, struct dm_waiter *waiter)
{
    (void)queue;
    expire(exchange_of(waiter), DM_WAIT_BACKEND, DM_REASON_BACKEND_BUSY);
}

/* The last that waits may be the last of its backend, and of a tenant that is gone. */
static void hold_at_backend(struct dm_wait_queue *queue)
{
    struct dm_upstream *upstream = dm_upstream_of_waiting(queue);

    dm_live_tenant_ref(DM_CONTAINER_OF(dm_upstream_share_of(upstream), struct dm_live_tenant, share));
    dm_upstream_ref(upstream);
}

static void release_at_backend(struct dm_wait_queue *queue)
{
    struct dm_upstream *upstream = dm_upstream_of_waiting(queue);
    struct dm_live_tenant *tenant = DM_CONTAINER_OF(dm_upstream_share_of(upstream), struct dm_live_tenant, share);

    dm_upstream_unref(upstream);
    dm_live_tenant_unref(tenant);
}

static const struct dm_wait_handler at_backends = {hold_at_backend, release_at_backend, has_place, on_turn_at_backend,
                                                   on_expired_at_backend};

/* --- queues ------------------------------------------------------------------------------------------------------- */

void dm_admission_init(struct dm_live_tenant *tenant)
{
    dm_wait_queue_init(&tenant->waiting, tenant->env->loop, &in_flight, &tenant->flow);
    dm_wait_queue_init(&tenant->share.waiting, tenant->env->loop, &for_connections, &tenant->flow);
    tenant->share.at_backends = &at_backends;
}

void dm_admission_done(struct dm_live_tenant *tenant)
{
    dm_wait_queue_done(&tenant->waiting);
    dm_wait_queue_done(&tenant->share.waiting);
}

void dm_admission_look(struct dm_live_tenant *tenant)
{
    dm_wait_queue_room(&tenant->waiting);
    dm_wait_queue_room(&tenant->share.waiting);
}

static uint64_t waiting_elsewhere(const struct dm_exchange *ex)
{
    uint64_t n = 0;

    for (size_t what = 0; what < DM_WAIT_COUNT; what++)
        n += dm_counter_pages_others(&ex->worker->pages, ex->tenant->counters,
                                     offsetof(struct dm_tenant_counters, waiting) + what * sizeof(uint64_t));
    return n;
}

bool dm_admission_has_place(const struct dm_exchange *ex)
{
    const struct dm_live_tenant *tenant = ex->tenant;
    uint64_t own = tenant->waiting.n + tenant->share.waiting.n + tenant->share.n_at_backends;

    return tenant->caps->queue_ms > 0 && own < tenant->caps->queue && own + waiting_elsewhere(ex) < tenant->caps->queue;
}

static struct dm_admission *admission_new(struct dm_exchange *ex, unsigned n_matched)
{
    struct dm_admission *a;
    size_t size = sizeof(*a) + n_matched * sizeof(a->matched[0]);

    if (!(a = dm_arena_alloc(&ex->arena, size)))
        return NULL;
    memset(a, 0, sizeof(*a));
    a->ex = ex;
    a->due_ns = dm_loop_now_ns(ex->worker->loop) + ex->tenant->caps->queue_ms * UINT64_C(1000000);
    return ex->admission = a;
}

enum dm_reason dm_admission_begin(struct dm_exchange *ex, const struct dm_uplan *plan)
{
    const struct dm_usage *usage = &ex->worker->matched;
    struct dm_admission *a = admission_new(ex, usage->count);

    if (!a) {
        ex->tenant->counters->refused[DM_CAP_EXCHANGES]++;
        return DM_REASON_TENANT_OVER_CAP;
    }
    a->plan = plan;
    a->n_matched = usage->count;
    if (usage->count > 0)
        memcpy(a->matched, usage->items, usage->count * sizeof(a->matched[0]));
    dm_wait_queue_add(&ex->tenant->waiting, &a->waiter, ex->tenant->caps->queue_ms);
    count_begun(ex, DM_WAIT_EXCHANGES);
    return DM_REASON_NONE;
}

bool dm_admission_is_behind(const struct dm_exchange *ex)
{
    return ex->tries == 1 && !dm_upstream_stands_with_room(ex->upstream);
}

/* It had its turn and the room was gone: it stays the first. */
static void wait_on(struct dm_exchange *ex)
{
    dm_wait_queue_put_back(&ex->tenant->share.waiting, &ex->admission->waiter);
}

static uint32_t left_ms(const struct dm_exchange *ex)
{
    uint64_t now_ns = dm_loop_now_ns(ex->worker->loop), due_ns = ex->admission->due_ns;

    return due_ns > now_ns ? (uint32_t)((due_ns - now_ns + 999999) / 1000000) : 0;
}

/* A3: nobody passes those that wait. */
bool dm_admission_enter_backend(struct dm_exchange *ex)
{
    struct dm_wait_queue *queue = dm_upstream_waiting(ex->upstream);

    if (ex->admission && ex->admission->has_turn)
        return true;
    if (!queue->first && dm_upstream_has_place(ex->upstream))
        return true;
    if (!dm_admission_has_place(ex) || (!ex->admission && !admission_new(ex, 0)) || left_ms(ex) == 0) {
        dm_answer(ex, DM_REASON_BACKEND_BUSY);
        return false;
    }
    dm_wait_queue_add(queue, &ex->admission->waiter, left_ms(ex));
    count_begun(ex, DM_WAIT_BACKEND);
    return false;
}

static bool wait_anew(struct dm_exchange *ex)
{
    if (!dm_admission_has_place(ex) || (!ex->admission && !admission_new(ex, 0)) || left_ms(ex) == 0)
        return false;
    dm_wait_queue_add(&ex->tenant->share.waiting, &ex->admission->waiter, left_ms(ex));
    count_begun(ex, DM_WAIT_UPSTREAM_CONNECTIONS);
    return true;
}

static bool refuse(struct dm_exchange *ex)
{
    ex->tenant->counters->waits_expired[DM_WAIT_UPSTREAM_CONNECTIONS] += ex->admission && ex->admission->is_counted;
    ex->tenant->counters->refused[DM_CAP_UPSTREAM_CONNECTIONS]++;
    return false;
}

bool dm_admission_wait_for_connection(struct dm_exchange *ex)
{
    const struct dm_admission *a = ex->admission;

    if (!a || a->turn_try != ex->tries)
        return wait_anew(ex) || refuse(ex);
    if (left_ms(ex) == 0)
        return refuse(ex);
    wait_on(ex);
    return true;
}

bool dm_admission_is_waiting(const struct dm_exchange *ex)
{
    return ex->admission->waiter.queue != NULL;
}

void dm_admission_leave(struct dm_exchange *ex)
{
    dm_wait_queue_leave(&ex->admission->waiter);
    count_ended(ex);
}
