/* The keeper's workers: processes, one a slot, and their channels on run/keeper.sock.
 *
 * A slot:  empty --[lock is free]--> started --[HELLO]--> fed (all units) --[K2: SYNCED]--> serving
 *          empty --[lock is held: a survivor]--> adopted --[HELLO]--> fed …
 *          any --[process ends]--> empty, started again: at once, then with back-off
 *
 * Channel and process end on their own: a worker that loses the channel comes back with HELLO. One whose loop does not turn
 * any more keeps its share of new connections waiting: it is killed. What counts is looks of the keeper, not time, so that a
 * machine that was suspended kills nobody. */
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "base/mem.h"
#include "gateway/keeper/keeper_int.h"
#include "gateway/observe/counters.h"

enum { TICKETS_MS = 12 * 3600 * 1000 };
enum { HELLO_MS = 30000, LOCK_RETRY_MS = 50, QUEUE_BYTES = 256 << 20, BACKLOG = 64, KILL_MS = 1000 };
enum { PULSE_MS = 1000, STILL_MAX = 8 }; /* a worker tells its turns once a second */

struct dm_worker_conn {
    struct dm_keeper *keeper;
    struct dm_keeper_worker *worker; /* NULL before HELLO, and when it is not wanted */
    struct dm_channel channel;
};

/* --- telling ----------------------------------------------------------------------------------------------------- */

static void tell(struct dm_worker_conn *conn, uint32_t type, const void *ptr, size_t len, int fd)
{
    int rc = dm_channel_send(&conn->channel, type, dm_str_n(ptr, len), fd);

    if (rc < 0 && rc != DM_ECLOSED) {
        dm_log(DM_LOG_ERROR, "worker_deaf", "a worker does not read what it is told; its channel is closed");
        dm_channel_close(&conn->channel);
    }
}

/* Nothing of a file that is known to be damaged. */
static void send_unit(struct dm_worker_conn *conn, const struct dm_held_unit *unit)
{
    struct dm_worker_unit message = {.kind = (uint32_t)unit->kind, .counter_slot = unit->tenant->counter_slot};

    if (!unit->is_gone && (dm_mark_is_none(unit->live) || unit->is_damaged))
        return;
    memcpy(message.tenant, unit->tenant->name, sizeof(message.tenant));
    message.mark = unit->is_gone ? unit->floor : unit->live;
    if (!unit->is_gone)
        dm_store_unit_path(&conn->keeper->store, unit, message.path);
    tell(conn, unit->is_gone ? DM_WORKER_GONE : DM_WORKER_UNIT, &message, sizeof(message), -1);
}

static void send_key(struct dm_worker_conn *conn, const struct dm_held_key *key)
{
    tell(conn, DM_WORKER_TENANT_KEY, &key->message, sizeof(key->message), -1);
}

void dm_keeper_workers_tell_key(struct dm_keeper *k, const struct dm_held_key *key)
{
    for (unsigned i = 0; i < k->options.n_workers; i++)
        if (k->workers[i].conn)
            send_key(k->workers[i].conn, key);
}

static void send_tickets(struct dm_worker_conn *conn)
{
    const struct dm_tls_ticket_keys *keys = &conn->keeper->secrets.tickets;

    tell(conn, DM_WORKER_TICKET_KEYS, keys, sizeof(*keys), -1);
}

static void on_ticket_timer(struct dm_timer *timer)
{
    struct dm_keeper *k = DM_CONTAINER_OF(timer, struct dm_keeper, ticket_timer);

    dm_secrets_rotate_tickets(&k->secrets);
    for (unsigned i = 0; i < k->options.n_workers; i++)
        if (k->workers[i].conn)
            send_tickets(k->workers[i].conn);
    dm_timer_arm(k->loop, timer, TICKETS_MS);
}

void dm_keeper_workers_tell(struct dm_keeper *k, const struct dm_held_unit *unit)
{
    for (unsigned i = 0; i < k->options.n_workers; i++)
        if (k->workers[i].conn)
            send_unit(k->workers[i].conn, unit);
}

void dm_keeper_workers_sync(struct dm_keeper *k)
{
    for (unsigned i = 0; i < k->options.n_workers && k->n_again == 0; i++) {
        struct dm_keeper_worker *worker = &k->workers[i];
        if (!worker->conn || worker->is_synced)
            continue;
        worker->is_synced = true;
        tell(worker->conn, DM_WORKER_SYNCED, NULL, 0, -1);
    }
}

static void send_log(struct dm_worker_conn *conn)
{
    int fd;

    if (!conn->keeper->options.access_log)
        return;
    if ((fd = dm_log_writer_pipe(&conn->worker->log)) < 0) {
        dm_log(DM_LOG_ERROR, "access_log_failed", "can't make a pipe for the access log: %s", strerror(-fd));
        return;
    }
    tell(conn, DM_WORKER_LOG, NULL, 0, fd);
    close(fd);
}

static void feed(struct dm_worker_conn *conn)
{
    struct dm_keeper *k = conn->keeper;
    const struct dm_held_key *key;
    size_t at = 0;

    send_tickets(conn);
    while ((key = dm_secrets_next(&k->secrets, &at)))
        send_key(conn, key);
    for (struct dm_held_unit *unit = dm_store_next(&k->store, NULL); unit; unit = dm_store_next(&k->store, unit))
        send_unit(conn, unit);
    send_log(conn);
    dm_keeper_workers_sync(k);
}

/* --- hearing ----------------------------------------------------------------------------------------------------- */

static void tell_drain(struct dm_worker_conn *conn, uint32_t ms)
{
    tell(conn, DM_WORKER_DRAIN, &ms, sizeof(ms), -1);
}

static void on_pulse(struct dm_timer *timer)
{
    struct dm_keeper_worker *worker = DM_CONTAINER_OF(timer, struct dm_keeper_worker, pulse);
    const struct dm_counters_page *page = worker->counters.ptr;
    uint64_t turns = __atomic_load_n(&page->worker.loop_turns, __ATOMIC_RELAXED);

    worker->n_still = turns == worker->seen_turns ? worker->n_still + 1 : 0;
    worker->seen_turns = turns;
    dm_timer_arm(worker->keeper->loop, timer, PULSE_MS);
    if (worker->n_still < STILL_MAX)
        return;
    worker->n_still = 0;
    dm_log(DM_LOG_ERROR, "worker_hangs", "worker %u does not turn any more; it is killed", worker->slot);
    dm_process_signal(&worker->process, SIGKILL);
}

static void attach(struct dm_worker_conn *conn, struct dm_keeper_worker *worker)
{
    if (worker->conn) { /* it lost that one and we have not seen it yet */
        worker->conn->worker = NULL;
        dm_channel_close(&worker->conn->channel);
        conn->keeper->n_connected--;
    }
    dm_timer_cancel(conn->keeper->loop, &worker->timer);
    dm_keeper_forget_applied(conn->keeper, worker->slot);
    conn->worker = worker;
    worker->conn = conn;
    worker->is_synced = worker->is_serving = false;
    worker->n_still = 0;
    dm_timer_arm(conn->keeper->loop, &worker->pulse, PULSE_MS);
    conn->keeper->n_connected++;
}

/* Is it the process that we take for this slot's worker? One that is nobody's yet is adopted. */
static bool is_ours(struct dm_keeper_worker *worker, int32_t pid)
{
    if (worker->process.state == DM_PROCESS_IDLE && !worker->keeper->is_stopping)
        return dm_process_adopt(&worker->process, pid) == 0;
    return worker->process.pid == pid;
}

static void on_hello(struct dm_worker_conn *conn, const struct dm_worker_hello *hello)
{
    struct dm_keeper *k = conn->keeper;
    bool is_same = strncmp(hello->version, DM_VERSION, sizeof(hello->version)) == 0;

    if (hello->slot >= k->options.n_workers || !is_same) {
        dm_log(DM_LOG_INFO, "worker_unwanted", "worker %u, pid %d, is of another %s; it drains", hello->slot,
               hello->pid, is_same ? "configuration" : "version");
        tell_drain(conn, k->options.drain_ms);
        return;
    }
    if (!is_ours(&k->workers[hello->slot], hello->pid)) {
        dm_log(DM_LOG_ERROR, "worker_stranger", "process %d says that it is worker %u, which is another process",
               hello->pid, hello->slot);
        dm_channel_close(&conn->channel);
        return;
    }
    attach(conn, &k->workers[hello->slot]);
    dm_log(DM_LOG_INFO, "worker_connected", "worker %u, pid %d, is connected", hello->slot, hello->pid);
    feed(conn);
    if (k->is_stopping)
        tell_drain(conn, k->options.drain_ms);
}

static struct dm_str bounded(const char *text, size_t max)
{
    return dm_str_n(text, strnlen(text, max));
}

static void on_usage(struct dm_keeper *k, struct dm_str payload)
{
    struct dm_worker_usage usage;

    for (size_t at = 0; at + sizeof(usage) <= payload.len; at += sizeof(usage)) {
        memcpy(&usage, payload.ptr + at, sizeof(usage));
        dm_spool_add(&k->spool, &(struct dm_spool_count){.tenant = bounded(usage.tenant, sizeof(usage.tenant)),
                                                         .product = bounded(usage.product, sizeof(usage.product)),
                                                         .metric = bounded(usage.metric, sizeof(usage.metric)),
                                                         .application = usage.application,
                                                         .delta = usage.delta});
    }
}

static void on_worker_message(struct dm_worker_conn *conn, uint32_t type, struct dm_str payload)
{
    struct dm_worker_applied applied;

    if (type == DM_WORKER_APPLIED && payload.len == sizeof(applied)) {
        memcpy(&applied, payload.ptr, sizeof(applied));
        applied.message[sizeof(applied.message) - 1] = '\0';
        dm_keeper_on_applied(conn->keeper, conn->worker, &applied);
    } else if (type == DM_WORKER_USAGE) {
        on_usage(conn->keeper, payload);
    } else if (type == DM_WORKER_SERVING) {
        conn->worker->is_serving = true;
    }
}

static void on_message(struct dm_channel *channel, uint32_t type, struct dm_str payload, int fd)
{
    struct dm_worker_conn *conn = DM_CONTAINER_OF(channel, struct dm_worker_conn, channel);
    struct dm_worker_hello hello;

    if (fd >= 0)
        close(fd);
    if (conn->worker) {
        on_worker_message(conn, type, payload);
    } else if (type == DM_WORKER_HELLO && payload.len == sizeof(hello)) {
        memcpy(&hello, payload.ptr, sizeof(hello));
        on_hello(conn, &hello);
    }
}

static void on_closed(struct dm_channel *channel, int code)
{
    struct dm_worker_conn *conn = DM_CONTAINER_OF(channel, struct dm_worker_conn, channel);
    struct dm_keeper *k = conn->keeper;
    struct dm_keeper_worker *worker = conn->worker;

    if (worker) {
        worker->conn = NULL;
        worker->is_synced = worker->is_serving = false;
        dm_timer_cancel(k->loop, &worker->pulse);
        k->n_connected--;
        dm_keeper_forget_applied(k, worker->slot);
        if (!k->is_stopping && worker->process.state == DM_PROCESS_RUNNING)
            dm_timer_arm(k->loop, &worker->timer, HELLO_MS);
    }
    k->n_conns--;
    dm_free(conn);
}

static void on_accept(struct dm_listener *listener, int fd, const struct dm_addr *peer)
{
    struct dm_keeper *k = DM_CONTAINER_OF(listener, struct dm_keeper, socket);
    struct dm_peer_cred cred;
    struct dm_worker_conn *conn;

    if (k->sys->ops->peer_cred(k->sys, fd, &cred) < 0 || (cred.uid != geteuid() && cred.uid != 0)) {
        dm_log(DM_LOG_WARN, "worker_stranger", "a process of another user connected to the keeper's socket");
        close(fd);
        return;
    }
    conn = dm_calloc(1, sizeof(*conn));
    conn->keeper = k;
    conn->channel.on_message = on_message;
    conn->channel.on_closed = on_closed;
    if (dm_channel_open(&conn->channel, k->loop, fd, QUEUE_BYTES) < 0)
        dm_free(conn);
    else
        k->n_conns++;
}

/* --- processes --------------------------------------------------------------------------------------------------- */

static int on_spawn(struct dm_process *process, struct dm_spawn *spawn)
{
    struct dm_keeper_worker *worker = DM_CONTAINER_OF(process, struct dm_keeper_worker, process);
    struct dm_keeper *k = worker->keeper;

    dm_gateway_options_args(&k->options, DM_ROLE_WORKER, worker->slot, &k->spawn_args);
    dm_spawn_arg(spawn, "daemun-gateway");
    for (size_t i = 0; i < k->spawn_args.count; i++)
        dm_spawn_arg(spawn, k->spawn_args.items[i]);
    return 0;
}

static void on_spawned(struct dm_process *process, pid_t pid)
{
    struct dm_keeper_worker *worker = DM_CONTAINER_OF(process, struct dm_keeper_worker, process);

    if (pid < 0) {
        dm_log(DM_LOG_ERROR, "worker_start", "can't start worker %u: %s", worker->slot, strerror(-pid));
        return;
    }
    dm_log(DM_LOG_INFO, "worker_started", "started worker %u, pid %d", worker->slot, (int)pid);
    dm_timer_arm(worker->keeper->loop, &worker->timer, HELLO_MS);
}

static bool all_are_gone(const struct dm_keeper *k)
{
    for (unsigned i = 0; i < k->options.n_workers; i++)
        if (k->workers[i].process.state != DM_PROCESS_IDLE)
            return false;
    return true;
}

static void on_exit_of_worker(struct dm_process *process, int status)
{
    struct dm_keeper_worker *worker = DM_CONTAINER_OF(process, struct dm_keeper_worker, process);
    struct dm_keeper *k = worker->keeper;
    char text[DM_PROCESS_STATUS_MAX];

    dm_timer_cancel(k->loop, &worker->timer);
    if (k->is_stopping) {
        dm_process_stop(process);
        if (all_are_gone(k))
            dm_loop_stop(k->loop);
        return;
    }
    worker->n_restarts++;
    dm_log(DM_LOG_ERROR, "worker_died", "worker %u ended (%s); another one is started", worker->slot,
           dm_process_status_text(status, text));
}

static const struct dm_process_type process_type = {
    .on_spawn = on_spawn,
    .on_spawned = on_spawned,
    .on_exit = on_exit_of_worker,
    .backoff_min_ms = 1,
    .backoff_max_ms = 5000,
    .stable_ms = 10000,
    .stop_ms = KILL_MS,
};

/* A slot whose lock a process holds is a survivor's; otherwise a worker is started. */
static void fill_slot(struct dm_keeper_worker *worker)
{
    struct dm_keeper *k = worker->keeper;
    char path[DM_GATEWAY_PATH_MAX];
    int pid;

    dm_gateway_path(&k->options, path, DM_GATEWAY_WORKER_LOCK, worker->slot);
    pid = dm_lockfile_holder(path);
    if (pid > 0 && dm_process_adopt(&worker->process, pid) == 0) {
        dm_log(DM_LOG_INFO, "worker_adopted", "worker %u, pid %d, serves already", worker->slot, pid);
        dm_timer_arm(k->loop, &worker->timer, HELLO_MS);
    } else if (pid == -EAGAIN) {
        dm_timer_arm(k->loop, &worker->timer, LOCK_RETRY_MS);
    } else {
        dm_process_start(&worker->process);
    }
}

static void on_due(struct dm_timer *timer)
{
    struct dm_keeper_worker *worker = DM_CONTAINER_OF(timer, struct dm_keeper_worker, timer);

    if (worker->process.state == DM_PROCESS_IDLE) {
        fill_slot(worker);
        return;
    }
    dm_log(DM_LOG_ERROR, "worker_silent", "worker %u does not connect; it is killed", worker->slot);
    dm_process_signal(&worker->process, SIGKILL);
}

/* --- all of them ------------------------------------------------------------------------------------------------- */

static int open_worker(struct dm_keeper *k, unsigned slot, struct dm_err *err)
{
    struct dm_keeper_worker *worker = &k->workers[slot];
    char path[DM_GATEWAY_PATH_MAX], log_dir[DM_GATEWAY_PATH_MAX];

    worker->keeper = k;
    worker->slot = slot;
    worker->timer.on_due = on_due;
    worker->pulse.on_due = on_pulse;
    dm_process_init(&worker->process, k->loop, &process_type);
    dm_gateway_path(&k->options, log_dir, "log");
    dm_log_writer_init(&worker->log, k->loop, k->options.log_dir ? k->options.log_dir : log_dir, slot);
    dm_gateway_path(&k->options, path, DM_GATEWAY_COUNTERS, slot);
    return dm_shm_open(&worker->counters, path, DM_GATEWAY_COUNTERS_KIND, DM_COUNTERS_VERSION,
                       sizeof(struct dm_counters_page), true, err);
}

static int open_socket(struct dm_keeper *k, struct dm_err *err)
{
    char path[DM_GATEWAY_PATH_MAX + 8];
    struct dm_addr addr;
    int rc, n = snprintf(path, sizeof(path), "unix:%s/" DM_GATEWAY_KEEPER_SOCKET, k->options.data_dir);

    if ((rc = dm_addr_parse(dm_str_n(path, (size_t)n), &addr, err)) < 0)
        return rc;
    return dm_listener_open(&k->socket, k->loop, &addr, BACKLOG, false, on_accept, err);
}

int dm_keeper_workers_start(struct dm_keeper *k, struct dm_err *err)
{
    int rc;

    for (unsigned i = 0; i < k->options.n_workers; i++)
        if ((rc = open_worker(k, i, err)) < 0)
            return rc;
    if ((rc = open_socket(k, err)) < 0)
        return rc;
    for (unsigned i = 0; i < k->options.n_workers; i++)
        fill_slot(&k->workers[i]);
    k->ticket_timer.on_due = on_ticket_timer;
    dm_timer_arm(k->loop, &k->ticket_timer, TICKETS_MS);
    return 0;
}

static void on_drain_due(struct dm_timer *timer)
{
    struct dm_keeper *k = DM_CONTAINER_OF(timer, struct dm_keeper, drain_timer);

    for (unsigned i = 0; i < k->options.n_workers; i++)
        dm_process_stop(&k->workers[i].process);
    if (all_are_gone(k))
        dm_loop_stop(k->loop);
}

void dm_keeper_workers_drain(struct dm_keeper *k, uint32_t ms)
{
    for (unsigned i = 0; i < k->options.n_workers; i++) {
        struct dm_keeper_worker *worker = &k->workers[i];
        if (worker->conn)
            tell_drain(worker->conn, ms);
        else
            dm_process_stop(&worker->process); /* it drains at SIGTERM too */
    }
    if (all_are_gone(k))
        dm_loop_stop(k->loop);
    k->drain_timer.on_due = on_drain_due;
    dm_timer_arm(k->loop, &k->drain_timer, ms > 0 ? ms + KILL_MS : 0);
}

void dm_keeper_workers_done(struct dm_keeper *k)
{
    dm_timer_cancel(k->loop, &k->drain_timer);
    dm_timer_cancel(k->loop, &k->ticket_timer);
    dm_listener_close(&k->socket);
    for (unsigned i = 0; i < k->options.n_workers; i++) {
        struct dm_keeper_worker *worker = &k->workers[i];
        if (!worker->keeper) /* starting failed before */
            return;
        dm_timer_cancel(k->loop, &worker->timer);
        dm_timer_cancel(k->loop, &worker->pulse);
        if (worker->conn)
            dm_channel_close(&worker->conn->channel);
        dm_log_writer_done(&worker->log);
        dm_shm_close(&worker->counters);
    }
}
