#include "io/wait_queue.h"

static void unlink_waiter(struct dm_waiter *w)
{
    struct dm_wait_queue *q = w->queue;

    if (w->next)
        w->next->prev = w->prev;
    else
        q->last = w->prev;
    if (w->prev)
        w->prev->next = w->next;
    else
        q->first = w->next;
    w->next = w->prev = NULL;
    w->queue = NULL;
    q->n--;
}

/* Until somebody's time is over, or the next look. */
static void arm(struct dm_wait_queue *q)
{
    uint64_t now_ns = dm_loop_now_ns(q->loop), left_ms;

    if (!q->first) {
        dm_timer_cancel(q->loop, &q->timer);
        return;
    }
    left_ms = q->first->due_ns > now_ns ? (q->first->due_ns - now_ns + 999999) / 1000000 : 0;
    dm_timer_arm(q->loop, &q->timer, (uint32_t)DM_MIN(left_ms, (uint64_t)DM_WAIT_LOOK_MS));
}

static bool is_over(const struct dm_wait_queue *q, const struct dm_waiter *w)
{
    return w->due_ns <= dm_loop_now_ns(q->loop);
}

/* The first has its turn, or its time is over. False: it waits on. */
static bool serve_first(struct dm_wait_queue *q)
{
    struct dm_waiter *w = q->first;
    bool has_room = q->handler->has_room(q, w);

    if (!has_room && !is_over(q, w))
        return false;
    unlink_waiter(w);
    if (has_room)
        q->handler->on_turn(q, w);
    else
        q->handler->on_expired(q, w);
    return q->first != w; /* put back */
}

static void serve_some(struct dm_wait_queue *q)
{
    for (int i = 0; q->first; i++) {
        if (i == DM_WAIT_TURNS) {
            dm_task_post(q->loop, &q->task);
            return;
        }
        if (!serve_first(q))
            break;
    }
    arm(q);
}

static void serve(struct dm_task *task)
{
    struct dm_wait_queue *q = DM_CONTAINER_OF(task, struct dm_wait_queue, task);

    if (q->handler->hold)
        q->handler->hold(q);
    serve_some(q);
    if (q->handler->release)
        q->handler->release(q);
}

static void on_due(struct dm_timer *timer)
{
    dm_wait_queue_look(DM_CONTAINER_OF(timer, struct dm_wait_queue, timer));
}

void dm_wait_queue_init(struct dm_wait_queue *q, struct dm_loop *loop, const struct dm_wait_handler *handler,
                        struct dm_flow *flow)
{
    *q = (struct dm_wait_queue){.loop = loop, .handler = handler, .timer.on_due = on_due, .task.run = serve};
    dm_task_set_flow(loop, &q->task, flow);
}

void dm_wait_queue_done(struct dm_wait_queue *q)
{
    dm_timer_cancel(q->loop, &q->timer);
    dm_task_cancel(q->loop, &q->task);
}

void dm_wait_queue_add(struct dm_wait_queue *q, struct dm_waiter *w, uint32_t wait_ms)
{
    uint64_t now_ns = dm_loop_now_ns(q->loop), due_ns = now_ns + (uint64_t)wait_ms * 1000000;

    if (q->last)
        due_ns = DM_MAX(due_ns, q->last->due_ns); /* W2 */
    *w = (struct dm_waiter){.prev = q->last, .queue = q, .since_ns = now_ns, .due_ns = due_ns};
    if (q->last)
        q->last->next = w;
    else
        q->first = w;
    q->last = w;
    q->n++;
    if (q->first == w)
        arm(q);
}

void dm_wait_queue_put_back(struct dm_wait_queue *q, struct dm_waiter *w)
{
    w->queue = q;
    w->prev = NULL;
    w->next = q->first;
    if (q->first)
        q->first->prev = w;
    else
        q->last = w;
    q->first = w;
    q->n++;
    arm(q);
}

void dm_wait_queue_leave(struct dm_waiter *w)
{
    struct dm_wait_queue *q = w->queue;

    if (!q)
        return;
    unlink_waiter(w);
    if (!q->first)
        arm(q);
}

void dm_wait_queue_look(struct dm_wait_queue *q)
{
    dm_task_post(q->loop, &q->task);
}
