#include "io/scheduler.h"

static void ring_init(struct dm_flow *head)
{
    head->next = head->prev = head;
}

static bool ring_is_empty(const struct dm_flow *head)
{
    return head->next == head;
}

static void ring_del(struct dm_flow *flow)
{
    flow->prev->next = flow->next;
    flow->next->prev = flow->prev;
}

static void ring_add(struct dm_flow *head, struct dm_flow *flow)
{
    flow->prev = head->prev;
    flow->next = head;
    head->prev->next = flow;
    head->prev = flow;
}

static bool has_tasks(const struct dm_flow *flow)
{
    return flow->queue.next != &flow->queue;
}

static void task_add(struct dm_flow *flow, struct dm_task *task)
{
    task->prev = flow->queue.prev;
    task->next = &flow->queue;
    flow->queue.prev->next = task;
    flow->queue.prev = task;
}

static void task_del(struct dm_task *task)
{
    task->prev->next = task->next;
    task->next->prev = task->prev;
    task->next = NULL;
}

void dm_scheduler_init(struct dm_scheduler *s, uint64_t quantum)
{
    ring_init(&s->fresh);
    ring_init(&s->waiting);
    s->n_tasks = 0;
    s->quantum = quantum;
}

void dm_flow_init(struct dm_flow *flow, uint32_t weight, uint64_t *cpu_ns)
{
    *flow = (struct dm_flow){.weight = weight, .cpu_ns = cpu_ns};
    flow->queue.next = flow->queue.prev = &flow->queue;
}

static int64_t quantum_of(const struct dm_scheduler *s, const struct dm_flow *flow)
{
    return (int64_t)DM_MAX(s->quantum * flow->weight / DM_FLOW_WEIGHT, (uint64_t)1);
}

static void enter(struct dm_scheduler *s, struct dm_flow *flow, enum dm_flow_state state)
{
    flow->state = (uint8_t)state;
    ring_add(state == DM_FLOW_FRESH ? &s->fresh : &s->waiting, flow);
}

/* D2. One quantum more. */
static void earn(const struct dm_scheduler *s, struct dm_flow *flow)
{
    int64_t quantum = quantum_of(s, flow);

    flow->credit = DM_MAX(flow->credit, -DM_FLOW_DEBT_MAX * quantum) + quantum;
}

bool dm_scheduler_is_free(const struct dm_scheduler *s, const struct dm_flow *flow)
{
    return !has_tasks(flow) && flow->credit + (flow->state == DM_FLOW_AT_REST ? quantum_of(s, flow) : 0) > 0;
}

static void wake(struct dm_scheduler *s, struct dm_flow *flow)
{
    earn(s, flow);
    enter(s, flow, flow->credit > 0 ? DM_FLOW_FRESH : DM_FLOW_WAITING);
}

static void rest(struct dm_flow *flow)
{
    ring_del(flow);
    flow->state = DM_FLOW_AT_REST;
    flow->credit = DM_MIN(flow->credit, 0);
}

void dm_flow_leave(struct dm_scheduler *s, struct dm_flow *flow, struct dm_flow *heir)
{
    while (has_tasks(flow)) {
        struct dm_task *task = flow->queue.next;
        dm_scheduler_cancel(s, task);
        dm_scheduler_post(s, heir, task);
    }
    flow->overload.followed = NULL;
    if (flow->state != DM_FLOW_AT_REST)
        rest(flow);
}

void dm_scheduler_post(struct dm_scheduler *s, struct dm_flow *flow, struct dm_task *task)
{
    task_add(flow, task);
    s->n_tasks++;
    if (flow->state == DM_FLOW_AT_REST)
        wake(s, flow);
}

void dm_scheduler_cancel(struct dm_scheduler *s, struct dm_task *task)
{
    task_del(task);
    s->n_tasks--;
}

/* D1: an empty one stays among those that wait until its turn has come. */
static void go_behind(struct dm_scheduler *s, struct dm_flow *flow)
{
    if (has_tasks(flow)) {
        earn(s, flow);
        flow->n_spent += flow->has_run;
        flow->has_run = false;
    }
    ring_del(flow);
    enter(s, flow, DM_FLOW_WAITING);
}

static struct dm_flow *first(struct dm_scheduler *s)
{
    if (!ring_is_empty(&s->fresh))
        return s->fresh.next;
    return ring_is_empty(&s->waiting) ? NULL : s->waiting.next;
}

struct dm_flow *dm_scheduler_turn(struct dm_scheduler *s)
{
    struct dm_flow *flow;

    while ((flow = first(s)) && !(has_tasks(flow) && flow->credit > 0)) {
        if (s->n_tasks == 0 || (!has_tasks(flow) && flow->state == DM_FLOW_WAITING))
            rest(flow);
        else
            go_behind(s, flow);
    }
    return flow;
}

struct dm_task *dm_scheduler_take(struct dm_scheduler *s, struct dm_flow *flow)
{
    struct dm_task *task = flow->queue.next;

    flow->has_run = true;
    dm_scheduler_cancel(s, task);
    return task;
}

struct dm_task *dm_scheduler_peek(const struct dm_flow *flow)
{
    return has_tasks(flow) ? flow->queue.next : NULL;
}
