/* Cells: the worker processes of a dedicated tenant. Their seats are those of workers.c, in slots behind the shared ones; here is what
 * makes them a cell: whose it is, as whom it runs, what is kept for it, and when shared workers pass on to it.
 *
 *   none     --[the grants say dedicated]--> starting: shared workers serve the tenant still
 *   starting --[a worker of its serves]--> gated: shared workers keep the grants alone, and give to its queue (or relay)
 *   gated    --[it crashes again and again]--> held back: shared workers tell callers so --[one serves]--> gated
 *   any      --[the grants say shared]--> ending: shared workers get the tenant's units again, then leave the cell
 *   ending   --[all have left]--> closing: its workers take what is left in the queue and drain --[all gone]--> none
 *   A keeper that starts finds its cells on the disk and gates them at once: nobody else has served their tenants before.
 *
 * X1. A cell's process is told of its own tenant alone, has no path to anything of others', and what it says or writes is held against
 *     its tenant (worker_conn.c). It may spoil its own pages: the keeper reads them and maps none, and waits for none of its locks.
 * X2. A cell that dies is started again: at once, then with pauses that grow to a minute. The queue, and what waits in it, is the
 *     keeper's. Held back, it has a new and empty queue: nobody waits for minutes.
 * X3. Each keeper makes queues of its own. A cell's worker takes from a former keeper's until those who give to it have been given the
 *     new one. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "gateway/keeper/keeper_int.h"
#include "gateway/observe/counters.h"
#include "gateway/process/program.h"
#include "io/handover.h"
#include "snapshot/grants.h"
#include "snapshot/unit.h"

enum { QUEUE_BYTES = 96 << 10, BACKLOG = 64, ALARM_MIN = 3, HOLD_MS = 1000 };
enum { DIR_MODE = 0711, PAGES_MODE = 0777, FILE_MODE = 0666 }; /* what lies above is the gateway's alone */

/* --- whose -------------------------------------------------------------------------------------------------------- */

struct dm_keeper_cell *dm_keeper_cell_find(const struct dm_keeper *k, const struct dm_held_tenant *tenant)
{
    struct dm_keeper_cell *cell = k->cells;

    while (cell && cell->tenant != tenant)
        cell = cell->next;
    return cell;
}

bool dm_keeper_cell_feeds(const struct dm_keeper_worker *worker, const struct dm_held_unit *unit)
{
    const struct dm_keeper_cell *cell;

    if (worker->cell)
        return unit->tenant == worker->cell->tenant;
    if (unit->kind == DM_UNIT_GRANTS)
        return true;
    cell = dm_keeper_cell_find(worker->keeper, unit->tenant);
    return !cell || !cell->is_gated;
}

static unsigned number_of(const struct dm_keeper_cell *cell, unsigned slot)
{
    unsigned n = 0;

    while (n < cell->n_slots && cell->slots[n] != slot)
        n++;
    return n;
}

bool dm_keeper_slot_is_wanted(const struct dm_keeper *k, unsigned slot)
{
    const struct dm_keeper_cell *cell = k->cell_of[slot];

    if (!cell)
        return slot < k->options.n_workers;
    return !cell->is_closing && number_of(cell, slot) < cell->options.n_workers;
}

const struct dm_gateway_options *dm_keeper_slot_options(const struct dm_keeper *k, unsigned slot)
{
    return k->cell_of[slot] ? &k->cell_of[slot]->options : &k->options;
}

/* What the grants on the disk say; false when they can't be read, and nothing is to change. */
static bool read_bounds(const struct dm_keeper *k, const struct dm_held_tenant *tenant, struct dm_ucell *ret)
{
    const struct dm_held_unit *grants = &tenant->units[DM_UNIT_GRANTS];
    char path[DM_GATEWAY_PATH_MAX];
    struct dm_unit *unit;
    struct dm_err err = {0};

    *ret = (struct dm_ucell){0};
    if (grants->is_gone || dm_mark_is_none(grants->live))
        return true;
    dm_store_unit_path(&k->store, grants, path);
    if (grants->is_damaged || dm_unit_open(path, &unit, &err) < 0)
        return false;
    if (dm_unit_header(unit)->kind == DM_UNIT_GRANTS)
        *ret = DM_UNIT_ROOT(unit, dm_ugrants)->cell;
    ret->n_workers = DM_MIN(ret->n_workers, (uint32_t)DM_CELL_WORKERS_MAX);
    dm_unit_unref(unit);
    return true;
}

/* --- what is kept for it ------------------------------------------------------------------------------------------ */

static int make_dir(const struct dm_keeper *k, const char *path, unsigned mode, struct dm_err *err)
{
    int rc = dm_sys_make_dirs(k->sys, path, 0700, err);

    if (rc == 0 && chmod(path, mode) < 0)
        rc = dm_fail(err, DM_EIO, "", "can't set the mode of %s: %s", path, strerror(errno));
    return rc;
}

/* An empty file to lock. */
static int make_lock(const char *path, struct dm_err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600), rc = 0;

    if (fd < 0 || fchmod(fd, FILE_MODE) < 0)
        rc = dm_fail(err, DM_EIO, "", "can't make %s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return rc;
}

static int make_dirs(struct dm_keeper *k, const struct dm_keeper_cell *cell, struct dm_err *err)
{
    char path[DM_GATEWAY_PATH_MAX];
    int rc;

    dm_gateway_path(&k->options, path, "cells");
    if ((rc = dm_sys_make_dirs(k->sys, path, 0700, err)) < 0 ||
        (rc = make_dir(k, cell->options.data_dir, DIR_MODE, err)) < 0)
        return rc;
    dm_gateway_path(&cell->options, path, DM_GATEWAY_CELL_PAGES);
    if ((rc = make_dir(k, path, PAGES_MODE, err)) < 0)
        return rc;
    dm_gateway_path(&cell->options, path, "run");
    return make_dir(k, path, DIR_MODE, err);
}

int dm_keeper_cell_open_counters(struct dm_keeper_worker *worker)
{
    const struct dm_gateway_options *options = &worker->cell->options;
    const char *suffix = dm_gateway_bank_suffix[worker->bank];
    char path[DM_GATEWAY_PATH_MAX];
    struct dm_err err = {0};
    int rc;

    dm_gateway_path(options, path, DM_GATEWAY_WORKER_LOCK, worker->number, suffix);
    if ((rc = make_lock(path, &err)) == 0) {
        dm_gateway_path(options, path, DM_GATEWAY_COUNTERS, worker->number, suffix);
        rc = dm_shm_prepare(path, DM_GATEWAY_COUNTERS_KIND, DM_COUNTERS_VERSION, DM_COUNTERS_CELL_BYTES, FILE_MODE,
                            &err);
    }
    if (rc < 0) {
        dm_log(DM_LOG_ERROR, "worker_counters", "%s", err.message);
        return rc;
    }
    if (worker->counters_fd >= 0)
        close(worker->counters_fd);
    worker->counters_fd =
        dm_shm_open_to_read(path, DM_GATEWAY_COUNTERS_KIND, DM_COUNTERS_VERSION, DM_COUNTERS_CELL_BYTES);
    if (!worker->seen)
        worker->seen = dm_calloc(1, sizeof(*worker->seen));
    return 0;
}

void dm_keeper_cell_adopt_counters(struct dm_keeper_worker *worker)
{
    char path[DM_GATEWAY_PATH_MAX];

    dm_gateway_path(&worker->cell->options, path, DM_GATEWAY_COUNTERS, worker->number,
                    dm_gateway_bank_suffix[worker->bank]);
    worker->counters_fd =
        dm_shm_open_to_read(path, DM_GATEWAY_COUNTERS_KIND, DM_COUNTERS_VERSION, DM_COUNTERS_CELL_BYTES);
    if (worker->counters_fd >= 0)
        worker->seen = dm_calloc(1, sizeof(*worker->seen));
}

/* Nothing of listeners, which are everybody's. */
void dm_keeper_cell_read_counters(struct dm_keeper_worker *worker)
{
    struct dm_tenant_counters *tenant;

    if (worker->counters_fd < 0 || !worker->seen)
        return;
    tenant = &worker->seen->tenants[worker->cell->tenant->counter_slot % DM_COUNTERS_TENANTS];
    dm_shm_read(worker->counters_fd, 0, &worker->seen->worker, sizeof(worker->seen->worker));
    dm_shm_read(worker->counters_fd, offsetof(struct dm_counters_page, tenants), tenant, sizeof(*tenant));
}

/* --- gates -------------------------------------------------------------------------------------------------------- */

static struct dm_worker_cell name_of(const struct dm_keeper_cell *cell)
{
    struct dm_worker_cell message;

    memcpy(message.tenant, cell->tenant->name, sizeof(message.tenant));
    return message;
}

static bool is_told_of_cells(const struct dm_keeper_worker *worker)
{
    return !worker->cell && worker->conn && worker->is_fed;
}

static void tell_gate(struct dm_keeper_worker *worker, const struct dm_keeper_cell *cell)
{
    struct dm_worker_cell message = name_of(cell);

    dm_keeper_tell(worker, DM_WORKER_CELL, &message, sizeof(message),
                   cell->is_held_back ? -1 : cell->queue[DM_HANDOVER_GIVING]);
}

void dm_keeper_cells_tell_gates(struct dm_keeper_worker *worker)
{
    for (const struct dm_keeper_cell *cell = worker->keeper->cells; cell && is_told_of_cells(worker); cell = cell->next)
        if (cell->is_gated)
            tell_gate(worker, cell);
}

static void tell_all(const struct dm_keeper_cell *cell)
{
    struct dm_keeper *k = cell->keeper;

    for (struct dm_keeper_worker *worker = dm_keeper_next_worker(k, NULL); worker;
         worker = dm_keeper_next_worker(k, worker))
        if (is_told_of_cells(worker))
            tell_gate(worker, cell);
}

void dm_keeper_cell_give_queue(struct dm_keeper_worker *worker)
{
    dm_keeper_tell(worker, DM_WORKER_QUEUE, NULL, 0, worker->cell->queue[DM_HANDOVER_TAKING]);
}

static void gate(struct dm_keeper_cell *cell)
{
    cell->is_gated = true;
    tell_all(cell);
    dm_log(DM_LOG_INFO, "cell_serves", "tenant %s is served by its cell, number %u", cell->tenant->name,
           cell->tenant->counter_slot);
}

void dm_keeper_cell_on_serving(struct dm_keeper_cell *cell)
{
    if (cell->is_ending)
        return;
    if (!cell->is_gated) {
        gate(cell);
    } else if (cell->is_held_back) {
        cell->is_held_back = false;
        dm_log(DM_LOG_INFO, "cell_back", "the cell of tenant %s serves again", cell->tenant->name);
        tell_all(cell);
    }
}

/* --- crashes (X2) ------------------------------------------------------------------------------------------------- */

bool dm_keeper_cell_is_served(const struct dm_keeper_cell *cell)
{
    for (unsigned i = 0; i < cell->n_slots; i++)
        if (dm_keeper_slot_is_served(cell->keeper, cell->slots[i]))
            return true;
    return false;
}

static void close_queue(struct dm_keeper_cell *cell)
{
    for (int end = 0; end < 2; end++) {
        if (cell->queue[end] >= 0)
            close(cell->queue[end]);
        cell->queue[end] = -1;
    }
}

static int open_queue(struct dm_keeper_cell *cell)
{
    int rc;

    close_queue(cell);
    if ((rc = dm_handover_pair(QUEUE_BYTES, cell->queue)) == 0)
        return 0;
    cell->queue[0] = cell->queue[1] = -1;
    dm_log(DM_LOG_ERROR, "cell_failed", "can't make a queue for the cell of tenant %s: %s", cell->tenant->name,
           strerror(-rc));
    return rc;
}

/* The controller hears that the tenant's units are not live here. */
static void acknowledge(const struct dm_keeper_cell *cell)
{
    for (int kind = DM_UNIT_RELEASE; kind < DM_UNIT_KINDS; kind++)
        dm_keeper_ack_status(cell->keeper, &cell->tenant->units[kind]);
}

static void hold_back(struct dm_keeper_cell *cell)
{
    cell->is_held_back = true;
    (void)open_queue(cell);
    tell_all(cell);
    acknowledge(cell);
}

void dm_keeper_cell_on_crash(struct dm_keeper_worker *worker, bool was_stable)
{
    struct dm_keeper_cell *cell = worker->cell;
    uint32_t wait_ms = worker->process.backoff_ms / 2;

    if (cell->is_ending || cell->keeper->is_stopping)
        return;
    cell->n_crashes++;
    cell->n_crashes_running = was_stable ? 1 : cell->n_crashes_running + 1;
    cell->has_alarm = cell->n_crashes_running >= ALARM_MIN;
    if (cell->has_alarm)
        dm_log(DM_LOG_ERROR, "cell_crashes",
               "the cell of tenant %s has ended %u times one after another; it is started again in %u ms",
               cell->tenant->name, cell->n_crashes_running, wait_ms);
    if (cell->is_gated && !cell->is_held_back && wait_ms >= HOLD_MS && !dm_keeper_cell_is_served(cell))
        hold_back(cell);
}

/* --- ending ------------------------------------------------------------------------------------------------------- */

/* By its name: wherever it may lead, nothing there is touched. */
static int remove_page(void *arg, const char *name)
{
    const struct dm_keeper_cell *cell = arg;
    char path[DM_GATEWAY_PATH_MAX];

    if (strlen(name) < DM_GATEWAY_PATH_MAX / 2) {
        dm_gateway_path(&cell->options, path, DM_GATEWAY_CELL_PAGES "/%s", name);
        (void)unlink(path);
    }
    return 0;
}

/* All that was kept for it. */
static void remove_files(const struct dm_keeper_cell *cell)
{
    static const char *const dirs[] = {"run", DM_GATEWAY_CELL_PAGES, ""};
    struct dm_sys *sys = cell->keeper->sys;
    char path[DM_GATEWAY_PATH_MAX];

    for (unsigned number = 0; number < DM_CELL_WORKERS_MAX; number++)
        for (unsigned bank = 0; bank < DM_GATEWAY_BANKS; bank++) {
            dm_gateway_path(&cell->options, path, DM_GATEWAY_COUNTERS, number, dm_gateway_bank_suffix[bank]);
            (void)unlink(path);
            dm_gateway_path(&cell->options, path, DM_GATEWAY_WORKER_LOCK, number, dm_gateway_bank_suffix[bank]);
            (void)unlink(path);
        }
    dm_gateway_path(&cell->options, path, DM_GATEWAY_CELL_PAGES);
    (void)sys->ops->list(sys, path, remove_page, (void *)(uintptr_t)cell);
    for (size_t i = 0; i < DM_COUNT(dirs); i++) {
        dm_gateway_path(&cell->options, path, "%s", dirs[i]);
        (void)rmdir(path);
    }
}

static void remove_socket(struct dm_keeper_cell *cell)
{
    cell->socket.unlinks = true;
    dm_listener_close(&cell->socket);
}

static void cell_free(struct dm_keeper_cell *cell)
{
    struct dm_keeper *k = cell->keeper;
    struct dm_keeper_cell **at = &k->cells;

    while (*at != cell)
        at = &(*at)->next;
    *at = cell->next;
    for (unsigned i = 0; i < cell->n_slots; i++) {
        for (unsigned bank = 0; bank < DM_GATEWAY_BANKS; bank++)
            if (k->workers[cell->slots[i]][bank])
                dm_keeper_free_seat(k->workers[cell->slots[i]][bank]);
        k->current[cell->slots[i]] = NULL;
        k->cell_of[cell->slots[i]] = NULL;
    }
    close_queue(cell);
    remove_socket(cell);
    dm_mem_wipe(&cell->secrets, sizeof(cell->secrets));
    dm_free(cell);
}

static bool is_empty(const struct dm_keeper_cell *cell)
{
    for (unsigned i = 0; i < cell->n_slots; i++)
        for (unsigned bank = 0; bank < DM_GATEWAY_BANKS; bank++) {
            const struct dm_keeper_worker *worker = cell->keeper->workers[cell->slots[i]][bank];
            if (worker && (worker->process.state != DM_PROCESS_IDLE || worker->conn || worker->is_lock_busy))
                return false;
        }
    return true;
}

/* What the grants say by now is looked at again. */
void dm_keeper_cell_end_when_empty(struct dm_keeper_cell *cell)
{
    struct dm_keeper *k = cell->keeper;
    struct dm_held_tenant *tenant = cell->tenant;

    if (!cell->is_closing || k->is_stopping || !is_empty(cell))
        return;
    if (k->cgroups.version > 0)
        dm_cgroups_remove(&k->cgroups, tenant->name);
    remove_socket(cell);
    remove_files(cell);
    dm_log(DM_LOG_INFO, "cell_ended", "tenant %s has no cell any more", tenant->name);
    cell_free(cell);
    dm_keeper_cells_look(k, tenant);
}

/* Those that wait to be started again are not. */
static void close_cell(struct dm_keeper_cell *cell)
{
    struct dm_keeper *k = cell->keeper;

    cell->is_closing = true;
    close(cell->queue[DM_HANDOVER_GIVING]);
    cell->queue[DM_HANDOVER_GIVING] = -1;
    for (unsigned i = 0; i < cell->n_slots; i++) {
        struct dm_keeper_worker *current = k->current[cell->slots[i]];
        k->current[cell->slots[i]] = NULL;
        if (current && !current->conn)
            dm_process_stop(&current->process);
    }
    dm_keeper_settle_all(k, cell);
    dm_keeper_cell_end_when_empty(cell);
}

static void close_when_left(struct dm_keeper_cell *cell)
{
    for (size_t bank = 0; bank < DM_GATEWAY_BANKS; bank++)
        for (size_t word = 0; word < DM_KEEPER_SLOT_WORDS; word++)
            if (cell->leaving[bank][word])
                return;
    if (cell->is_ending && !cell->is_closing)
        close_cell(cell);
}

static uint64_t *leaving_word(struct dm_keeper_cell *cell, const struct dm_keeper_worker *worker)
{
    return &cell->leaving[worker->bank][worker->slot / 64];
}

static uint64_t bit_of(const struct dm_keeper_worker *worker)
{
    return UINT64_C(1) << worker->slot % 64;
}

/* The units first: what the worker is told behind them finds them live. */
static void tell_to_leave(struct dm_keeper_cell *cell, struct dm_keeper_worker *worker)
{
    struct dm_worker_cell message = name_of(cell);

    dm_keeper_feed_tenant(worker, cell->tenant);
    dm_keeper_tell(worker, DM_WORKER_CELL_GONE, &message, sizeof(message), -1);
    *leaving_word(cell, worker) |= bit_of(worker);
}

static void end_cell(struct dm_keeper_cell *cell)
{
    struct dm_keeper *k = cell->keeper;

    dm_log(DM_LOG_INFO, "cell_ends", "tenant %s is shared again; its cell drains", cell->tenant->name);
    cell->is_ending = true;
    cell->is_gated = false;
    for (struct dm_keeper_worker *worker = dm_keeper_next_worker(k, NULL); worker;
         worker = dm_keeper_next_worker(k, worker))
        if (is_told_of_cells(worker))
            tell_to_leave(cell, worker);
    close_when_left(cell);
}

void dm_keeper_cell_on_left(struct dm_keeper_worker *worker, struct dm_str tenant)
{
    struct dm_held_tenant *held = dm_store_find(&worker->keeper->store, tenant);
    struct dm_keeper_cell *cell = held ? dm_keeper_cell_find(worker->keeper, held) : NULL;

    if (!cell || worker->cell)
        return;
    *leaving_word(cell, worker) &= ~bit_of(worker);
    close_when_left(cell);
}

void dm_keeper_cells_on_unplugged(struct dm_keeper_worker *worker)
{
    for (struct dm_keeper_cell *cell = worker->keeper->cells, *next; cell && !worker->keeper->is_stopping;
         cell = next) {
        next = cell->next;
        if (!cell->is_ending || worker->cell)
            continue;
        *leaving_word(cell, worker) &= ~bit_of(worker);
        close_when_left(cell);
    }
}

void dm_keeper_cells_hush(struct dm_keeper *k)
{
    for (struct dm_keeper_cell *cell = k->cells; cell; cell = cell->next) {
        if (cell->queue[DM_HANDOVER_GIVING] >= 0)
            close(cell->queue[DM_HANDOVER_GIVING]);
        cell->queue[DM_HANDOVER_GIVING] = -1;
    }
}

/* --- beginning ---------------------------------------------------------------------------------------------------- */

/* False: all are taken. */
static bool take_slots(struct dm_keeper_cell *cell, unsigned n)
{
    struct dm_keeper *k = cell->keeper;

    for (unsigned slot = DM_GATEWAY_WORKERS_MAX; slot < DM_GATEWAY_SLOTS_MAX && cell->n_slots < n; slot++)
        if (!k->cell_of[slot]) {
            k->cell_of[slot] = cell;
            cell->slots[cell->n_slots++] = slot;
        }
    return cell->n_slots == n;
}

static void set_options(struct dm_keeper_cell *cell, unsigned n_workers)
{
    struct dm_keeper *k = cell->keeper;
    struct dm_gateway_options *options = &cell->options;
    char path[DM_GATEWAY_PATH_MAX];

    *options = k->options;
    dm_gateway_path(&k->options, path, DM_GATEWAY_CELL_DIR, cell->tenant->counter_slot);
    memcpy(options->data_dir, path, DM_MIN(strlen(path) + 1, sizeof(options->data_dir)));
    memcpy(options->cell, cell->tenant->name, sizeof(cell->tenant->name));
    options->n_workers = n_workers;
    if (k->options.cell_uid_base != DM_GATEWAY_NO_UID)
        options->cell_uid = k->options.cell_uid_base + cell->tenant->counter_slot;
    dm_program_mark(options, cell->program);
}

static int open_socket(struct dm_keeper_cell *cell, struct dm_err *err)
{
    char path[DM_GATEWAY_PATH_MAX], text[DM_GATEWAY_PATH_MAX + 8];
    struct dm_addr addr;
    int rc, n;

    dm_gateway_path(&cell->options, path, DM_GATEWAY_CELL_SOCKET);
    n = snprintf(text, sizeof(text), "unix:%s", path);
    if ((rc = dm_addr_parse(dm_str_n(text, (size_t)n), &addr, err)) < 0 ||
        (rc = dm_listener_open(&cell->socket, cell->keeper->loop, &addr, BACKLOG, false, dm_keeper_on_cell_accept,
                               err)) < 0)
        return rc;
    return chmod(path, FILE_MODE) < 0 ? dm_fail(err, DM_EIO, "", "can't set the mode of %s", path) : 0;
}

static void bound(struct dm_keeper_cell *cell)
{
    struct dm_keeper *k = cell->keeper;
    struct dm_err err = {0};

    if (k->cgroups.version > 0 && dm_cgroups_bound(&k->cgroups, cell->tenant->name, &cell->bounds, &err) < 0)
        dm_log(DM_LOG_ERROR, "cgroup_failed", "the cell of tenant %s goes without its bounds: %s", cell->tenant->name,
               err.message);
}

void dm_keeper_cell_on_spawned(struct dm_keeper_worker *worker, pid_t pid)
{
    struct dm_keeper *k = worker->keeper;
    struct dm_err err = {0};

    if (k->cgroups.version > 0 && dm_cgroups_add(&k->cgroups, worker->cell->tenant->name, pid, &err) < 0)
        dm_log(DM_LOG_ERROR, "cgroup_failed", "a worker of the cell of tenant %s goes without its bounds: %s",
               worker->cell->tenant->name, err.message);
}

/* NULL: it can't be had, which is logged; the tenant stays where it is. */
static struct dm_keeper_cell *cell_new(struct dm_keeper *k, struct dm_held_tenant *tenant,
                                       const struct dm_ucell *bounds)
{
    struct dm_keeper_cell *cell = dm_calloc(1, sizeof(*cell));
    struct dm_err err = {0};

    cell->keeper = k;
    cell->tenant = tenant;
    cell->bounds = *bounds;
    cell->queue[0] = cell->queue[1] = -1;
    cell->socket.watch.fd = -1;
    cell->next = k->cells;
    k->cells = cell;
    dm_secrets_draw(&cell->secrets, k->sys);
    set_options(cell, bounds->n_workers);
    if (!take_slots(cell, bounds->n_workers))
        dm_fail(&err, DM_EBUDGET, "", "there are %d workers of cells already",
                DM_GATEWAY_SLOTS_MAX - DM_GATEWAY_WORKERS_MAX);
    else if (make_dirs(k, cell, &err) == 0 && open_socket(cell, &err) == 0 && open_queue(cell) < 0)
        dm_fail(&err, DM_EIO, "", "no queue");
    if (err.code < 0) {
        dm_log(DM_LOG_ERROR, "cell_failed", "tenant %s can't have a cell: %s", tenant->name, err.message);
        cell_free(cell);
        return NULL;
    }
    bound(cell);
    return cell;
}

static void look_for_survivors(struct dm_keeper_cell *cell)
{
    for (unsigned i = 0; i < cell->n_slots; i++)
        for (unsigned bank = 0; bank < DM_GATEWAY_BANKS; bank++)
            dm_keeper_look_for_survivor(cell->keeper, cell->slots[i], bank);
}

/* Others take the place of those that know of another number: they count what the tenant holds together. */
static void replace_workers(struct dm_keeper_cell *cell)
{
    for (unsigned i = 0; i < cell->n_slots; i++) {
        struct dm_keeper_worker *current = cell->keeper->current[cell->slots[i]];
        if (current && current->conn)
            current->is_retiring = true;
        if (current && current->conn)
            cell->keeper->current[cell->slots[i]] = NULL;
    }
}

static void change(struct dm_keeper_cell *cell, const struct dm_ucell *bounds)
{
    bool is_resized = cell->bounds.n_workers != bounds->n_workers;

    cell->bounds = *bounds;
    bound(cell);
    if (!is_resized)
        return;
    if (bounds->n_workers > cell->n_slots && !take_slots(cell, bounds->n_workers))
        dm_log(DM_LOG_ERROR, "cell_failed", "the cell of tenant %s can't have %u workers", cell->tenant->name,
               bounds->n_workers);
    set_options(cell, DM_MIN(bounds->n_workers, cell->n_slots));
    replace_workers(cell);
    dm_keeper_settle_all(cell->keeper, cell);
}

void dm_keeper_cells_look(struct dm_keeper *k, struct dm_held_tenant *tenant)
{
    struct dm_keeper_cell *cell = dm_keeper_cell_find(k, tenant);
    struct dm_ucell bounds;

    if (k->is_stopping || !read_bounds(k, tenant, &bounds) || (cell && cell->is_ending))
        return;
    if (!cell && bounds.n_workers > 0 && (cell = cell_new(k, tenant, &bounds)))
        dm_keeper_settle_all(k, cell);
    else if (cell && bounds.n_workers == 0)
        end_cell(cell);
    else if (cell && memcmp(&cell->bounds, &bounds, sizeof(bounds)) != 0)
        change(cell, &bounds);
}

/* --- all of them -------------------------------------------------------------------------------------------------- */

static void open_cgroups(struct dm_keeper *k)
{
    struct dm_err err = {0};

    if (!k->options.cgroup || dm_cgroups_open(&k->cgroups, k->sys, k->options.cgroup, k->options.id, &err) == 0)
        return;
    snprintf(k->cgroup_fault, sizeof(k->cgroup_fault), "%s", err.message);
    dm_log(DM_LOG_WARN, "cgroup_failed", "cells go without control groups: %s", err.message);
}

static bool has_survivor(const struct dm_keeper_cell *cell)
{
    for (unsigned i = 0; i < cell->n_slots; i++)
        for (unsigned bank = 0; bank < DM_GATEWAY_BANKS; bank++)
            if (cell->keeper->workers[cell->slots[i]][bank])
                return true;
    return false;
}

/* A cell that a keeper was about to end when it died: its workers are found and let go. */
static void find_leftover(struct dm_keeper *k, struct dm_held_tenant *tenant)
{
    struct dm_ucell bounds = {.n_workers = DM_CELL_WORKERS_MAX};
    struct dm_keeper_cell *cell;
    char path[DM_GATEWAY_PATH_MAX];

    dm_gateway_path(&k->options, path, DM_GATEWAY_CELL_DIR "/" DM_GATEWAY_CELL_SOCKET, tenant->counter_slot);
    if (access(path, F_OK) < 0 || !(cell = cell_new(k, tenant, &bounds)))
        return;
    look_for_survivors(cell);
    cell->is_ending = true;
    if (has_survivor(cell))
        close_cell(cell);
    else
        cell_free(cell);
}

static void start_cell(struct dm_keeper *k, struct dm_held_tenant *tenant)
{
    struct dm_keeper_cell *cell;
    struct dm_ucell bounds;

    if (!read_bounds(k, tenant, &bounds))
        return;
    if (bounds.n_workers == 0) {
        find_leftover(k, tenant);
        return;
    }
    if (!(cell = cell_new(k, tenant, &bounds)))
        return;
    cell->is_gated = true;
    look_for_survivors(cell);
    dm_keeper_settle_all(k, cell);
}

void dm_keeper_cells_start(struct dm_keeper *k)
{
    open_cgroups(k);
    for (struct dm_held_tenant *tenant = k->store.first; tenant; tenant = tenant->next)
        start_cell(k, tenant);
    if (k->cells && k->options.cell_uid_base == DM_GATEWAY_NO_UID)
        dm_log(DM_LOG_WARN, "cells_alike",
               "cells run as the gateway's own user: what one of them could be made to do, others are not safe from "
               "(--cell-uid-base)");
}

void dm_keeper_cells_close_sockets(struct dm_keeper *k)
{
    for (struct dm_keeper_cell *cell = k->cells; cell; cell = cell->next) {
        cell->socket.unlinks = k->parting == DM_KEEPER_STAYS;
        dm_listener_close(&cell->socket);
    }
}

void dm_keeper_cells_done(struct dm_keeper *k)
{
    while (k->cells) {
        struct dm_keeper_cell *cell = k->cells;
        k->cells = cell->next;
        close_queue(cell);
        if (k->parting == DM_KEEPER_STAYS && k->cgroups.version > 0)
            dm_cgroups_remove(&k->cgroups, cell->tenant->name);
        dm_mem_wipe(&cell->secrets, sizeof(cell->secrets));
        dm_free(cell);
    }
    if (k->parting == DM_KEEPER_STAYS)
        dm_cgroups_close(&k->cgroups);
}
