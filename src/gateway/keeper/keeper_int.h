/* What the files of the keeper share. Threads: one. */
#ifndef DM_GATEWAY_KEEPER_INT_H
#define DM_GATEWAY_KEEPER_INT_H

#include "base/vec.h"
#include "gateway/keeper/cgroup.h"
#include "gateway/keeper/secrets.h"
#include "gateway/keeper/store.h"
#include "gateway/link/controller.h"
#include "gateway/link/spool.h"
#include "gateway/process/loader.h"
#include "gateway/observe/log_writer.h"
#include "gateway/circuit/table.h"
#include "io/channel.h"
#include "io/listener.h"
#include "io/lockfile.h"
#include "io/process.h"
#include "io/shm.h"
#include "io/signals.h"
#include "model/tenant.h"
#include "snapshot/grants.h"

struct dm_counters_page;
struct dm_keeper;
struct dm_worker_conn;
struct dm_loader_conn;
struct dm_http_server;

/* Why a keeper ends and its workers do not. */
enum dm_keeper_parting {
    DM_KEEPER_STAYS,
    DM_KEEPER_GOES,    /* whoever started it starts the next one */
    DM_KEEPER_BECOMES, /* this process becomes the next one */
};

/* A document on its way from the link (or the disk) to the workers. */
struct dm_keeper_job {
    struct dm_keeper_job *next;
    struct dm_held_unit *unit;
    struct dm_mark mark;
    uint8_t body_hash[DM_DIGEST_BYTES];
    struct dm_staged staged;
    uint64_t id;
    unsigned n_deaths; /* of loaders that had it in hand */
    bool is_again;     /* from the disk: nothing to sync and nobody to acknowledge to */
    bool is_sent, is_compiled, is_synced, is_unsyncable;
};

/* loader_process.c: jobs wait in order; the first sent one is in the loader's hands. */
struct dm_keeper_loader {
    struct dm_keeper *keeper;
    struct dm_process process;
    struct dm_loader_conn *conn; /* NULL: none */
    int child_fd;                /* between on_spawn and on_spawned */
    struct dm_keeper_job *head, *tail;
    size_t n_jobs, n_sent;
    uint64_t next_id, n_deaths;
    struct dm_timer watchdog;
};

/* workers.c: a seat, which is one bank of a slot, and the process in it. */
struct dm_keeper_worker {
    struct dm_keeper *keeper;
    struct dm_keeper_cell *cell; /* NULL: it is shared */
    unsigned slot, bank;
    unsigned number; /* of the slot among its cell's, or the shared ones: what the process calls it */
    struct dm_process process;
    struct dm_worker_conn *conn; /* NULL: not connected */
    bool is_lock_busy;           /* somebody has just taken the seat: who, is looked up in a moment */
    bool is_known;               /* this process has said HELLO to us */
    bool is_ours;                /* it runs our program with our options */
    bool is_fed;                 /* it reads units of our format and is told of them */
    bool is_synced, is_serving;  /* told that it may listen; said that it does */
    bool is_retiring;            /* to drain once another serves in its place */
    bool is_leaving;             /* it drains */
    struct dm_timer timer;       /* it should have said HELLO, or be gone, by then */
    struct dm_timer pulse;       /* while it is connected: does its loop turn? */
    uint64_t seen_turns;
    unsigned n_still; /* looks in a row that saw no turn */
    struct dm_log_writer log;
    struct dm_shm counters;
    struct dm_counters_page *seen; /* of a cell: what its page said when it was looked at last; cells.c */
    int counters_fd;               /* of a cell: the page, which it may spoil, is read and never mapped; -1: not open */
    uint64_t n_restarts;
};

/* sockets.c: a listening socket. */
struct dm_keeper_socket {
    struct dm_worker_socket name;
    int fd;
};

/* cells.c: a dedicated tenant's own workers. */
struct dm_keeper_cell {
    struct dm_keeper_cell *next;
    struct dm_keeper *keeper;
    struct dm_held_tenant *tenant;
    struct dm_gateway_options options; /* what its workers are started with */
    uint8_t program[DM_DIGEST_BYTES];
    struct dm_secrets secrets; /* ticket keys alone */
    struct dm_listener socket;
    unsigned slots[DM_CELL_WORKERS_MAX], n_slots; /* the first options.n_workers are to be served */
    int queue[2];                                 /* io/handover.h */
    struct dm_ucell bounds;
    bool is_gated;     /* shared workers pass on to it what is its tenant's; before, they serve that themselves */
    bool is_ending;    /* shared workers serve the tenant again, and leave it */
    bool is_closing;   /* they have left: its workers drain */
    bool is_held_back; /* it crashes again and again: shared workers say so to callers */
    bool has_alarm;
    unsigned n_crashes_running; /* without having served for a while */
    uint64_t n_crashes;
    uint64_t leaving[DM_GATEWAY_BANKS]
                    [DM_GATEWAY_SLOTS_MAX / 64]; /* a bit per seat: told to leave, and has not left yet */
};

/* circuits.c: what the controller was told of an entry of the table; 0: nothing. */
struct dm_keeper_told {
    uint64_t name, state; /* digests */
    uint32_t n_changes;
};

struct dm_keeper_circuits {
    struct dm_circuit_table table; /* no page: it could not be opened */
    struct dm_timer timer;
    uint64_t seen_changes, looked_ns;
    struct dm_keeper_told *told; /* by entry */
    struct dm_map holds;         /* that were said on this connection, while it is not synced: "tenant id/backend" */
    bool has_holds;
};

#define DM_KEEPER_SLOT_WORDS (DM_GATEWAY_SLOTS_MAX / 64)

struct dm_keeper {
    struct dm_gateway_options options; /* id filled */
    struct dm_sys *sys;
    struct dm_loop *loop;
    struct dm_lockfile lock;
    struct dm_signals signals;
    struct dm_store store;
    struct dm_secrets secrets;
    struct dm_timer ticket_timer; /* until ticket keys are rotated */
    bool is_stopping;
    enum dm_keeper_parting parting;
    int exit_code;
    uint64_t started_ns;
    struct dm_gateway_args spawn_args; /* for the duration of a start */

    struct dm_keeper_loader loader;
    DM_VEC(struct dm_keeper_job *) unsynced; /* staged in this turn */
    struct dm_task sync_task;
    struct dm_timer dir_timer;
    struct dm_timer retry_timer; /* units that could not be opened, or not be compiled, are tried again */
    size_t n_again;              /* jobs from the disk that K2 waits for */
    uint64_t n_accepted, n_refused, n_mended;

    struct dm_listener socket; /* run/keeper.sock */
    uint8_t program[DM_DIGEST_BYTES];
    struct dm_keeper_worker *workers[DM_GATEWAY_SLOTS_MAX][DM_GATEWAY_BANKS]; /* NULL: never sat in */
    struct dm_keeper_worker *current[DM_GATEWAY_SLOTS_MAX];  /* who serves in the slot, or will; NULL: not known yet */
    struct dm_keeper_worker *minder[DM_GATEWAY_WORKERS_MAX]; /* who has the slot's sockets besides; NULL: nobody */
    uint64_t counting[DM_GATEWAY_BANKS][DM_KEEPER_SLOT_WORDS]; /* a bit per seat: a unit is live when it has it too */
    struct dm_keeper_cell *cells;
    struct dm_keeper_cell *cell_of[DM_GATEWAY_SLOTS_MAX]; /* by slot; NULL: a shared one, or not in use */
    struct dm_cgroups cgroups;
    char cgroup_fault[DM_ERR_MESSAGE_MAX]; /* why control groups can't be used; "": they are, or nobody asked */
    size_t n_conns;                        /* of workers and loader, whose memory is in use */
    struct dm_timer drain_timer;
    DM_VEC(struct dm_keeper_socket) sockets;
    struct dm_timer sockets_timer; /* those that could not be opened are tried again */
    struct dm_process successor;   /* upgrade.c: looks whether the new program can start */
    struct dm_timer check_timer;   /* it should have said so by then */
    uint64_t n_upgrades_refused;

    struct dm_keeper_circuits circuits;

    struct dm_controller controller;
    struct dm_spool spool;
    char spool_dir[DM_GATEWAY_PATH_MAX];
    DM_VEC(struct dm_link_held) held; /* for HELLO */

    struct dm_listener admin;
    struct dm_http_server *admin_server;
};

/* --- loader_process.c --- */

void dm_keeper_loader_start(struct dm_keeper *k);
/* Takes over the job; dm_keeper_compiled() comes when it is through. */
void dm_keeper_loader_submit(struct dm_keeper *k, struct dm_keeper_job *job);
/* Ends the process and drops what waits. */
void dm_keeper_loader_stop(struct dm_keeper *k);

/* --- units.c --- */

/* Compiles again what the disk has as documents only. */
void dm_keeper_units_start(struct dm_keeper *k);
void dm_keeper_units_done(struct dm_keeper *k);
/* The loader's answer: 0, or a code with err filled. The job is owned by the callee again. */
void dm_keeper_compiled(struct dm_keeper *k, struct dm_keeper_job *job, int code, const struct dm_err *err);
/* From the document on the disk; the unit's needs_compile says that there is one. */
void dm_keeper_compile_again(struct dm_keeper *k, struct dm_held_unit *unit);
void dm_keeper_link_start(struct dm_keeper *k);
/* detail may be "". */
void dm_keeper_log_unit(enum dm_log_level level, const char *event, const struct dm_held_unit *unit,
                        struct dm_mark mark, const char *what, const char *detail);

/* --- applied.c --- */

void dm_keeper_on_applied(struct dm_keeper *k, struct dm_keeper_worker *worker,
                          const struct dm_worker_applied *applied);
/* The worker is gone, and with it what it had applied. */
void dm_keeper_forget_applied(struct dm_keeper *k, const struct dm_keeper_worker *worker);
/* A change is live when it has it too, also while it drains; or not any more. */
void dm_keeper_count_in(struct dm_keeper *k, const struct dm_keeper_worker *worker);
void dm_keeper_count_out(struct dm_keeper *k, const struct dm_keeper_worker *worker);
/* Slots in which every worker that counts has it. */
unsigned dm_keeper_count_applied(const struct dm_keeper *k, const struct dm_held_unit *unit);
/* Slots that have a worker that counts, of those that are told of the unit. */
unsigned dm_keeper_count_slots(const struct dm_keeper *k, const struct dm_held_unit *unit);
/* Slots that are to have it. */
unsigned dm_keeper_count_wanted(const struct dm_keeper *k, const struct dm_held_unit *unit);
/* Tells the workers of it again, or compiles it when that is what it needs, in a while. */
void dm_keeper_retry_later(struct dm_keeper *k, struct dm_held_unit *unit);

/* --- ack.c --- */

/* What workers are to have: live, or the mark at which it went. */
struct dm_mark dm_keeper_current_mark(const struct dm_held_unit *unit);
/* LIVE or PARTLY, as it is now. */
void dm_keeper_ack_status(struct dm_keeper *k, struct dm_held_unit *unit);
void dm_keeper_ack_refused(struct dm_keeper *k, struct dm_str tenant, enum dm_unit_kind kind, struct dm_mark mark,
                           const struct dm_err *err);
/* What was sent is older than what is here. */
void dm_keeper_ack_stale(struct dm_keeper *k, const struct dm_held_unit *unit, struct dm_mark mark);
/* Of a unit that is not here. */
void dm_keeper_ack_gone(struct dm_keeper *k, const struct dm_link_gone *gone);

/* --- workers.c --- */

/* Adopts who lives, and starts who is missing. */
DM_MUST_USE int dm_keeper_workers_start(struct dm_keeper *k, struct dm_err *err);
/* The seat, made when it was never used. */
struct dm_keeper_worker *dm_keeper_seat(struct dm_keeper *k, unsigned slot, unsigned bank);
/* Walks the seats: for (worker = dm_keeper_next_worker(k, NULL); worker; worker = dm_keeper_next_worker(k, worker)) */
struct dm_keeper_worker *dm_keeper_next_worker(const struct dm_keeper *k, const struct dm_keeper_worker *worker);
/* Connected, takes new connections, and is to go on doing so. */
bool dm_keeper_worker_serves(const struct dm_keeper_worker *worker);
/* Somebody serves in the slot. */
bool dm_keeper_slot_is_served(const struct dm_keeper *k, unsigned slot);
/* Something about the slot has changed: appoints or starts who is to serve, lets go who was replaced. */
void dm_keeper_settle(struct dm_keeper *k, unsigned slot);
/* It said HELLO; it serves; it wants to go; it is told to drain; the channel is closed. */
void dm_keeper_on_known(struct dm_keeper_worker *worker);
void dm_keeper_on_serving(struct dm_keeper_worker *worker);
void dm_keeper_on_leaving(struct dm_keeper_worker *worker);
void dm_keeper_on_unplugged(struct dm_keeper_worker *worker);
void dm_keeper_workers_drain(struct dm_keeper *k, uint32_t ms);
/* Stops the loop when no worker is left. */
void dm_keeper_end_when_all_gone(struct dm_keeper *k);
void dm_keeper_workers_done(struct dm_keeper *k);

/* All slots of the cell. */
void dm_keeper_settle_all(struct dm_keeper *k, const struct dm_keeper_cell *cell);
/* The seat's process, if one lives that we do not know: a survivor. */
void dm_keeper_look_for_survivor(struct dm_keeper *k, unsigned slot, unsigned bank);
void dm_keeper_free_seat(struct dm_keeper_worker *worker);
/* What it counts; NULL: nothing yet, or nothing that is ours to read. */
const struct dm_counters_page *dm_keeper_counters(const struct dm_keeper_worker *worker);

/* --- cells.c --- */

/* Those of the tenants on the disk. */
void dm_keeper_cells_start(struct dm_keeper *k);
void dm_keeper_cells_done(struct dm_keeper *k);
/* No worker connects any more. When the gateway ends, and not the keeper alone, the sockets go too. */
void dm_keeper_cells_close_sockets(struct dm_keeper *k);
/* The tenant's grants are others now: it gets a cell, loses it, or the cell has other bounds. */
void dm_keeper_cells_look(struct dm_keeper *k, struct dm_held_tenant *tenant);
/* NULL: it has none. */
struct dm_keeper_cell *dm_keeper_cell_find(const struct dm_keeper *k, const struct dm_held_tenant *tenant);
/* Does one of its workers serve? */
bool dm_keeper_cell_is_served(const struct dm_keeper_cell *cell);
/* Is the worker told of this unit? */
bool dm_keeper_cell_feeds(const struct dm_keeper_worker *worker, const struct dm_held_unit *unit);
/* Is there to be somebody in the slot? */
bool dm_keeper_slot_is_wanted(const struct dm_keeper *k, unsigned slot);
/* What processes in the slot are started with. */
const struct dm_gateway_options *dm_keeper_slot_options(const struct dm_keeper *k, unsigned slot);
/* What a worker has to hear of cells: its own's queue, or all gates. */
void dm_keeper_cells_tell_gates(struct dm_keeper_worker *worker);
void dm_keeper_cell_give_queue(struct dm_keeper_worker *worker);
/* Its worker serves; died; a shared worker has left it, or is gone; one of its own is gone. */
void dm_keeper_cell_on_serving(struct dm_keeper_cell *cell);
void dm_keeper_cell_on_crash(struct dm_keeper_worker *worker, bool was_stable);
void dm_keeper_cell_on_left(struct dm_keeper_worker *worker, struct dm_str tenant);
void dm_keeper_cells_on_unplugged(struct dm_keeper_worker *worker);
void dm_keeper_cell_end_when_empty(struct dm_keeper_cell *cell);
/* The gateway ends: what shared workers give until they end is still taken. */
void dm_keeper_cells_hush(struct dm_keeper *k);
/* Its page, as far as it is its tenant's to write: into what the keeper shows. */
void dm_keeper_cell_read_counters(struct dm_keeper_worker *worker);
DM_MUST_USE int dm_keeper_cell_open_counters(struct dm_keeper_worker *worker);
/* The same of one that has them already; another layout is not ours to read. */
void dm_keeper_cell_adopt_counters(struct dm_keeper_worker *worker);
/* It runs: into its control group. */
void dm_keeper_cell_on_spawned(struct dm_keeper_worker *worker, pid_t pid);

/* --- worker_conn.c --- */

DM_MUST_USE int dm_keeper_conns_listen(struct dm_keeper *k, struct dm_err *err);
/* Of a cell's own socket. */
void dm_keeper_on_cell_accept(struct dm_listener *listener, int fd, const struct dm_addr *peer);
/* The tenant's data key and units. */
void dm_keeper_feed_tenant(struct dm_keeper_worker *worker, const struct dm_held_tenant *tenant);
void dm_keeper_tell(struct dm_keeper_worker *worker, uint32_t type, const void *ptr, size_t len, int fd);
/* UNIT or GONE, as the unit is now, to all that are connected. */
void dm_keeper_workers_tell(struct dm_keeper *k, const struct dm_held_unit *unit);
/* The data key, to all that are connected. */
void dm_keeper_workers_tell_key(struct dm_keeper *k, const struct dm_held_key *key);
/* SYNCED to those that wait for it, when K2 allows. */
void dm_keeper_workers_sync(struct dm_keeper *k);
/* idle_ms: how long a client may take to begin its next request. */
void dm_keeper_tell_drain(struct dm_keeper_worker *worker, uint32_t ms, uint32_t idle_ms);
/* PART to all that know it. */
void dm_keeper_tell_part(struct dm_keeper *k);
void dm_keeper_conns_close(struct dm_keeper *k);

/* --- sockets.c --- */

/* A worker that lives had it. Takes over the descriptor. */
void dm_keeper_sockets_keep(struct dm_keeper *k, const struct dm_worker_socket *name, int fd);
/* All of the slot to the worker; opens those that nobody had. False when one could not be opened, which is logged, and tried
 * again later. */
bool dm_keeper_sockets_give(struct dm_keeper *k, struct dm_keeper_worker *worker, unsigned slot);
/* Sends sockets of slots that nobody serves to a neighbour, and takes them back. */
void dm_keeper_sockets_mind(struct dm_keeper *k);
/* The worker said that it has sockets of this slot too. */
void dm_keeper_sockets_minded(struct dm_keeper *k, struct dm_keeper_worker *worker, unsigned slot);
/* Ends those of the slot that are not to be served any more: what has knocked is let in by who has them, nobody else can. */
void dm_keeper_sockets_retire(struct dm_keeper *k, unsigned slot);
/* The same for all: the gateway ends. */
void dm_keeper_sockets_hush(struct dm_keeper *k);
/* Closes our descriptors; workers have theirs. */
void dm_keeper_sockets_done(struct dm_keeper *k);

/* --- upgrade.c --- */

/* Looks whether the program that lies at our path now can start; then parts, to become it. */
void dm_keeper_upgrade(struct dm_keeper *k);
/* Ends the keeper and no worker, once they have said what they counted. */
void dm_keeper_part(struct dm_keeper *k, enum dm_keeper_parting parting);
/* A channel with a worker is closed: stops the loop of a keeper that parts when it was the last one. */
void dm_keeper_end_when_parted(struct dm_keeper *k);
void dm_keeper_upgrade_done(struct dm_keeper *k);

/* --- check.c --- */

/* The id of the gateway: as given, as kept in data_dir/id, or made and kept. */
DM_MUST_USE int dm_keeper_find_id(struct dm_keeper *k, struct dm_err *err);
/* Can requests come in at these addresses? Those of our own surviving workers do not count as in use. */
DM_MUST_USE int dm_keeper_check_ports(const struct dm_keeper *k, struct dm_err *err);

/* --- circuits.c --- */

void dm_keeper_circuits_start(struct dm_keeper *k);
void dm_keeper_circuits_done(struct dm_keeper *k);
/* The controller is there: it is told of all, and says what people want (L6). */
void dm_keeper_circuits_up(struct dm_keeper *k);
void dm_keeper_on_hold(struct dm_keeper *k, const struct dm_circuit_hold *hold);
void dm_keeper_circuits_synced(struct dm_keeper *k);
/* Those of whom there is something to tell, one for each backend; the caller frees. */
struct dm_circuit_info *dm_keeper_list_circuits(const struct dm_keeper *k, size_t *ret_count);

/* --- admin.c --- */

DM_MUST_USE int dm_keeper_admin_start(struct dm_keeper *k, struct dm_err *err);
void dm_keeper_admin_stop(struct dm_keeper *k);

#endif
