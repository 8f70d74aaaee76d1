/* The keeper's workers: processes, each in a seat. A slot is one share of the work, a seat one bank of a slot: while a worker
 * takes over from another, both sit in the slot, with locks, counters and log files of their own and the same sockets.
 *
 * A seat:  empty --[its lock is free]--> started --[HELLO]--> known
 *          empty --[its lock is held: a survivor]--> adopted --[HELLO]--> known
 *          known --[DRAIN]--> leaving --[ends]--> empty        any --[ends]--> empty
 *
 * A slot:  unsettled --[every survivor in it is known]--> settled: one of our program and options is appointed, or started
 *          settled --[the appointed one serves]--> the others leave
 *          settled --[the appointed one ends]--> it is started again: at once, then with back-off
 *          settled --[the appointed one wants to leave]--> another is started in the other seat
 *
 * S1. Who serves leaves only when the one that is appointed in its place serves; those of slots that are given up, when all
 *     slots are served. A program that does not come up costs nothing but an alarm.
 * S2. A worker whose loop does not turn any more is killed. What counts is looks of the keeper, not time, so that a machine that
 *     was suspended kills nobody. */
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "gateway/keeper/keeper_int.h"
#include "gateway/observe/counters.h"

enum { HELLO_MS = 30000, LOCK_RETRY_MS = 50, KILL_MS = 1000, IDLE_MS = 1000 };
enum { CELL_BACKOFF_MIN_MS = 50, CELL_BACKOFF_MAX_MS = 60000, CELL_STABLE_MS = 10000 };
enum { PULSE_MS = 1000, STILL_MAX = 8 }; /* a worker tells its turns once a second */

static int open_counters(struct dm_keeper_worker *worker, bool replaces_other);

/* --- seats ------------------------------------------------------------------------------------------------------- */

struct dm_keeper_worker *dm_keeper_next_worker(const struct dm_keeper *k, const struct dm_keeper_worker *worker)
{
    unsigned at = worker ? worker->slot * DM_GATEWAY_BANKS + worker->bank + 1 : 0;

    for (; at < DM_GATEWAY_SLOTS_MAX * DM_GATEWAY_BANKS; at++)
        if (k->workers[at / DM_GATEWAY_BANKS][at % DM_GATEWAY_BANKS])
            return k->workers[at / DM_GATEWAY_BANKS][at % DM_GATEWAY_BANKS];
    return NULL;
}

bool dm_keeper_worker_serves(const struct dm_keeper_worker *worker)
{
    return worker->conn && worker->is_serving && !worker->is_leaving;
}

bool dm_keeper_slot_is_served(const struct dm_keeper *k, unsigned slot)
{
    for (int bank = 0; bank < DM_GATEWAY_BANKS; bank++)
        if (k->workers[slot][bank] && dm_keeper_worker_serves(k->workers[slot][bank]))
            return true;
    return false;
}

/* For the log. */
struct label {
    char text[DM_UNIT_TENANT_MAX + 48];
};

static struct label label_of(const struct dm_keeper_worker *worker)
{
    struct label label;

    if (worker->cell)
        snprintf(label.text, sizeof(label.text), "worker %u of the cell of tenant %s", worker->number,
                 worker->cell->tenant->name);
    else
        snprintf(label.text, sizeof(label.text), "worker %u", worker->number);
    return label;
}

static bool is_current(const struct dm_keeper_worker *worker)
{
    return worker->keeper->current[worker->slot] == worker;
}

static bool runs(const struct dm_keeper_worker *worker)
{
    return worker->process.state == DM_PROCESS_RUNNING || worker->process.state == DM_PROCESS_STOPPING;
}

/* --- who is to serve ----------------------------------------------------------------------------------------------- */

/* A survivor that has not said yet what it is. */
static bool is_unsettled(const struct dm_keeper *k, unsigned slot)
{
    for (int bank = 0; bank < DM_GATEWAY_BANKS; bank++) {
        const struct dm_keeper_worker *worker = k->workers[slot][bank];
        if (worker && (worker->is_lock_busy || (runs(worker) && worker->process.is_adopted && !worker->is_known)))
            return true;
    }
    return false;
}

static bool may_stay(const struct dm_keeper_worker *worker)
{
    return worker->conn && worker->is_ours && !worker->is_retiring && !worker->is_leaving;
}

static void appoint(struct dm_keeper *k, unsigned slot)
{
    for (unsigned bank = 0; bank < DM_GATEWAY_BANKS && !k->current[slot]; bank++)
        if (k->workers[slot][bank] && may_stay(k->workers[slot][bank]))
            k->current[slot] = k->workers[slot][bank];
    for (unsigned bank = 0; bank < DM_GATEWAY_BANKS && !k->current[slot]; bank++) {
        struct dm_keeper_worker *worker = dm_keeper_seat(k, slot, bank);
        if (worker->process.state != DM_PROCESS_IDLE)
            continue;
        k->current[slot] = worker;
        dm_process_start(&worker->process);
    }
}

static bool current_serves(const struct dm_keeper *k, unsigned slot)
{
    return k->current[slot] && dm_keeper_worker_serves(k->current[slot]);
}

/* All that are to, of the cell or (NULL) of the shared ones. */
static bool all_serve(const struct dm_keeper *k, const struct dm_keeper_cell *cell)
{
    for (unsigned i = 0; i < (cell ? cell->options.n_workers : k->options.n_workers); i++)
        if (!current_serves(k, cell ? cell->slots[i] : i))
            return false;
    return true;
}

static void tell_drain(struct dm_keeper_worker *worker, uint32_t ms, uint32_t idle_ms)
{
    worker->is_leaving = true;
    dm_keeper_tell_drain(worker, ms, idle_ms);
    dm_timer_arm(worker->keeper->loop, &worker->timer, ms + KILL_MS);
}

/* S1 */
static void let_go(struct dm_keeper_worker *worker)
{
    struct dm_keeper *k = worker->keeper;

    dm_log(DM_LOG_INFO, "worker_replaced", "%s, pid %d, has been replaced; it drains", label_of(worker).text,
           (int)worker->process.pid);
    if (!worker->cell)
        dm_keeper_sockets_retire(k, worker->slot);
    tell_drain(worker, (uint32_t)k->options.drain_ms, (uint32_t)k->options.drain_ms);
}

/* S1 */
static bool may_let_go(const struct dm_keeper *k, unsigned slot, bool is_wanted)
{
    const struct dm_keeper_cell *cell = k->cell_of[slot];

    if (is_wanted)
        return current_serves(k, slot);
    return (cell && cell->is_closing) || all_serve(k, cell);
}

void dm_keeper_settle(struct dm_keeper *k, unsigned slot)
{
    bool is_wanted = dm_keeper_slot_is_wanted(k, slot);

    if (k->is_stopping || is_unsettled(k, slot))
        return;
    if (is_wanted && !k->current[slot]) {
        appoint(k, slot);
        dm_keeper_workers_sync(k);
    }
    if (!may_let_go(k, slot, is_wanted))
        return;
    for (int bank = 0; bank < DM_GATEWAY_BANKS; bank++) {
        struct dm_keeper_worker *worker = k->workers[slot][bank];
        if (worker && worker != k->current[slot] && runs(worker) && worker->conn && !worker->is_leaving)
            let_go(worker);
    }
}

void dm_keeper_settle_all(struct dm_keeper *k, const struct dm_keeper_cell *cell)
{
    for (unsigned i = 0; i < cell->n_slots; i++)
        dm_keeper_settle(k, cell->slots[i]);
}

/* Slots that are not wanted any more, once those that are are served. */
static void settle_others(struct dm_keeper *k, const struct dm_keeper_cell *cell)
{
    if (cell) {
        dm_keeper_settle_all(k, cell);
        return;
    }
    for (unsigned slot = k->options.n_workers; slot < DM_GATEWAY_WORKERS_MAX && all_serve(k, NULL); slot++)
        dm_keeper_settle(k, slot);
}

/* --- what workers do --------------------------------------------------------------------------------------------- */

const struct dm_counters_page *dm_keeper_counters(const struct dm_keeper_worker *worker)
{
    return worker->cell ? worker->seen : worker->counters.ptr;
}

static void on_pulse(struct dm_timer *timer)
{
    struct dm_keeper_worker *worker = DM_CONTAINER_OF(timer, struct dm_keeper_worker, pulse);
    const struct dm_counters_page *page;
    uint64_t turns;

    if (worker->cell)
        dm_keeper_cell_read_counters(worker);
    page = dm_keeper_counters(worker);
    turns = __atomic_load_n(&page->worker.loop_turns, __ATOMIC_RELAXED);
    worker->n_still = turns == worker->seen_turns ? worker->n_still + 1 : 0;
    worker->seen_turns = turns;
    dm_timer_arm(worker->keeper->loop, timer, PULSE_MS);
    dm_keeper_sockets_mind(worker->keeper);
    if (worker->n_still < STILL_MAX)
        return;
    worker->n_still = 0;
    dm_log(DM_LOG_ERROR, "worker_hangs", "%s does not turn any more; it is killed", label_of(worker).text);
    dm_process_signal(&worker->process, SIGKILL);
}

void dm_keeper_on_known(struct dm_keeper_worker *worker)
{
    struct dm_keeper *k = worker->keeper;

    worker->n_still = 0;
    worker->is_lock_busy = false;
    if (worker->is_leaving)
        dm_timer_arm(k->loop, &worker->timer, (uint32_t)k->options.drain_ms + KILL_MS);
    else
        dm_timer_cancel(k->loop, &worker->timer);
    if (dm_keeper_counters(worker))
        dm_timer_arm(k->loop, &worker->pulse, PULSE_MS);
    if (k->is_stopping) {
        tell_drain(worker, (uint32_t)k->options.drain_ms, IDLE_MS);
        return;
    }
    if (worker->is_fed)
        dm_keeper_count_in(k, worker);
    else
        dm_keeper_count_out(k, worker);
    dm_keeper_settle(k, worker->slot);
    dm_keeper_workers_sync(k);
    dm_keeper_sockets_mind(k);
}

void dm_keeper_on_serving(struct dm_keeper_worker *worker)
{
    struct dm_keeper *k = worker->keeper;

    worker->is_serving = true;
    if (worker->cell)
        dm_keeper_cell_on_serving(worker->cell);
    dm_keeper_settle(k, worker->slot);
    settle_others(k, worker->cell);
    dm_keeper_sockets_mind(k);
}

void dm_keeper_on_leaving(struct dm_keeper_worker *worker)
{
    struct dm_keeper *k = worker->keeper;

    if (k->is_stopping || worker->is_leaving)
        return;
    dm_log(DM_LOG_INFO, "worker_leaves", "%s, pid %d, was told to end; another one is started", label_of(worker).text,
           (int)worker->process.pid);
    worker->is_retiring = true;
    if (is_current(worker))
        k->current[worker->slot] = NULL;
    dm_keeper_settle(k, worker->slot);
}

void dm_keeper_on_unplugged(struct dm_keeper_worker *worker)
{
    struct dm_keeper *k = worker->keeper;

    worker->is_synced = worker->is_serving = false;
    dm_timer_cancel(k->loop, &worker->pulse);
    dm_keeper_forget_applied(k, worker);
    dm_keeper_count_out(k, worker);
    if (!k->is_stopping && !worker->is_leaving && worker->process.state == DM_PROCESS_RUNNING)
        dm_timer_arm(k->loop, &worker->timer, HELLO_MS);
    if (k->is_stopping)
        dm_keeper_end_when_all_gone(k);
    else
        dm_keeper_sockets_mind(k);
    dm_keeper_cells_on_unplugged(worker);
    if (worker->cell)
        dm_keeper_cell_end_when_empty(worker->cell);
}

/* --- processes --------------------------------------------------------------------------------------------------- */

static int on_spawn(struct dm_process *process, struct dm_spawn *spawn)
{
    struct dm_keeper_worker *worker = DM_CONTAINER_OF(process, struct dm_keeper_worker, process);
    struct dm_keeper *k = worker->keeper;
    int rc = worker->cell ? dm_keeper_cell_open_counters(worker) : open_counters(worker, true);

    if (rc < 0)
        return rc;
    if (!worker->cell)
        dm_counters_close(worker->counters.ptr, k->store.n_slots); /* also of one that died with its keeper */
    dm_gateway_options_args(dm_keeper_slot_options(k, worker->slot), DM_ROLE_WORKER, worker->number, worker->bank,
                            &k->spawn_args);
    dm_spawn_arg(spawn, "daemun-gateway");
    for (size_t i = 0; i < k->spawn_args.count; i++)
        dm_spawn_arg(spawn, k->spawn_args.items[i]);
    return 0;
}

static void on_spawned(struct dm_process *process, pid_t pid)
{
    struct dm_keeper_worker *worker = DM_CONTAINER_OF(process, struct dm_keeper_worker, process);

    if (pid < 0) {
        dm_log(DM_LOG_ERROR, "worker_start", "can't start %s: %s", label_of(worker).text, strerror(-pid));
        return;
    }
    if (worker->cell)
        dm_keeper_cell_on_spawned(worker, pid);
    dm_log(DM_LOG_INFO, "worker_started", "started %s, pid %d", label_of(worker).text, (int)pid);
    dm_timer_arm(worker->keeper->loop, &worker->timer, HELLO_MS);
}

/* Also of channels: what a worker said last is read. */
static bool all_are_gone(const struct dm_keeper *k)
{
    for (const struct dm_keeper_worker *worker = dm_keeper_next_worker(k, NULL); worker;
         worker = dm_keeper_next_worker(k, worker))
        if (worker->process.state != DM_PROCESS_IDLE || worker->conn)
            return false;
    return true;
}

void dm_keeper_end_when_all_gone(struct dm_keeper *k)
{
    if (all_are_gone(k))
        dm_loop_stop(k->loop);
}

/* The seat is as if nobody had sat in it; the channel tells its own end. */
static void vacate(struct dm_keeper_worker *worker)
{
    struct dm_keeper *k = worker->keeper;

    dm_timer_cancel(k->loop, &worker->timer);
    dm_timer_cancel(k->loop, &worker->pulse);
    worker->is_known = worker->is_ours = worker->is_serving = worker->is_retiring = worker->is_leaving = false;
    if (worker->cell) {
        dm_keeper_cell_read_counters(worker);
        if (worker->seen)
            dm_counters_close(worker->seen, DM_COUNTERS_TENANTS);
    } else if (worker->counters.ptr) {
        dm_counters_close(worker->counters.ptr, k->store.n_slots);
    }
}

static void log_end(const struct dm_keeper_worker *worker, int status, bool had_served)
{
    char text[DM_PROCESS_STATUS_MAX];

    dm_process_status_text(status, text);
    if (!is_current(worker))
        dm_log(DM_LOG_INFO, "worker_ended", "%s, which was replaced, ended (%s)", label_of(worker).text, text);
    else if (!had_served && dm_keeper_slot_is_served(worker->keeper, worker->slot))
        dm_log(DM_LOG_ERROR, "upgrade_stuck",
               "%s of this program ended (%s) before it served; the former one serves on, and it is tried again",
               label_of(worker).text, text);
    else
        dm_log(DM_LOG_ERROR, "worker_died", "%s ended (%s); another one is started", label_of(worker).text, text);
}

static void on_exit_of_worker(struct dm_process *process, int status)
{
    struct dm_keeper_worker *worker = DM_CONTAINER_OF(process, struct dm_keeper_worker, process);
    struct dm_keeper *k = worker->keeper;
    bool had_served = worker->is_serving;
    bool was_stable = dm_loop_now_ns(k->loop) - process->started_ns >= CELL_STABLE_MS * UINT64_C(1000000);
    struct dm_keeper_cell *cell = worker->cell;

    vacate(worker);
    if (k->is_stopping) {
        dm_process_stop(process);
        dm_keeper_end_when_all_gone(k);
        return;
    }
    log_end(worker, status, had_served);
    if (is_current(worker)) {
        worker->n_restarts++;
        if (cell)
            dm_keeper_cell_on_crash(worker, was_stable);
    } else {
        dm_process_stop(process);
    }
    dm_keeper_settle(k, worker->slot);
    dm_keeper_sockets_mind(k);
    if (cell)
        dm_keeper_cell_end_when_empty(cell);
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

/* A cell that crashes whenever it is started costs the others a start at a time. */
static const struct dm_process_type cell_process_type = {
    .on_spawn = on_spawn,
    .on_spawned = on_spawned,
    .on_exit = on_exit_of_worker,
    .backoff_min_ms = CELL_BACKOFF_MIN_MS,
    .backoff_max_ms = CELL_BACKOFF_MAX_MS,
    .stable_ms = CELL_STABLE_MS,
    .stop_ms = KILL_MS,
};

/* What a lock of a cell says, its processes wrote: it counts when it names one of them. */
static bool is_of_cell(const struct dm_keeper_cell *cell, int pid)
{
    char path[32];
    struct stat st;

    snprintf(path, sizeof(path), "/proc/%d", pid);
    return stat(path, &st) == 0 &&
           st.st_uid == (cell->options.cell_uid == DM_GATEWAY_NO_UID ? geteuid() : cell->options.cell_uid);
}

static unsigned number_of(const struct dm_keeper *k, unsigned slot)
{
    const struct dm_keeper_cell *cell = k->cell_of[slot];
    unsigned n = 0;

    while (cell && cell->slots[n] != slot)
        n++;
    return cell ? n : slot;
}

/* A seat whose lock a process holds is a survivor's. */
void dm_keeper_look_for_survivor(struct dm_keeper *k, unsigned slot, unsigned bank)
{
    struct dm_keeper_worker *worker;
    char path[DM_GATEWAY_PATH_MAX];
    int pid;

    dm_gateway_path(dm_keeper_slot_options(k, slot), path, DM_GATEWAY_WORKER_LOCK, number_of(k, slot),
                    dm_gateway_bank_suffix[bank]);
    if ((pid = dm_lockfile_holder(path)) == 0)
        return;
    if (pid > 0 && k->cell_of[slot] && !is_of_cell(k->cell_of[slot], pid))
        return;
    worker = dm_keeper_seat(k, slot, bank);
    worker->is_lock_busy = pid == -EAGAIN;
    if (worker->is_lock_busy)
        dm_timer_arm(k->loop, &worker->timer, LOCK_RETRY_MS);
    else if (pid > 0 && dm_process_adopt(&worker->process, pid) == 0) {
        dm_log(DM_LOG_INFO, "worker_adopted", "%s, pid %d, serves already", label_of(worker).text, pid);
        if (!worker->cell)
            (void)open_counters(worker, false);
        else
            dm_keeper_cell_adopt_counters(worker);
        dm_timer_arm(k->loop, &worker->timer, HELLO_MS);
    }
}

static void on_due(struct dm_timer *timer)
{
    struct dm_keeper_worker *worker = DM_CONTAINER_OF(timer, struct dm_keeper_worker, timer);

    if (worker->is_lock_busy) {
        worker->is_lock_busy = false;
        if (worker->process.state == DM_PROCESS_IDLE)
            dm_keeper_look_for_survivor(worker->keeper, worker->slot, worker->bank);
        dm_keeper_settle(worker->keeper, worker->slot);
        return;
    }
    dm_log(DM_LOG_ERROR, "worker_silent", "%s does not %s; it is killed", label_of(worker).text,
           worker->is_leaving ? "end" : "connect");
    dm_process_signal(&worker->process, SIGKILL);
}

/* A survivor may keep counters of another layout: those are not ours to read, nor to replace while it lives. */
static int open_counters(struct dm_keeper_worker *worker, bool replaces_other)
{
    struct dm_err err = {0};
    char path[DM_GATEWAY_PATH_MAX];
    int rc;

    if (worker->counters.ptr)
        return 0;
    dm_gateway_path(&worker->keeper->options, path, DM_GATEWAY_COUNTERS, worker->slot,
                    dm_gateway_bank_suffix[worker->bank]);
    rc = dm_shm_open(&worker->counters, path, DM_GATEWAY_COUNTERS_KIND, DM_COUNTERS_VERSION,
                     sizeof(struct dm_counters_page), replaces_other, &err);
    if (rc < 0)
        dm_log(DM_LOG_ERROR, "worker_counters", "%s", err.message);
    return rc;
}

struct dm_keeper_worker *dm_keeper_seat(struct dm_keeper *k, unsigned slot, unsigned bank)
{
    struct dm_keeper_worker *worker = k->workers[slot][bank];
    char log_dir[DM_GATEWAY_PATH_MAX], suffix[DM_UNIT_TENANT_MAX + 8];

    if (worker)
        return worker;
    worker = k->workers[slot][bank] = dm_calloc(1, sizeof(*worker));
    worker->keeper = k;
    worker->cell = k->cell_of[slot];
    worker->slot = slot;
    worker->bank = bank;
    worker->number = number_of(k, slot);
    worker->counters_fd = -1;
    worker->timer.on_due = on_due;
    worker->pulse.on_due = on_pulse;
    dm_process_init(&worker->process, k->loop, worker->cell ? &cell_process_type : &process_type);
    dm_gateway_path(&k->options, log_dir, "log");
    snprintf(suffix, sizeof(suffix), "%s%s%s", dm_gateway_bank_suffix[bank], worker->cell ? "-" : "",
             worker->cell ? worker->cell->tenant->name : "");
    dm_log_writer_init(&worker->log, k->loop, k->options.log_dir ? k->options.log_dir : log_dir, worker->number,
                       suffix);
    return worker;
}

/* --- all of them ------------------------------------------------------------------------------------------------- */

/* What former workers of a seat counted is shown on, also when nobody sits in it now. */
static int open_first_bank(struct dm_keeper *k, unsigned slot, struct dm_err *err)
{
    struct dm_keeper_worker *worker = dm_keeper_seat(k, slot, 0);

    if (worker->process.state == DM_PROCESS_IDLE && !worker->is_lock_busy && open_counters(worker, true) < 0)
        return dm_fail(err, DM_EIO, "", "--data: the pages below run/ can't be opened");
    return 0;
}

static bool has_counters(const struct dm_keeper *k, unsigned slot, unsigned bank)
{
    char path[DM_GATEWAY_PATH_MAX];

    dm_gateway_path(&k->options, path, DM_GATEWAY_COUNTERS, slot, dm_gateway_bank_suffix[bank]);
    return access(path, F_OK) == 0;
}

int dm_keeper_workers_start(struct dm_keeper *k, struct dm_err *err)
{
    int rc;

    for (unsigned slot = 0; slot < DM_GATEWAY_WORKERS_MAX; slot++)
        for (unsigned bank = 0; bank < DM_GATEWAY_BANKS; bank++)
            dm_keeper_look_for_survivor(k, slot, bank);
    for (unsigned slot = 0; slot < k->options.n_workers; slot++) {
        if ((rc = open_first_bank(k, slot, err)) < 0)
            return rc;
        if (has_counters(k, slot, 1) && dm_keeper_seat(k, slot, 1)->process.state == DM_PROCESS_IDLE)
            (void)open_counters(k->workers[slot][1], true);
    }
    if ((rc = dm_keeper_conns_listen(k, err)) < 0)
        return rc;
    for (unsigned slot = 0; slot < k->options.n_workers; slot++)
        dm_keeper_settle(k, slot);
    dm_keeper_cells_start(k);
    return 0;
}

static void on_drain_due(struct dm_timer *timer)
{
    struct dm_keeper *k = DM_CONTAINER_OF(timer, struct dm_keeper, drain_timer);

    for (struct dm_keeper_worker *worker = dm_keeper_next_worker(k, NULL); worker;
         worker = dm_keeper_next_worker(k, worker))
        dm_process_stop(&worker->process);
    dm_keeper_end_when_all_gone(k);
}

void dm_keeper_workers_drain(struct dm_keeper *k, uint32_t ms)
{
    dm_keeper_sockets_hush(k);
    dm_keeper_cells_hush(k);
    for (struct dm_keeper_worker *worker = dm_keeper_next_worker(k, NULL); worker;
         worker = dm_keeper_next_worker(k, worker)) {
        if (worker->conn)
            tell_drain(worker, ms, DM_MIN(ms, (uint32_t)IDLE_MS));
        else
            dm_process_stop(&worker->process); /* it drains at SIGTERM too */
    }
    dm_keeper_end_when_all_gone(k);
    k->drain_timer.on_due = on_drain_due;
    dm_timer_arm(k->loop, &k->drain_timer, ms > 0 ? ms + KILL_MS : 0);
}

void dm_keeper_free_seat(struct dm_keeper_worker *worker)
{
    struct dm_keeper *k = worker->keeper;

    dm_timer_cancel(k->loop, &worker->timer);
    dm_timer_cancel(k->loop, &worker->pulse);
    dm_process_release(&worker->process);
    dm_log_writer_done(&worker->log);
    dm_shm_close(&worker->counters);
    if (worker->counters_fd >= 0)
        close(worker->counters_fd);
    dm_free(worker->seen);
    k->workers[worker->slot][worker->bank] = NULL;
    dm_free(worker);
}

void dm_keeper_workers_done(struct dm_keeper *k)
{
    struct dm_keeper_worker *worker;

    dm_timer_cancel(k->loop, &k->drain_timer);
    dm_keeper_sockets_done(k);
    while ((worker = dm_keeper_next_worker(k, NULL)))
        dm_keeper_free_seat(worker);
}
