/* An exchange's body, by direction:
 *
 *   is          has                              goes on by
 *   free        out of the queue, or no throttle   it finds too little room: waits
 *   waiting     in the queue                       its turn: granted; the end of the exchange
 *   granted     a piece, taken already             what comes of it: free, or waits again */
#include "gateway/bandwidth.h"

#include "base/mem.h"
#include "gateway/exchange_int.h"
#include "gateway/worker.h"

#define NS_PER_S UINT64_C(1000000000)
#define SCOPE UINT64_MAX /* no application's id */
#define KEY 16           /* of the first direction's bucket */
#define UNIT_BYTES 1024
#define UNITS_A_SECOND_MAX 8192
#define HELD_MIN (64u << 10)
#define PIECE_MIN 1024u
#define PIECE_MAX (64u << 10)
#define PIECES_A_SECOND 64

struct way {
    struct dm_wait_queue queue;
    uint64_t rate; /* bytes a second; 0: no bound */
    uint64_t unit_bytes, interval_ns, held_units;
    uint32_t piece_bytes;
    int64_t left;     /* taken from the bucket and not used; negative: owed */
    size_t n_granted; /* exchanges that have a piece, and have not come for it */
};

struct dm_bandwidth {
    struct way ways[DM_BANDWIDTH_WAYS];
};

struct dm_throttle {
    struct dm_exchange *ex;
    struct dm_waiter waiters[DM_BANDWIDTH_WAYS];
    uint32_t granted[DM_BANDWIDTH_WAYS];
    uint64_t charged[DM_BANDWIDTH_WAYS];
    struct dm_task task; /* the response goes on */
};
_Static_assert(sizeof(struct dm_throttle) <= DM_THROTTLE_BYTES, "the worker's free list has room for it");

static struct way *way_of(const struct dm_exchange *ex, enum dm_bandwidth_way way)
{
    return &ex->tenant->bandwidth->ways[way];
}

/* --- the bucket --------------------------------------------------------------------------------------------------- */

static bool take_units(const struct dm_exchange *ex, enum dm_bandwidth_way way, uint64_t n, uint64_t *ret_wait_ns)
{
    struct dm_limit_table *table = &ex->worker->limits.table;
    const struct way *w = way_of(ex, way);
    uint64_t key = dm_limit_key(dm_limit_scope(table, ex->tenant->id, SCOPE), KEY + way);

    return dm_limit_take_rate(table, key, dm_worker_wall_ns(ex->worker), n, w->interval_ns,
                              w->held_units * w->interval_ns, ret_wait_ns);
}

/* So that `want` bytes are left, or as many as there are. */
static void refill(const struct dm_exchange *ex, enum dm_bandwidth_way way, uint64_t want)
{
    struct way *w = way_of(ex, way);
    int64_t missing = (int64_t)want - w->left;
    uint64_t n, late, wait_ns;

    if (missing <= 0)
        return;
    n = DM_MIN(((uint64_t)missing + w->unit_bytes - 1) / w->unit_bytes, w->held_units);
    if (!take_units(ex, way, n, &wait_ns)) {
        late = (wait_ns + w->interval_ns - 1) / w->interval_ns;
        n = n > late && take_units(ex, way, n - late, &wait_ns) ? n - late : 0;
    }
    w->left += (int64_t)(n * w->unit_bytes);
}

/* --- turns -------------------------------------------------------------------------------------------------------- */

static bool has_room(const struct dm_exchange *ex, enum dm_bandwidth_way way)
{
    const struct way *w = way_of(ex, way);

    if (w->rate == 0)
        return true;
    refill(ex, way, w->piece_bytes);
    return w->left >= (int64_t)w->piece_bytes;
}

static void grant(struct dm_throttle *t, enum dm_bandwidth_way way)
{
    struct way *w = way_of(t->ex, way);

    if (w->rate == 0)
        return;
    t->granted[way] = w->piece_bytes;
    w->left -= w->piece_bytes;
    w->n_granted++;
}

/* What the exchange was granted and has not used is anybody's. */
static void give_back(struct dm_throttle *t, enum dm_bandwidth_way way)
{
    struct way *w = way_of(t->ex, way);

    if (t->granted[way] == 0)
        return;
    w->left += t->granted[way];
    w->n_granted--;
    t->granted[way] = 0;
}

static const struct dm_exchange *exchange_in(const struct dm_waiter *waiter)
{
    return DM_CONTAINER_OF(waiter, const struct dm_throttle, waiters[DM_BANDWIDTH_IN])->ex;
}

static const struct dm_exchange *exchange_out(const struct dm_waiter *waiter)
{
    return DM_CONTAINER_OF(waiter, const struct dm_throttle, waiters[DM_BANDWIDTH_OUT])->ex;
}

static bool has_room_in(struct dm_wait_queue *queue, const struct dm_waiter *first)
{
    (void)queue;
    return has_room(exchange_in(first), DM_BANDWIDTH_IN);
}

static bool has_room_out(struct dm_wait_queue *queue, const struct dm_waiter *first)
{
    (void)queue;
    return has_room(exchange_out(first), DM_BANDWIDTH_OUT);
}

static void on_turn_in(struct dm_wait_queue *queue, struct dm_waiter *waiter)
{
    struct dm_throttle *t = DM_CONTAINER_OF(waiter, struct dm_throttle, waiters[DM_BANDWIDTH_IN]);

    (void)queue;
    grant(t, DM_BANDWIDTH_IN);
    dm_http_request_resume(t->ex->caller);
}

/* The response may end in it, and with it the last that the queue is for. */
static void on_turn_out(struct dm_wait_queue *queue, struct dm_waiter *waiter)
{
    struct dm_throttle *t = DM_CONTAINER_OF(waiter, struct dm_throttle, waiters[DM_BANDWIDTH_OUT]);

    (void)queue;
    grant(t, DM_BANDWIDTH_OUT);
    dm_task_post(t->ex->worker->loop, &t->task);
}

static void resume_response(struct dm_task *task)
{
    dm_exchange_resume_response(DM_CONTAINER_OF(task, struct dm_throttle, task)->ex);
}

/* Who has waited for weeks has its turn. */
static const struct dm_wait_handler handlers[DM_BANDWIDTH_WAYS] = {
    [DM_BANDWIDTH_IN] = {.has_room = has_room_in, .on_turn = on_turn_in, .on_expired = on_turn_in},
    [DM_BANDWIDTH_OUT] = {.has_room = has_room_out, .on_turn = on_turn_out, .on_expired = on_turn_out},
};

/* --- bodies ------------------------------------------------------------------------------------------------------- */

static struct dm_throttle *throttle_for(struct dm_exchange *ex)
{
    struct dm_throttle *t = ex->throttle;

    if (t)
        return t;
    t = ex->throttle = dm_freelist_take(&ex->worker->throttles);
    memset(t, 0, sizeof(*t));
    t->ex = ex;
    t->task.run = resume_response;
    dm_task_set_flow(ex->worker->loop, &t->task, &ex->tenant->flow);
    return t;
}

/* How many of len bytes may pass: what was granted, or what there is room for when it is nobody else's turn (B3). */
static size_t reserve(struct dm_throttle *t, enum dm_bandwidth_way way, size_t len)
{
    struct way *w = way_of(t->ex, way);
    size_t may = DM_MIN((size_t)t->granted[way], len);

    give_back(t, way);
    if (!w->queue.first && w->n_granted == 0) {
        refill(t->ex, way, len);
        may = DM_MAX(may, (size_t)DM_MIN(DM_MAX(w->left, 0), (int64_t)len));
    }
    w->left -= (int64_t)may;
    return may;
}

static void wait(struct dm_throttle *t, enum dm_bandwidth_way way)
{
    if (t->waiters[way].queue)
        return;
    dm_wait_queue_add(&way_of(t->ex, way)->queue, &t->waiters[way], UINT32_MAX);
    t->ex->tenant->counters->bandwidth_waits[way]++;
}

static size_t write(struct dm_exchange *ex, enum dm_bandwidth_way way, const char *ptr, size_t len)
{
    return way == DM_BANDWIDTH_IN ? dm_http_call_write(ex->call, ptr, len)
                                  : dm_http_request_write(ex->caller, ptr, len);
}

size_t dm_bandwidth_pass(struct dm_exchange *ex, enum dm_bandwidth_way way, const char *ptr, size_t len)
{
    struct way *w = way_of(ex, way);
    struct dm_throttle *t;
    size_t may, taken = 0;

    if (w->rate == 0)
        return write(ex, way, ptr, len);
    t = throttle_for(ex);
    if ((may = reserve(t, way, len)) > 0)
        taken = write(ex, way, ptr, may);
    w->left += (int64_t)(may - taken);
    t->charged[way] += taken;
    if (taken == may && may < len)
        wait(t, way);
    return taken;
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

/* B4. What waited below a filter was charged as it went out, so there is no more than this. */
static void settle(struct way *w, uint64_t charged, uint64_t total)
{
    int64_t held = (int64_t)(w->held_units * w->unit_bytes);

    if (w->rate == 0)
        return;
    w->left -= (int64_t)DM_MIN(total > charged ? total - charged : 0, (uint64_t)INT64_MAX / 4);
    w->left = DM_MAX(w->left, -held);
}

void dm_bandwidth_end(struct dm_exchange *ex)
{
    const uint64_t totals[DM_BANDWIDTH_WAYS] = {ex->bytes_in, ex->bytes_out};
    struct dm_throttle *t = ex->throttle;

    for (int way = 0; way < DM_BANDWIDTH_WAYS; way++) {
        struct way *w = way_of(ex, (enum dm_bandwidth_way)way);
        if (t) {
            give_back(t, (enum dm_bandwidth_way)way);
            dm_wait_queue_leave(&t->waiters[way]);
        }
        settle(w, t ? t->charged[way] : 0, totals[way]);
        dm_wait_queue_room(&w->queue);
    }
    if (!t)
        return;
    dm_task_cancel(ex->worker->loop, &t->task);
    ex->throttle = NULL;
    dm_freelist_give(&ex->worker->throttles, t);
}

/* --- of the tenant ------------------------------------------------------------------------------------------------ */

static void set_rate(struct way *w, uint64_t rate)
{
    if (w->rate == rate)
        return;
    w->rate = rate;
    w->left = 0; /* what is granted comes behind it, and goes as it came */
    w->unit_bytes = UNIT_BYTES;
    while (rate / w->unit_bytes > UNITS_A_SECOND_MAX)
        w->unit_bytes *= 2;
    w->interval_ns = rate > 0 ? NS_PER_S * w->unit_bytes / rate : 0;
    w->held_units = DM_MAX(rate / 4, (uint64_t)HELD_MIN) / w->unit_bytes;
    w->piece_bytes = (uint32_t)DM_MIN(DM_MAX(rate / PIECES_A_SECOND, (uint64_t)PIECE_MIN), (uint64_t)PIECE_MAX);
    dm_wait_queue_room(&w->queue);
}

static struct dm_bandwidth *bandwidth_new(struct dm_live_tenant *tenant)
{
    struct dm_bandwidth *b = dm_calloc(1, sizeof(*b));

    for (int way = 0; way < DM_BANDWIDTH_WAYS; way++)
        dm_wait_queue_init(&b->ways[way].queue, tenant->env->loop, &handlers[way], &tenant->flow);
    return b;
}

void dm_bandwidth_set(struct dm_live_tenant *tenant, uint64_t in_bytes, uint64_t out_bytes)
{
    if (!tenant->bandwidth && in_bytes == 0 && out_bytes == 0)
        return;
    if (!tenant->bandwidth)
        tenant->bandwidth = bandwidth_new(tenant);
    set_rate(&tenant->bandwidth->ways[DM_BANDWIDTH_IN], in_bytes);
    set_rate(&tenant->bandwidth->ways[DM_BANDWIDTH_OUT], out_bytes);
}

void dm_bandwidth_free(struct dm_live_tenant *tenant)
{
    if (!tenant->bandwidth)
        return;
    for (int way = 0; way < DM_BANDWIDTH_WAYS; way++)
        dm_wait_queue_done(&tenant->bandwidth->ways[way].queue);
    dm_free(tenant->bandwidth);
    tenant->bandwidth = NULL;
}
