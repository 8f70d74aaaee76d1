#include "gateway/turn.h"

#include "gateway/exchange_int.h"
#include "gateway/worker.h"

#define HEAD_BYTES (96u << 10) /* with trailers */

void dm_turn_leave(struct dm_exchange *ex)
{
    struct dm_turn *turn = ex->turn;

    if (DM_LIKELY(!turn))
        return;
    dm_task_cancel(ex->worker->loop, &turn->task);
    ex->turn = NULL;
    ex->head = NULL;
    dm_live_tenant_unref(turn->tenant);
    dm_arena_done(&turn->arena);
    dm_freelist_give(&ex->worker->turns, turn);
}

static void on_turn(struct dm_task *task)
{
    dm_exchange_decide(DM_CONTAINER_OF(task, struct dm_turn, task)->ex);
}

/* NULL: there is no room for its head. */
static struct dm_turn *turn_new(struct dm_exchange *ex, struct dm_live_tenant *tenant)
{
    struct dm_turn *turn = dm_freelist_take(&ex->worker->turns);

    turn->task = (struct dm_task){.run = on_turn, .flow = &tenant->flow};
    turn->ex = ex;
    turn->trailers = NULL;
    turn->tenant = dm_live_tenant_ref(tenant);
    dm_arena_init(&turn->arena, &ex->worker->chunks, HEAD_BYTES);
    ex->turn = turn;
    if (dm_http_head_copy(ex->head, &turn->arena, &turn->head) == 0)
        return turn;
    dm_turn_leave(ex);
    return NULL;
}

bool dm_turn_wait(struct dm_exchange *ex)
{
    const struct dm_route *route = dm_routes_find(&ex->worker->routes, ex->head->host.name);
    struct dm_http_head *head = ex->head;
    struct dm_turn *turn;

    if (!route || dm_loop_may_do(ex->worker->loop, &route->tenant->flow) || dm_turn_is_shed(ex, route->tenant))
        return false;
    if (!(turn = turn_new(ex, route->tenant))) {
        ex->head = head;
        return false;
    }
    ex->head = &turn->head;
    dm_task_post(ex->worker->loop, &turn->task);
    return true;
}

int dm_turn_keep_trailers(struct dm_exchange *ex, const struct dm_http_head *trailers)
{
    struct dm_turn *turn = ex->turn;

    if (!(turn->trailers = dm_arena_alloc(&turn->arena, sizeof(*trailers))))
        return DM_EBUDGET;
    return dm_http_head_copy(trailers, &turn->arena, turn->trailers);
}
