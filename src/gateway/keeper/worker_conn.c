/* The keeper's end of the channels with workers (worker_link.h), on run/keeper.sock.
 *
 *   accepted --[LISTENER …]--> accepted --[HELLO]--> known: fed, told of changes --[closed]--> gone
 *
 * Channel and process end on their own: a worker that loses the channel comes back with HELLO. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/mem.h"
#include "gateway/keeper/keeper_int.h"

enum { QUEUE_BYTES = 256 << 20, BACKLOG = 64 };

struct dm_worker_conn {
    struct dm_keeper *keeper;
    struct dm_keeper_worker *worker; /* NULL before HELLO, and when it is not wanted */
    const struct dm_held_tenant *of; /* of a cell's own socket: whose cell; NULL: a shared worker's */
    int32_t pid;                     /* with a cell: as the system says */
    struct dm_channel channel;
    bool knows_part;                          /* the message */
    uint64_t has_slots[DM_KEEPER_SLOT_WORDS]; /* whose sockets it says it has */
};

/* --- telling ----------------------------------------------------------------------------------------------------- */

void dm_keeper_tell(struct dm_keeper_worker *worker, uint32_t type, const void *ptr, size_t len, int fd)
{
    int rc = worker->conn ? dm_channel_send(&worker->conn->channel, type, dm_str_n(ptr, len), fd) : DM_ECLOSED;

    if (rc < 0 && rc != DM_ECLOSED) {
        dm_log(DM_LOG_ERROR, "worker_deaf", "a worker does not read what it is told; its channel is closed");
        dm_channel_close(&worker->conn->channel);
    }
}

/* No path leads a cell to the file, and its page has one tenant. */
static void send_to_cell(struct dm_keeper_worker *worker, const struct dm_held_unit *unit,
                         struct dm_worker_unit *message)
{
    int fd = unit->is_gone ? -1 : open(message->path, O_RDONLY | O_CLOEXEC);

    message->path[0] = '\0';
    message->counter_slot = 0;
    if (fd < 0 && !unit->is_gone) {
        dm_log(DM_LOG_ERROR, "unit_lost", "%s of tenant %s can't be opened for its cell: %s",
               dm_unit_kind_names[unit->kind], unit->tenant->name, strerror(errno));
        return;
    }
    dm_keeper_tell(worker, unit->is_gone ? DM_WORKER_GONE : DM_WORKER_UNIT, message, sizeof(*message), fd);
    if (fd >= 0)
        close(fd);
}

/* Nothing of a file that is known to be damaged. */
static void send_unit(struct dm_keeper_worker *worker, const struct dm_held_unit *unit)
{
    struct dm_worker_unit message = {.kind = (uint32_t)unit->kind, .counter_slot = unit->tenant->counter_slot};

    if ((!unit->is_gone && (dm_mark_is_none(unit->live) || unit->is_damaged)) || !dm_keeper_cell_feeds(worker, unit))
        return;
    memcpy(message.tenant, unit->tenant->name, sizeof(message.tenant));
    message.mark = unit->is_gone ? unit->floor : unit->live;
    if (!unit->is_gone)
        dm_store_unit_path(&worker->keeper->store, unit, message.path);
    if (worker->cell)
        send_to_cell(worker, unit, &message);
    else
        dm_keeper_tell(worker, unit->is_gone ? DM_WORKER_GONE : DM_WORKER_UNIT, &message, sizeof(message), -1);
}

void dm_keeper_workers_tell(struct dm_keeper *k, const struct dm_held_unit *unit)
{
    for (struct dm_keeper_worker *worker = dm_keeper_next_worker(k, NULL); worker;
         worker = dm_keeper_next_worker(k, worker))
        if (worker->conn && worker->is_fed)
            send_unit(worker, unit);
}

static bool give_doors(struct dm_keeper_worker *worker)
{
    if (!worker->cell)
        return dm_keeper_sockets_give(worker->keeper, worker, worker->slot);
    dm_keeper_cell_give_queue(worker);
    return true;
}

void dm_keeper_workers_sync(struct dm_keeper *k)
{
    for (unsigned slot = 0; slot < DM_GATEWAY_SLOTS_MAX && k->n_again == 0 && !k->is_stopping; slot++) {
        struct dm_keeper_worker *worker = k->current[slot];
        if (!worker || !worker->conn || worker->is_synced || !give_doors(worker))
            continue;
        worker->is_synced = true;
        dm_keeper_tell(worker, DM_WORKER_SYNCED, NULL, 0, -1);
    }
}

void dm_keeper_tell_drain(struct dm_keeper_worker *worker, uint32_t ms, uint32_t idle_ms)
{
    bool is_end = worker->cell && (worker->keeper->is_stopping || worker->cell->is_closing);
    struct dm_worker_drain drain = {ms, idle_ms, is_end};

    dm_keeper_tell(worker, DM_WORKER_DRAIN, &drain,
                   worker->conn && worker->conn->knows_part ? sizeof(drain) : DM_WORKER_DRAIN_MIN, -1);
}

void dm_keeper_tell_part(struct dm_keeper *k)
{
    for (struct dm_keeper_worker *worker = dm_keeper_next_worker(k, NULL); worker;
         worker = dm_keeper_next_worker(k, worker))
        if (worker->conn && worker->conn->knows_part)
            dm_keeper_tell(worker, DM_WORKER_PART, NULL, 0, -1);
}

/* A cell can't open what is sealed to the gateway. */
static void send_open_key(struct dm_keeper_worker *worker, const struct dm_held_key *key)
{
    const struct dm_worker_tenant_key *from = &key->message;
    struct dm_worker_data_key message = {.tenant_id = from->tenant_id, .key_id = from->key_id};
    struct dm_tenant_key open_key = {0};

    if (dm_vault_open_key(worker->keeper->secrets.vault, from->tenant_id, from->key_id,
                          dm_str_n((const char *)from->sealed, from->sealed_bytes), &open_key) == 0) {
        memcpy(message.key, open_key.key, sizeof(message.key));
        dm_keeper_tell(worker, DM_WORKER_DATA_KEY, &message, sizeof(message), -1);
    }
    dm_mem_wipe(&open_key, sizeof(open_key));
    dm_mem_wipe(&message, sizeof(message));
}

/* A worker that serves nothing of the tenant has no use for it. */
static bool wants_key(const struct dm_keeper_worker *worker, const struct dm_held_key *key)
{
    const struct dm_held_tenant *tenant = dm_store_find(&worker->keeper->store, dm_str_of(key->tenant));

    if (worker->cell)
        return tenant == worker->cell->tenant;
    return !tenant || dm_keeper_cell_feeds(worker, &tenant->units[DM_UNIT_DOMAINS]);
}

static void send_key(struct dm_keeper_worker *worker, const struct dm_held_key *key)
{
    if (!wants_key(worker, key))
        return;
    if (worker->cell)
        send_open_key(worker, key);
    else
        dm_keeper_tell(worker, DM_WORKER_TENANT_KEY, &key->message, sizeof(key->message), -1);
}

void dm_keeper_workers_tell_key(struct dm_keeper *k, const struct dm_held_key *key)
{
    for (struct dm_keeper_worker *worker = dm_keeper_next_worker(k, NULL); worker;
         worker = dm_keeper_next_worker(k, worker))
        if (worker->conn && worker->is_fed)
            send_key(worker, key);
}

static struct dm_secrets *secrets_of(struct dm_keeper *k, struct dm_keeper_cell *cell)
{
    return cell ? &cell->secrets : &k->secrets;
}

static void send_tickets(struct dm_keeper_worker *worker)
{
    const struct dm_worker_tickets *tickets = &secrets_of(worker->keeper, worker->cell)->tickets;

    dm_keeper_tell(worker, DM_WORKER_TICKET_KEYS, tickets, sizeof(*tickets), -1);
}

static void tell_tickets(struct dm_keeper *k, const struct dm_keeper_cell *cell)
{
    for (struct dm_keeper_worker *worker = dm_keeper_next_worker(k, NULL); worker;
         worker = dm_keeper_next_worker(k, worker))
        if (worker->conn && worker->is_fed && worker->cell == cell)
            send_tickets(worker);
}

/* Those of all, at the time that comes first. */
static void arm_tickets(struct dm_keeper *k)
{
    uint32_t ms = dm_secrets_rotate_tickets(&k->secrets);

    for (struct dm_keeper_cell *cell = k->cells; cell; cell = cell->next)
        ms = DM_MIN(ms, dm_secrets_rotate_tickets(&cell->secrets));
    dm_timer_arm(k->loop, &k->ticket_timer, ms);
}

static void on_ticket_timer(struct dm_timer *timer)
{
    struct dm_keeper *k = DM_CONTAINER_OF(timer, struct dm_keeper, ticket_timer);

    arm_tickets(k);
    tell_tickets(k, NULL);
    for (const struct dm_keeper_cell *cell = k->cells; cell; cell = cell->next)
        tell_tickets(k, cell);
}

/* A cell's are its own: with those of others it could read what they say. */
static void take_tickets(struct dm_keeper *k, struct dm_keeper_cell *cell, const struct dm_worker_tickets *tickets)
{
    if (!dm_secrets_take_tickets(secrets_of(k, cell), tickets))
        return;
    arm_tickets(k);
    tell_tickets(k, cell);
}

static void send_log(struct dm_keeper_worker *worker)
{
    int fd;

    if (!worker->keeper->options.access_log)
        return;
    if ((fd = dm_log_writer_pipe(&worker->log)) < 0) {
        dm_log(DM_LOG_ERROR, "access_log_failed", "can't make a pipe for the access log: %s", strerror(-fd));
        return;
    }
    dm_keeper_tell(worker, DM_WORKER_LOG, NULL, 0, fd);
    close(fd);
}

static void send_state(struct dm_keeper_worker *worker)
{
    struct dm_keeper *k = worker->keeper;
    const struct dm_held_key *key;
    size_t at = 0;

    send_tickets(worker);
    dm_keeper_cells_tell_gates(worker);
    while ((key = dm_secrets_next(&k->secrets, &at)))
        send_key(worker, key);
    for (struct dm_held_unit *unit = dm_store_next(&k->store, NULL); unit; unit = dm_store_next(&k->store, unit))
        send_unit(worker, unit);
}

void dm_keeper_feed_tenant(struct dm_keeper_worker *worker, const struct dm_held_tenant *tenant)
{
    const struct dm_held_key *key = dm_secrets_find(&worker->keeper->secrets, dm_str_of(tenant->name));

    if (key)
        send_key(worker, key);
    for (int kind = DM_UNIT_RELEASE; kind < DM_UNIT_KINDS; kind++)
        send_unit(worker, &tenant->units[kind]);
}

static void feed(struct dm_keeper_worker *worker)
{
    if (worker->is_fed)
        send_state(worker);
    send_log(worker);
}

/* --- hearing ----------------------------------------------------------------------------------------------------- */

static void attach(struct dm_worker_conn *conn, struct dm_keeper_worker *worker)
{
    if (worker->conn) { /* it lost that one and we have not seen it yet */
        worker->conn->worker = NULL;
        dm_channel_close(&worker->conn->channel);
    }
    dm_keeper_forget_applied(conn->keeper, worker);
    conn->worker = worker;
    worker->conn = conn;
    worker->is_synced = false;
}

/* Is it the process that we take for this seat's? One that is nobody's yet is adopted. */
static bool is_ours(struct dm_keeper_worker *worker, int32_t pid)
{
    if (worker->process.state == DM_PROCESS_IDLE && !worker->keeper->is_stopping)
        return dm_process_adopt(&worker->process, pid) == 0;
    return worker->process.pid == pid;
}

static void take_hello(struct dm_keeper_worker *worker, const struct dm_worker_hello *hello)
{
    const uint8_t *program = worker->cell ? worker->cell->program : worker->keeper->program;

    worker->is_known = true;
    worker->is_ours = memcmp(hello->program, program, sizeof(hello->program)) == 0;
    worker->is_fed = hello->link_version == DM_WORKER_LINK_VERSION && hello->unit_format == DM_UNIT_FORMAT;
    worker->is_serving = hello->flags & DM_WORKER_IS_SERVING;
    worker->is_leaving |= (hello->flags & DM_WORKER_IS_DRAINING) != 0;
}

static void note_minded(struct dm_worker_conn *conn)
{
    if (conn->worker->cell)
        return;
    for (unsigned slot = 0; slot < DM_GATEWAY_WORKERS_MAX; slot++)
        if (slot != conn->worker->slot && conn->has_slots[slot / 64] >> slot % 64 & 1)
            dm_keeper_sockets_minded(conn->keeper, conn->worker, slot);
}

/* NULL: there is none such. */
static struct dm_keeper_worker *find_seat(const struct dm_worker_conn *conn, const struct dm_worker_hello *hello)
{
    const struct dm_keeper_cell *cell = conn->of ? dm_keeper_cell_find(conn->keeper, conn->of) : NULL;

    if (hello->bank >= DM_GATEWAY_BANKS || (conn->of && !cell) ||
        hello->slot >= (cell ? cell->n_slots : DM_GATEWAY_WORKERS_MAX))
        return NULL;
    return dm_keeper_seat(conn->keeper, cell ? cell->slots[hello->slot] : hello->slot, hello->bank);
}

static void meet(struct dm_worker_conn *conn, const struct dm_worker_hello *hello)
{
    struct dm_keeper_worker *worker = find_seat(conn, hello);

    if (!worker || !is_ours(worker, conn->of ? conn->pid : hello->pid)) {
        dm_log(DM_LOG_ERROR, "worker_stranger", "process %d says that it is worker %u, which is another process",
               hello->pid, hello->slot);
        dm_channel_close(&conn->channel);
        return;
    }
    conn->knows_part = hello->link_version > 0;
    take_tickets(conn->keeper, worker->cell, &hello->tickets);
    attach(conn, worker);
    take_hello(worker, hello);
    dm_log(DM_LOG_INFO, "worker_connected", "worker %u%s%s, pid %d, is connected%s", hello->slot,
           conn->of ? " of the cell of tenant " : "", conn->of ? conn->of->name : "", (int)worker->process.pid,
           worker->is_ours ? "" : "; it runs another program, or with other options");
    feed(worker);
    note_minded(conn);
    dm_keeper_on_known(worker);
}

static struct dm_str bounded(const char *text, size_t max)
{
    return dm_str_n(text, strnlen(text, max));
}

/* A cell counts for its tenant alone. */
static bool is_its(const struct dm_keeper_worker *worker, struct dm_str tenant)
{
    return !worker->cell || dm_str_eq(dm_str_of(worker->cell->tenant->name), tenant);
}

static void on_usage(const struct dm_keeper_worker *worker, struct dm_str payload)
{
    struct dm_keeper *k = worker->keeper;
    struct dm_worker_usage usage;

    for (size_t at = 0; at + sizeof(usage) <= payload.len; at += sizeof(usage)) {
        memcpy(&usage, payload.ptr + at, sizeof(usage));
        if (!is_its(worker, bounded(usage.tenant, sizeof(usage.tenant))))
            continue;
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

    if (type == DM_WORKER_APPLIED && payload.len == sizeof(applied) && conn->worker->is_fed) {
        memcpy(&applied, payload.ptr, sizeof(applied));
        applied.message[sizeof(applied.message) - 1] = '\0';
        dm_keeper_on_applied(conn->keeper, conn->worker, &applied);
    } else if (type == DM_WORKER_USAGE) {
        on_usage(conn->worker, payload);
    } else if (type == DM_WORKER_SERVING) {
        dm_keeper_on_serving(conn->worker);
    } else if (type == DM_WORKER_LEAVING) {
        dm_keeper_on_leaving(conn->worker);
    } else if (type == DM_WORKER_CELL_LEFT && payload.len == sizeof(struct dm_worker_cell)) {
        dm_keeper_cell_on_left(conn->worker, bounded(payload.ptr, DM_UNIT_TENANT_MAX));
    }
}

/* What is shorter than ours comes from an older program, what is longer from a newer one (W3). */
static bool read_grown(struct dm_str payload, size_t min, void *ret, size_t size)
{
    if (payload.len < min)
        return false;
    memset(ret, 0, size);
    memcpy(ret, payload.ptr, DM_MIN(payload.len, size));
    return true;
}

static void on_listener(struct dm_worker_conn *conn, struct dm_str payload, int fd)
{
    struct dm_worker_socket name;

    if (!read_grown(payload, sizeof(name), &name, sizeof(name)) || name.slot >= DM_GATEWAY_WORKERS_MAX ||
        !memchr(name.address, '\0', sizeof(name.address))) {
        close(fd);
        return;
    }
    if (!dm_str_starts(dm_str_of(name.address), DM_STR("unix:")))
        conn->has_slots[name.slot / 64] |= UINT64_C(1) << name.slot % 64;
    dm_keeper_sockets_keep(conn->keeper, &name, fd);
}

static void on_hello(struct dm_worker_conn *conn, struct dm_str payload)
{
    struct dm_worker_hello hello;

    if (!read_grown(payload, DM_WORKER_HELLO_MIN, &hello, sizeof(hello)))
        return;
    meet(conn, &hello);
    dm_mem_wipe(&hello, sizeof(hello));
}

static void on_message(struct dm_channel *channel, uint32_t type, struct dm_str payload, int fd)
{
    struct dm_worker_conn *conn = DM_CONTAINER_OF(channel, struct dm_worker_conn, channel);

    if (type == DM_WORKER_LISTENER && fd >= 0 && !conn->of) {
        on_listener(conn, payload, fd);
        return;
    }
    if (fd >= 0)
        close(fd);
    if (conn->worker)
        on_worker_message(conn, type, payload);
    else if (type == DM_WORKER_HELLO)
        on_hello(conn, payload);
}

static void on_closed(struct dm_channel *channel, int code)
{
    struct dm_worker_conn *conn = DM_CONTAINER_OF(channel, struct dm_worker_conn, channel);
    struct dm_keeper *k = conn->keeper;
    struct dm_keeper_worker *worker = conn->worker;

    k->n_conns--;
    dm_free(conn);
    if (worker) {
        worker->conn = NULL;
        dm_keeper_on_unplugged(worker);
    }
    dm_keeper_end_when_parted(k);
}

static void open_conn(struct dm_keeper *k, int fd, uint32_t uid, const struct dm_held_tenant *of)
{
    struct dm_peer_cred cred;
    struct dm_worker_conn *conn;

    if (k->sys->ops->peer_cred(k->sys, fd, &cred) < 0 || (cred.uid != uid && cred.uid != 0)) {
        dm_log(DM_LOG_WARN, "worker_stranger", "a process of another user connected to the keeper's socket");
        close(fd);
        return;
    }
    conn = dm_calloc(1, sizeof(*conn));
    conn->keeper = k;
    conn->of = of;
    conn->pid = (int32_t)cred.pid;
    conn->channel.on_message = on_message;
    conn->channel.on_closed = on_closed;
    if (dm_channel_open(&conn->channel, k->loop, fd, QUEUE_BYTES) < 0)
        dm_free(conn);
    else
        k->n_conns++;
}

static void on_accept(struct dm_listener *listener, int fd, const struct dm_addr *peer)
{
    open_conn(DM_CONTAINER_OF(listener, struct dm_keeper, socket), fd, geteuid(), NULL);
}

void dm_keeper_on_cell_accept(struct dm_listener *listener, int fd, const struct dm_addr *peer)
{
    const struct dm_keeper_cell *cell = DM_CONTAINER_OF(listener, struct dm_keeper_cell, socket);
    uint32_t uid = cell->options.cell_uid;

    open_conn(cell->keeper, fd, uid == DM_GATEWAY_NO_UID ? geteuid() : uid, cell->tenant);
}

/* --- life -------------------------------------------------------------------------------------------------------- */

int dm_keeper_conns_listen(struct dm_keeper *k, struct dm_err *err)
{
    char path[DM_GATEWAY_PATH_MAX + 8];
    struct dm_addr addr;
    int rc, n = snprintf(path, sizeof(path), "unix:%s/" DM_GATEWAY_KEEPER_SOCKET, k->options.data_dir);

    if ((rc = dm_addr_parse(dm_str_n(path, (size_t)n), &addr, err)) < 0)
        return rc;
    k->ticket_timer.on_due = on_ticket_timer;
    arm_tickets(k);
    return dm_listener_open(&k->socket, k->loop, &addr, BACKLOG, false, on_accept, err);
}

void dm_keeper_conns_close(struct dm_keeper *k)
{
    dm_timer_cancel(k->loop, &k->ticket_timer);
    dm_listener_close(&k->socket);
    dm_keeper_cells_close_sockets(k);
    for (struct dm_keeper_worker *worker = dm_keeper_next_worker(k, NULL); worker;
         worker = dm_keeper_next_worker(k, worker))
        if (worker->conn)
            dm_channel_close(&worker->conn->channel);
}
