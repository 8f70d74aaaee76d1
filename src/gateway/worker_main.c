/* The process around a worker: its lock, shared pages, listeners, and its talk with the keeper (worker_link.h). */
#include "gateway/cell_gate.h"
#include "gateway/cell_take.h"
#include "gateway/process/cell_process.h"
#include "gateway/process/program.h"
#include "gateway/worker.h"
#include "gateway/process/worker_link.h"

#include "base/mem.h"
#include "base/vec.h"
#include "io/channel.h"
#include "io/handover.h"
#include "io/listener.h"
#include "io/lockfile.h"
#include "io/shm.h"
#include "io/signals.h"

#include <signal.h>
#include <sys/un.h>
#include <unistd.h>

#define RECONNECT_MS 100
#define TICK_MS 1000
#define BUSY_NS 250000000 /* of a second */
#define QUIET_NS 50000000
#define DRAIN_TICK_MS 20
#define GOODBYE_MS 100
#define IDLE_MS 1000       /* for clients between requests, when a signal ends us */
#define LAST_WORDS_MS 1000 /* for the keeper to read what we say last */
#define USAGE_BATCH 256

struct process;

/* A listening socket that the keeper gave; open once we may serve. */
struct door {
    struct door *next;
    const struct dm_worker_listener *of;
    struct dm_worker_socket name;
    int fd; /* of the closed door */
    bool is_open;
    struct dm_listener listener;
};

/* The taking end of a cell's queue; open once we may serve. */
struct queue {
    struct queue *next;
    struct process *process;
    int fd; /* of one that is not open */
    bool is_open;
    bool is_former; /* a keeper's that is gone: who gives to it is told of another, and it ends */
    struct dm_handover handover;
};

struct process {
    struct dm_worker worker;
    const struct dm_gateway_options *options;
    struct dm_gateway_options own; /* of a worker of a cell: options, as it has them after it has entered */
    struct dm_addr keeper;
    struct dm_channel channel;
    struct dm_timer reconnect, tick, drain, idle;
    uint64_t seen_busy_ns; /* of the loop, at the last tick */
    bool was_busy;         /* and gave no memory back since */
    struct dm_hook flush;
    struct door *doors;
    struct queue *queues;
    uint64_t n_accepted; /* by doors that are gone */
    uint64_t drain_due_ns;
    struct dm_worker_counters before; /* of those who had this slot before */
    struct dm_worker_tickets tickets; /* W4 */
    struct dm_lockfile lock;
    struct dm_shm counters;
    struct dm_signals signals;
    uint8_t program[DM_DIGEST_BYTES];
    bool has_channel, is_serving, is_draining, is_ending, is_parting, has_signal, has_said_goodbye;
    int exit_code;
};

/* --- reports ------------------------------------------------------------------------------------------------------ */

static void copy_name(char *ret, size_t size, const char *from)
{
    size_t len = strnlen(from, size - 1);

    memcpy(ret, from, len);
    memset(ret + len, 0, size - len);
}

static void send_usage(struct process *p, const struct dm_worker_usage *items, size_t n)
{
    if (n > 0 &&
        dm_channel_send(&p->channel, DM_WORKER_USAGE, dm_str_n((const char *)items, n * sizeof(*items)), -1) < 0)
        dm_log(DM_LOG_WARN, "usage_lost", "%zu usage counts could not be told to the keeper", n);
}

static void report_usage(struct process *p)
{
    struct dm_worker_usage items[USAGE_BATCH];
    const struct dm_usage_cell *cell;
    uint64_t delta;
    size_t n = 0;

    while (p->has_channel && dm_usage_table_take(&p->worker.usage, &cell, &delta)) {
        copy_name(items[n].tenant, sizeof(items[n].tenant), cell->tenant);
        copy_name(items[n].product, sizeof(items[n].product), cell->product);
        copy_name(items[n].metric, sizeof(items[n].metric), cell->metric);
        items[n].application = cell->key[1];
        items[n].delta = delta;
        if (++n == USAGE_BATCH) {
            send_usage(p, items, n);
            n = 0;
        }
    }
    send_usage(p, items, n);
}

static void report_counters(struct process *p)
{
    struct dm_worker_counters *c = &p->worker.counters->worker;
    const struct dm_worker_counters *before = &p->before;
    const struct dm_loop_stats *stats = dm_loop_stats(p->worker.loop);
    const struct dm_http_client_counters *backend = dm_http_client_counters(p->worker.client);
    uint64_t accepted = p->n_accepted;

    for (const struct door *door = p->doors; door; door = door->next)
        accepted += door->listener.n_accepted;
    c->connections_open = dm_worker_connections(&p->worker);
    c->connections_accepted = before->connections_accepted + accepted;
    c->loop_turns = before->loop_turns + stats->turns;
    c->loop_busy_ns = before->loop_busy_ns + stats->busy_ns;
    c->loop_longest_turn_ns = stats->longest_turn_ns;
    c->loop_longest_task_ns = stats->longest_task_ns;
    c->loop_lag_ns = stats->max_lag_ns;
    c->lobby_delay_ns = p->worker.lobby_delay_ns;
    p->worker.lobby_delay_ns = 0;
    c->log_lines = before->log_lines + p->worker.log.n_lines;
    c->log_dropped = before->log_dropped + p->worker.log.n_dropped;
    c->memory_calls = before->memory_calls + dm_mem_calls();
    c->limit_slots_used = dm_limit_table_used(&p->worker.limits.table);
    c->limit_table_full = before->limit_table_full + p->worker.limits.table.n_full;
    c->backend_floods = before->backend_floods + backend->floods;
    c->backend_header_bombs = before->backend_header_bombs + backend->header_bombs;
    c->backend_malformed = before->backend_malformed + backend->malformed;
    c->backend_silent = before->backend_silent + backend->silent;
    c->backend_going = before->backend_going + backend->going;
    c->backend_refused = before->backend_refused + backend->refused;
    dm_loop_stats_reset_max(p->worker.loop);
}

static void close_idle_doors(struct process *p);
static void close_idle_queues(struct process *p);

/* The keeper makes way for another: it reads what we have said and hears that it was all. */
static void part_when_all_is_said(struct process *p)
{
    if (!p->is_parting || !p->has_channel || p->channel.queued_bytes > 0)
        return;
    p->has_channel = false;
    dm_channel_close(&p->channel);
}

/* What was counted last is told first, also when the keeper is just being replaced. */
static bool is_done(const struct process *p)
{
    return p->is_draining && !p->doors && !p->queues && dm_worker_connections(&p->worker) == 0 &&
           (p->has_channel || dm_usage_table_is_empty(&p->worker.usage));
}

/* To all clients, once the last that waited is in. */
static void say_goodbye(struct process *p)
{
    if (!p->has_said_goodbye)
        dm_worker_drain(&p->worker);
    p->has_said_goodbye = true;
}

/* What a busy time needed at most goes back in the first quiet second behind it. */
static void give_memory_back(struct process *p)
{
    uint64_t busy_ns = dm_loop_stats(p->worker.loop)->busy_ns, grown_ns = busy_ns - p->seen_busy_ns;

    p->seen_busy_ns = busy_ns;
    if (grown_ns > BUSY_NS) {
        p->was_busy = true;
    } else if (p->was_busy && grown_ns < QUIET_NS) {
        p->was_busy = false;
        dm_mem_trim();
    }
}

static void on_tick(struct dm_timer *timer)
{
    struct process *p = DM_CONTAINER_OF(timer, struct process, tick);
    struct dm_sys *sys = dm_loop_sys(p->worker.loop);

    p->worker.wall_offset_ns = sys->ops->wall_ns(sys) - sys->ops->mono_ns(sys);
    report_counters(p);
    report_usage(p);
    dm_worker_tend_circuits(&p->worker);
    if (!p->is_draining) {
        dm_worker_look_at_others(&p->worker);
        give_memory_back(p);
    }
    part_when_all_is_said(p);
    dm_timer_arm(p->worker.loop, &p->tick, p->is_draining || p->is_parting ? DRAIN_TICK_MS : TICK_MS);
    close_idle_queues(p);
    if (p->is_draining)
        close_idle_doors(p);
    if (p->is_draining && !p->doors && !p->queues)
        say_goodbye(p);
    if (is_done(p))
        dm_loop_stop(p->worker.loop);
}

/* --- listening ---------------------------------------------------------------------------------------------------- */

static void on_accept(struct dm_listener *listener, int fd, const struct dm_addr *peer)
{
    dm_worker_listener_accept(DM_CONTAINER_OF(listener, struct door, listener)->of, fd, peer);
}

static void fail(struct process *p, const char *why)
{
    dm_log(DM_LOG_ERROR, "worker_failed", "%s", why);
    p->exit_code = 1;
    dm_loop_stop(p->worker.loop);
}

static void open_door(struct process *p, struct door *door)
{
    int rc = dm_listener_adopt(&door->listener, p->worker.loop, door->fd, on_accept);

    door->fd = -1;
    door->is_open = rc == 0;
    if (rc < 0)
        fail(p, "can't watch a listening socket");
}

/* Others may have the socket and serve it on. */
static void remove_door(struct process *p, struct door **at)
{
    struct door *door = *at;

    *at = door->next;
    if (door->is_open)
        dm_listener_close(&door->listener);
    else if (door->fd >= 0)
        close(door->fd);
    p->n_accepted += door->listener.n_accepted;
    dm_free(door);
}

static struct door **find_door(struct process *p, const struct dm_worker_socket *name)
{
    struct door **at = &p->doors;

    while (*at && ((*at)->name.slot != name->slot || strcmp((*at)->name.address, name->address) != 0))
        at = &(*at)->next;
    return at;
}

/* NULL: it is none of our addresses. */
static const struct dm_worker_listener *find_listener(const struct process *p, const struct dm_worker_socket *name)
{
    char text[DM_ADDR_TEXT_MAX];

    for (size_t i = 0; i < p->worker.n_listeners; i++) {
        dm_addr_format(&p->worker.listeners[i].spec->addr, true, text);
        if (strcmp(text, name->address) == 0)
            return &p->worker.listeners[i];
    }
    return NULL;
}

static void add_door(struct process *p, const struct dm_worker_socket *name, int fd)
{
    const struct dm_worker_listener *listener = find_listener(p, name);
    struct door **at = find_door(p, name);

    if (*at || !listener || p->is_draining) {
        close(fd);
        return;
    }
    *at = dm_calloc(1, sizeof(**at));
    **at = (struct door){.of = listener, .name = *name, .fd = fd};
    if (p->is_serving)
        open_door(p, *at);
}

/* At the end of a turn in which nothing was left to accept: the one who closes last resets nobody. */
static void close_idle_doors(struct process *p)
{
    for (struct door **at = &p->doors; *at;) {
        if ((*at)->is_open && (*at)->listener.is_backlogged)
            at = &(*at)->next;
        else
            remove_door(p, at);
    }
}

static void remove_all_doors(struct process *p)
{
    while (p->doors)
        remove_door(p, &p->doors);
}

/* --- the cell's queue --------------------------------------------------------------------------------------------- */

static void on_taken(struct dm_handover *handover, struct dm_str message, int fd)
{
    dm_cell_take(&DM_CONTAINER_OF(handover, struct queue, handover)->process->worker, message, fd);
}

static void open_queue(struct process *p, struct queue *queue)
{
    queue->is_open = dm_handover_open(&queue->handover, p->worker.loop, queue->fd, on_taken) == 0;
    queue->fd = -1;
    if (!queue->is_open)
        fail(p, "can't watch the queue of the cell");
}

static void add_queue(struct process *p, int fd)
{
    struct queue *queue;

    if (p->is_draining) {
        close(fd);
        return;
    }
    queue = dm_calloc(1, sizeof(*queue));
    *queue = (struct queue){.next = p->queues, .process = p, .fd = fd, .handover.watch.fd = -1};
    p->queues = queue;
    if (p->is_serving)
        open_queue(p, queue);
}

static void remove_queue(struct queue **at)
{
    struct queue *queue = *at;

    *at = queue->next;
    dm_handover_close(&queue->handover);
    if (queue->fd >= 0)
        close(queue->fd);
    dm_free(queue);
}

/* Another takes from the queue when only we go; one that ends is emptied. */
static bool may_leave(const struct process *p, const struct queue *queue)
{
    if (queue->handover.has_ended || !queue->is_open)
        return queue->is_open || p->is_draining;
    return p->is_draining && !p->is_ending && !queue->is_former && !queue->handover.is_backlogged;
}

static void close_idle_queues(struct process *p)
{
    for (struct queue **at = &p->queues; *at;) {
        if (may_leave(p, *at))
            remove_queue(at);
        else
            at = &(*at)->next;
    }
}

static void mark_former(struct process *p)
{
    for (struct queue *queue = p->queues; queue; queue = queue->next)
        queue->is_former = true;
}

/* Each keeper is told. */
static void start_serving(struct process *p)
{
    if (p->is_draining)
        return;
    if (!p->is_serving) {
        p->is_serving = true;
        for (struct door *door = p->doors; door && p->exit_code == 0; door = door->next)
            open_door(p, door);
        for (struct queue *queue = p->queues; queue && p->exit_code == 0; queue = queue->next)
            open_queue(p, queue);
        dm_log(DM_LOG_INFO, "worker_serving", "worker %u%s%s serves", p->options->slot,
               p->options->cell[0] ? " of the cell of " : "", p->options->cell);
    }
    if (p->exit_code == 0 && dm_channel_send(&p->channel, DM_WORKER_SERVING, DM_STR_NULL, -1) < 0)
        dm_log(DM_LOG_WARN, "keeper_deaf", "the keeper could not be told that worker %u serves", p->options->slot);
}

static void on_goodbye_due(struct dm_timer *timer)
{
    dm_loop_stop(DM_CONTAINER_OF(timer, struct process, drain)->worker.loop);
}

/* What is left is told, and has a moment to read that. */
static void on_drain_due(struct dm_timer *timer)
{
    struct process *p = DM_CONTAINER_OF(timer, struct process, drain);

    dm_worker_end_exchanges(&p->worker);
    p->drain.on_due = on_goodbye_due;
    dm_timer_arm(p->worker.loop, &p->drain, GOODBYE_MS);
}

static void on_idle_due(struct dm_timer *timer)
{
    struct process *p = DM_CONTAINER_OF(timer, struct process, idle);

    say_goodbye(p);
    dm_worker_drain_end(&p->worker);
}

/* Told again, it is over sooner, never later. */
static void hurry(struct process *p, struct dm_worker_drain drain)
{
    uint64_t due_ns = dm_loop_now_ns(p->worker.loop) + drain.ms * UINT64_C(1000000);

    if (dm_timer_is_armed(&p->drain) && p->drain_due_ns <= due_ns)
        return;
    p->drain_due_ns = due_ns;
    dm_timer_arm(p->worker.loop, &p->drain, drain.ms);
    dm_timer_arm(p->worker.loop, &p->idle, DM_MIN(drain.idle_ms, drain.ms));
}

static void start_draining(struct process *p, struct dm_worker_drain drain)
{
    if (!p->is_draining) {
        p->is_draining = true;
        p->drain.on_due = on_drain_due;
        p->idle.on_due = on_idle_due;
        dm_timer_arm(p->worker.loop, &p->tick, DRAIN_TICK_MS);
    }
    p->is_ending |= drain.is_end != 0;
    hurry(p, drain);
}

/* --- the keeper --------------------------------------------------------------------------------------------------- */

static void say_applied(struct process *p, const struct dm_worker_unit *unit, const struct dm_err *err)
{
    struct dm_worker_applied applied;

    memset(&applied, 0, sizeof(applied));
    memcpy(applied.tenant, unit->tenant, sizeof(applied.tenant));
    applied.kind = unit->kind;
    applied.mark = unit->mark;
    applied.code = err->code;
    copy_name(applied.message, sizeof(applied.message), err->message);
    if (dm_channel_send(&p->channel, DM_WORKER_APPLIED, dm_str_n((const char *)&applied, sizeof(applied)), -1) < 0)
        dm_log(DM_LOG_WARN, "keeper_deaf", "the keeper could not be told about a unit of %s", unit->tenant);
}

/* The file at the path, or that came along, if it is what the message says (P2). */
static int open_unit(const struct dm_worker_unit *message, int fd, struct dm_unit **ret, struct dm_err *err)
{
    int rc = fd < 0 ? dm_unit_open(message->path, ret, err) : dm_unit_open_fd(fd, ret, err);

    if (rc < 0)
        return rc;
    if (strcmp(dm_unit_header(*ret)->tenant, message->tenant) == 0 && dm_unit_header(*ret)->kind == message->kind &&
        dm_mark_cmp(dm_unit_header(*ret)->mark, message->mark) >= 0)
        return 0;
    rc = dm_fail(err, DM_ECORRUPT, "", "%s is the unit of another tenant or kind, or an older one", message->path);
    dm_unit_unref(*ret);
    return rc;
}

static void apply(struct process *p, const struct dm_worker_unit *message, struct dm_unit *unit, struct dm_err *err)
{
    if (dm_worker_apply(&p->worker, unit, message->counter_slot, err) < 0)
        dm_log(DM_LOG_ERROR, "unit_not_applied", "%s of tenant %s: %s%s%s", dm_unit_kind_names[message->kind],
               message->tenant, err->pointer, err->pointer[0] ? ": " : "", err->message);
}

static void on_unit(struct process *p, const struct dm_worker_unit *message, int fd)
{
    struct dm_err err = {0};
    struct dm_unit *unit;

    if (open_unit(message, fd, &unit, &err) < 0) {
        p->worker.counters->worker.units_refused++;
        dm_log(DM_LOG_ERROR, "unit_refused", "%s of tenant %s: %s", dm_unit_kind_names[message->kind % DM_UNIT_KINDS],
               message->tenant, err.message);
    } else {
        apply(p, message, unit, &err);
    }
    say_applied(p, message, &err);
}

static void on_tenant_key(struct process *p, struct dm_str payload)
{
    struct dm_worker_tenant_key key;

    memcpy(&key, payload.ptr, sizeof(key));
    if (key.sealed_bytes > sizeof(key.sealed) || !p->worker.vault ||
        dm_vault_put(p->worker.vault, key.tenant_id, key.key_id, dm_str_n((const char *)key.sealed, key.sealed_bytes)) <
            0)
        dm_log(DM_LOG_ERROR, "tenant_key_refused", "data key %llu of tenant %llu does not open",
               (unsigned long long)key.key_id, (unsigned long long)key.tenant_id);
}

static void on_data_key(struct process *p, struct dm_str payload)
{
    struct dm_worker_data_key message;
    struct dm_tenant_key key;

    memcpy(&message, payload.ptr, sizeof(message));
    key = (struct dm_tenant_key){.tenant_id = message.tenant_id, .key_id = message.key_id};
    memcpy(key.key, message.key, sizeof(key.key));
    dm_vault_put_open(p->worker.vault, &key);
    dm_mem_wipe(&key, sizeof(key));
    dm_mem_wipe(&message, sizeof(message));
}

static void on_cell(struct process *p, struct dm_str payload, int fd)
{
    const struct dm_worker_cell *message = (const struct dm_worker_cell *)(const void *)payload.ptr;

    dm_cell_gate_open(&p->worker, dm_str_n(message->tenant, strnlen(message->tenant, DM_UNIT_TENANT_MAX)), fd);
}

/* What came before it on the channel, the tenant's units, is live by now. */
static void on_cell_gone(struct process *p, struct dm_str payload)
{
    const struct dm_worker_cell *message = (const struct dm_worker_cell *)(const void *)payload.ptr;

    dm_cell_gate_close(&p->worker, dm_str_n(message->tenant, strnlen(message->tenant, DM_UNIT_TENANT_MAX)));
    if (dm_channel_send(&p->channel, DM_WORKER_CELL_LEFT, payload, -1) < 0)
        dm_log(DM_LOG_WARN, "keeper_deaf", "the keeper could not be told that a cell is left");
}

static void on_gone(struct process *p, const struct dm_worker_unit *message)
{
    struct dm_err none = {0};

    if (message->kind >= DM_UNIT_RELEASE && message->kind < DM_UNIT_KINDS)
        dm_worker_remove(&p->worker, dm_str_of(message->tenant), (enum dm_unit_kind)message->kind, message->mark);
    say_applied(p, message, &none);
}

/* What is shorter than ours comes from an older keeper (W3). */
static bool read_grown(struct dm_str payload, size_t min, void *ret, size_t size)
{
    if (payload.len < min)
        return false;
    memset(ret, 0, size);
    memcpy(ret, payload.ptr, DM_MIN(payload.len, size));
    return true;
}

static void on_ticket_keys(struct process *p, struct dm_str payload)
{
    if (read_grown(payload, DM_WORKER_TICKETS_MIN, &p->tickets, sizeof(p->tickets)))
        dm_tls_acceptor_set_ticket_keys(p->worker.acceptor, &p->tickets.keys);
}

static void on_unlisten(struct process *p, const struct dm_worker_socket *name)
{
    struct door **at = find_door(p, name);

    if (*at)
        remove_door(p, at);
}

static void on_part(struct process *p)
{
    p->is_parting = true;
    report_usage(p);
    part_when_all_is_said(p);
    if (p->has_channel)
        dm_timer_arm(p->worker.loop, &p->tick, DRAIN_TICK_MS);
}

/* Of cells. False: it is another message. */
static bool on_cell_message(struct process *p, uint32_t type, struct dm_str payload, int *fd)
{
    if (type == DM_WORKER_CELL && payload.len == sizeof(struct dm_worker_cell)) {
        on_cell(p, payload, *fd);
        *fd = -1;
    } else if (type == DM_WORKER_CELL_GONE && payload.len == sizeof(struct dm_worker_cell)) {
        on_cell_gone(p, payload);
    } else if (type == DM_WORKER_QUEUE && *fd >= 0) {
        add_queue(p, *fd);
        *fd = -1;
    } else if (type == DM_WORKER_DATA_KEY && payload.len == sizeof(struct dm_worker_data_key) && p->worker.vault) {
        on_data_key(p, payload);
    } else {
        return false;
    }
    return true;
}

static void on_message(struct dm_channel *channel, uint32_t type, struct dm_str payload, int fd)
{
    struct process *p = DM_CONTAINER_OF(channel, struct process, channel);
    struct dm_worker_unit unit;
    struct dm_worker_socket name;
    struct dm_worker_drain drain;

    if (on_cell_message(p, type, payload, &fd)) {
        /* done */
    } else if ((type == DM_WORKER_UNIT || type == DM_WORKER_GONE) && payload.len == sizeof(unit)) {
        memcpy(&unit, payload.ptr, sizeof(unit));
        type == DM_WORKER_UNIT ? on_unit(p, &unit, fd) : on_gone(p, &unit);
    } else if (type == DM_WORKER_LOG && fd >= 0) {
        dm_access_log_set_fd(&p->worker.log, fd);
        fd = -1;
    } else if (type == DM_WORKER_TENANT_KEY && payload.len == sizeof(struct dm_worker_tenant_key)) {
        on_tenant_key(p, payload);
    } else if (type == DM_WORKER_TICKET_KEYS) {
        on_ticket_keys(p, payload);
    } else if (type == DM_WORKER_LISTENER && fd >= 0 && read_grown(payload, sizeof(name), &name, sizeof(name))) {
        add_door(p, &name, fd);
        fd = -1;
    } else if (type == DM_WORKER_UNLISTEN && read_grown(payload, sizeof(name), &name, sizeof(name))) {
        on_unlisten(p, &name);
    } else if (type == DM_WORKER_SYNCED) {
        dm_cell_gates_settle(&p->worker);
        start_serving(p);
    } else if (type == DM_WORKER_DRAIN && read_grown(payload, DM_WORKER_DRAIN_MIN, &drain, sizeof(drain))) {
        start_draining(p, drain);
    } else if (type == DM_WORKER_PART) {
        on_part(p);
    } else {
        dm_log(DM_LOG_WARN, "keeper_message", "message of unknown type %u from the keeper", type);
    }
    if (fd >= 0)
        close(fd);
}

/* W1 */
static void on_channel_closed(struct dm_channel *channel, int code)
{
    struct process *p = DM_CONTAINER_OF(channel, struct process, channel);

    p->has_channel = p->is_parting = false;
    mark_former(p);
    dm_log(DM_LOG_WARN, "keeper_lost", "the keeper is gone; serving on");
    dm_timer_arm(p->worker.loop, &p->reconnect, RECONNECT_MS);
}

/* A descriptor of each, for a keeper that has none. */
static void say_listeners(struct process *p)
{
    for (const struct door *door = p->doors; door; door = door->next)
        if (dm_channel_send(&p->channel, DM_WORKER_LISTENER, dm_str_n((const char *)&door->name, sizeof(door->name)),
                            door->is_open ? door->listener.watch.fd : door->fd) < 0)
            dm_log(DM_LOG_WARN, "keeper_deaf", "the keeper could not be given the socket of %s", door->name.address);
}

static void say_hello(struct process *p)
{
    struct dm_worker_hello hello;

    memset(&hello, 0, sizeof(hello));
    copy_name(hello.version, sizeof(hello.version), DM_VERSION);
    hello.slot = p->options->slot;
    hello.bank = p->options->bank;
    hello.pid = (int32_t)getpid();
    hello.flags = p->is_draining ? DM_WORKER_IS_DRAINING : p->is_serving ? DM_WORKER_IS_SERVING : 0;
    hello.link_version = DM_WORKER_LINK_VERSION;
    hello.unit_format = DM_UNIT_FORMAT;
    hello.counters_version = DM_COUNTERS_VERSION;
    memcpy(hello.program, p->program, sizeof(hello.program));
    hello.tickets = p->tickets;
    say_listeners(p);
    dm_cell_gates_expect(&p->worker);
    if (dm_channel_send(&p->channel, DM_WORKER_HELLO, dm_str_n((const char *)&hello, sizeof(hello)), -1) < 0)
        dm_channel_close(&p->channel);
    dm_mem_wipe(&hello, sizeof(hello));
}

static void connect_keeper(struct process *p)
{
    p->channel.on_message = on_message;
    p->channel.on_closed = on_channel_closed;
    if (dm_channel_connect(&p->channel, p->worker.loop, &p->keeper, 0) < 0) {
        dm_timer_arm(p->worker.loop, &p->reconnect, RECONNECT_MS);
        return;
    }
    p->has_channel = true;
    say_hello(p);
}

static void on_reconnect(struct dm_timer *timer)
{
    connect_keeper(DM_CONTAINER_OF(timer, struct process, reconnect));
}

/* --- start -------------------------------------------------------------------------------------------------------- */

static void on_flush(struct dm_hook *hook)
{
    (void)hook;
    if (dm_log_pending())
        dm_log_flush();
}

/* Another one is to serve before we go; without a keeper there is none. Told again, we go. */
static void on_signal(struct dm_signals *signals, int signo)
{
    struct process *p = DM_CONTAINER_OF(signals, struct process, signals);
    struct dm_worker_drain drain = {(uint32_t)p->options->drain_ms, IDLE_MS};

    if (!p->has_signal && p->has_channel && p->is_serving &&
        dm_channel_send(&p->channel, DM_WORKER_LEAVING, DM_STR_NULL, -1) == 0)
        p->has_signal = true;
    else
        start_draining(p, drain);
}

/* A worker of a cell has a page for one tenant, and the page is its own to clear. */
static int open_counters(struct process *p, const char *path, struct dm_err *err)
{
    bool is_cell = p->options->cell[0];
    int rc = dm_shm_open(&p->counters, path, DM_GATEWAY_COUNTERS_KIND, DM_COUNTERS_VERSION,
                         is_cell ? DM_COUNTERS_CELL_BYTES : sizeof(struct dm_counters_page), true, err);

    if (rc == 0 && is_cell)
        dm_counters_close(p->counters.ptr, 1);
    return rc;
}

static int open_vault(struct process *p, struct dm_err *err)
{
    char path[DM_GATEWAY_PATH_MAX];

    if (p->options->cell[0]) {
        p->worker.vault = dm_vault_new();
        return 0;
    }
    dm_gateway_path(p->options, path, DM_GATEWAY_BOX_KEY);
    return dm_vault_open(dm_sys_real(), path, false, &p->worker.vault, err);
}

/* Of pages that workers share and nobody else touches: a cell's make them themselves. */
static void page_path(const struct process *p, const char *name, char ret[DM_GATEWAY_PATH_MAX])
{
    dm_gateway_path(p->options, ret, "%s/%s", p->options->cell[0] ? DM_GATEWAY_CELL_PAGES : "run", name);
}

/* Without them each worker finds out for itself. */
static void share_circuits(struct dm_worker *worker, const char *path)
{
    struct dm_err err = {0};

    if (dm_worker_share_circuits(worker, path, &err) < 0)
        dm_log(DM_LOG_ERROR, "circuits_not_shared", "%s", err.message);
}

static int open_pages(struct process *p, struct dm_err *err)
{
    const char *suffix = dm_gateway_bank_suffix[p->options->bank];
    char path[DM_GATEWAY_PATH_MAX];
    int rc;

    dm_gateway_path(p->options, path, DM_GATEWAY_WORKER_LOCK, p->options->slot, suffix);
    if ((rc = dm_lockfile_take(&p->lock, path, err)) < 0)
        return rc;
    dm_gateway_path(p->options, path, DM_GATEWAY_COUNTERS, p->options->slot, suffix);
    if ((rc = open_counters(p, path, err)) < 0)
        return rc;
    page_path(p, "limits", path);
    if ((rc = dm_worker_init(&p->worker, dm_sys_real(), p->options, p->counters.ptr, path, err)) < 0)
        return rc;
    page_path(p, "health", path);
    if ((rc = dm_worker_share_health(&p->worker, path, err)) < 0)
        return rc;
    page_path(p, "circuits", path);
    share_circuits(&p->worker, path);
    if (p->options->cell[0])
        p->worker.pages.page_bytes = DM_COUNTERS_CELL_BYTES;
    return open_vault(p, err);
}

/* Its mark is that of what it was told, not of what it makes of it. */
static int enter(struct process *p, const struct dm_gateway_options *options, struct dm_err *err)
{
    int rc = dm_crypto_init();

    if (rc < 0)
        return dm_fail(err, rc, "", "libsodium can't be used");
    p->options = options;
    dm_program_mark(options, p->program);
    if (!options->cell[0]) {
        dm_cell_process_disarm();
        return 0;
    }
    p->own = *options;
    p->options = &p->own;
    return dm_cell_process_enter(&p->own, err);
}

/* A cell's worker has no way to it but from where it is. */
static int find_keeper(struct process *p, struct dm_err *err)
{
    char path[DM_GATEWAY_PATH_MAX], text[DM_GATEWAY_PATH_MAX + 8];
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = DM_GATEWAY_CELL_SOCKET};
    struct dm_buf keeper;

    if (p->options->cell[0]) {
        memcpy(&p->keeper.ss, &un, sizeof(un));
        p->keeper.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + sizeof(DM_GATEWAY_CELL_SOCKET));
        return 0;
    }
    dm_gateway_path(p->options, path, DM_GATEWAY_KEEPER_SOCKET);
    dm_buf_init_fixed(&keeper, text, sizeof(text));
    dm_buf_printf(&keeper, "unix:%s", path);
    return dm_addr_parse(dm_buf_str(&keeper), &p->keeper, err);
}

static int start(struct process *p, struct dm_err *err)
{
    static const int signals[] = {SIGTERM, SIGINT};
    int rc;

    dm_tls_init_alone();
    if ((rc = open_pages(p, err)) < 0)
        return rc;
    dm_worker_look_at_others(&p->worker);
    p->before = p->worker.counters->worker;
    p->worker.counters->worker.started_at = dm_worker_wall_ns(&p->worker) / 1000000000;
    if ((rc = find_keeper(p, err)) < 0)
        return rc;
    if (dm_signals_open(&p->signals, p->worker.loop, signals, DM_COUNT(signals), on_signal) < 0)
        return dm_fail(err, DM_EIO, "", "can't watch signals");
    p->flush.run = on_flush;
    dm_hook_add(p->worker.loop, &p->flush);
    p->tick.on_due = on_tick;
    p->reconnect.on_due = on_reconnect;
    dm_timer_arm(p->worker.loop, &p->tick, TICK_MS);
    connect_keeper(p);
    return 0;
}

static void forget_channel(struct dm_channel *channel, int code)
{
}

/* What was counted last reaches the keeper, unless that does not read. */
static void say_last_words(struct process *p)
{
    uint64_t until_ns = dm_loop_now_ns(p->worker.loop) + LAST_WORDS_MS * UINT64_C(1000000);

    report_counters(p);
    report_usage(p);
    while (p->has_channel && p->channel.queued_bytes > 0 && dm_loop_now_ns(p->worker.loop) < until_ns)
        if (dm_loop_turn(p->worker.loop, DRAIN_TICK_MS) < 0)
            return;
}

/* Frees all: what a worker leaves behind is a leak, and the sanitizers say so. */
static void stop(struct process *p)
{
    say_last_words(p);
    p->channel.on_closed = forget_channel;
    if (p->has_channel)
        dm_channel_close(&p->channel);
    remove_all_doors(p);
    while (p->queues)
        remove_queue(&p->queues);
    dm_timer_cancel(p->worker.loop, &p->reconnect);
    dm_timer_cancel(p->worker.loop, &p->tick);
    dm_timer_cancel(p->worker.loop, &p->drain);
    dm_timer_cancel(p->worker.loop, &p->idle);
    dm_signals_close(&p->signals);
    dm_hook_del(p->worker.loop, &p->flush);
    dm_worker_done(&p->worker);
    dm_shm_close(&p->counters);
    dm_lockfile_release(&p->lock);
    dm_mem_wipe(&p->tickets, sizeof(p->tickets));
}

int dm_worker_main(const struct dm_gateway_options *options)
{
    struct process *p = dm_calloc(1, sizeof(*p));
    struct dm_err err = {0};
    int exit_code = 1;

    p->lock.fd = -1;
    signal(SIGPIPE, SIG_IGN);
    if (enter(p, options, &err) < 0 || start(p, &err) < 0) {
        dm_log(DM_LOG_ERROR, "worker_failed", "%s", err.message);
    } else {
        exit_code = dm_loop_run(p->worker.loop) < 0 ? 1 : p->exit_code;
        stop(p);
    }
    dm_log_drain(1000);
    dm_free(p);
    return exit_code;
}
