/* What the command line of daemun-gateway says, checked. One struct for all roles: the keeper starts workers and its loader
 * with the same options and its own --role. Lives as long as the process. */
#ifndef DM_GATEWAY_OPTIONS_H
#define DM_GATEWAY_OPTIONS_H

#include "base/log.h"
#include "base/sys.h"
#include "model/link.h"
#include "model/listener.h"

enum dm_gateway_role { DM_ROLE_KEEPER, DM_ROLE_WORKER, DM_ROLE_LOADER, DM_ROLE_CHECK };

#define DM_GATEWAY_WORKERS_MAX DM_LINK_WORKERS_MAX
#define DM_GATEWAY_ID_MAX 64
#define DM_GATEWAY_DATA_MAX 80     /* bytes of data_dir: the address of a Unix socket below it has at most 107 */
#define DM_GATEWAY_CELL_DIR_MAX 16 /* what "/cells/N" adds to it */
#define DM_GATEWAY_PATH_MAX 512

/* What the keeper numbers its workers by: the shared ones' slots, and behind them those of cells. */
#define DM_GATEWAY_SLOTS_MAX (2 * DM_GATEWAY_WORKERS_MAX)
#define DM_GATEWAY_NO_UID UINT32_MAX

struct dm_gateway_options {
    enum dm_gateway_role role;
    char data_dir[DM_GATEWAY_DATA_MAX + DM_GATEWAY_CELL_DIR_MAX +
                  1];    /* absolute; documents, units, run lie below it; no slash at its end */
    const char *log_dir; /* access logs; NULL: data_dir/log */
    struct dm_listener_spec listen[DM_LISTENERS_MAX];
    size_t n_listen;
    const char *listen_text[DM_LISTENERS_MAX]; /* as they were said, for processes of other roles */
    size_t n_listen_text;
    struct dm_listener_spec listen_defaults; /* what holds where a listener says nothing */
    unsigned n_workers;
    unsigned slot; /* of a worker: 0 … n_workers - 1 */
    unsigned bank; /* of a worker: which of the slot's two seats */
    bool access_log;
    uint64_t
        queue_delay_ms; /* a tenant whose work waits longer by its own doing is refused some of it (io/overload.h); 0: never */
    bool is_fair; /* tenants' work waits in queues of their own (io/scheduler.h) */
    bool log_is_text;
    enum dm_log_level log_level;
    struct dm_addr admin;      /* metrics, healthz, status */
    struct dm_addr controller; /* the link: a Unix socket */
    bool has_controller;
    uid_t controller_uid;   /* who may be at the other end; by default our own */
    uint32_t cell_uid_base; /* cells run as this and the following, by their tenants' numbers; NO_UID: as we do */
    const char *cgroup;     /* a directory of control groups that is ours to divide; NULL: none */
    char cell[80];          /* of a worker of a cell: its tenant; "": it is shared */
    uint32_t cell_uid;      /* of such a worker: whom it becomes; NO_UID: it stays who it is */
    uint64_t drain_ms;      /* how long workers may finish at SIGTERM */
    char id[DM_GATEWAY_ID_MAX + 1]; /* "": kept in data_dir/id */
    /* Not of the command line: how this process was started, and its successor will be; NULL: not known. */
    const char *program;
    char *const *argv;
};

/* Where things lie below data_dir. */
#define DM_GATEWAY_KEEPER_LOCK "run/keeper.lock"
#define DM_GATEWAY_KEEPER_SOCKET "run/keeper.sock"
#define DM_GATEWAY_BOX_KEY "box.key"                  /* what is secret to this gateway is sealed to it (vault.h) */
#define DM_GATEWAY_WORKER_LOCK "run/worker-%u%s.lock" /* by slot and bank suffix */
#define DM_GATEWAY_COUNTERS "run/counters-%u%s"       /* the same: dm_shm of kind DM_GATEWAY_COUNTERS_KIND */
#define DM_GATEWAY_COUNTERS_KIND "counters"
#define DM_GATEWAY_CIRCUITS "run/circuits" /* what workers know together of backends' circuits */

/* A worker of a cell has a directory of its own, DATA/cells/N, in which it finds these, and of all else that is the gateway's nothing. */
#define DM_GATEWAY_CELL_DIR "cells/%u"
#define DM_GATEWAY_CELL_SOCKET "keeper.sock"
#define DM_GATEWAY_CELL_PAGES                                                                                          \
    "pages" /* what its workers share among themselves; the one place that they may write to */

/* A slot is one share of the work; two processes can sit in it while one takes over from the other, each in a bank of its own. */
#define DM_GATEWAY_BANKS 2
/* "" and "b". */
extern const char *const dm_gateway_bank_suffix[DM_GATEWAY_BANKS];

/* One "--name=value" each, for a process of another role. */
#define DM_GATEWAY_ARGS_MAX 48
#define DM_GATEWAY_ARGS_BYTES (DM_LISTENERS_MAX * DM_LISTENER_TEXT_MAX + 8192)
struct dm_gateway_args {
    const char *items[DM_GATEWAY_ARGS_MAX];
    size_t count;
    char text[DM_GATEWAY_ARGS_BYTES];
};
/* What a worker of this seat, or the loader, is started with. */
void dm_gateway_options_args(const struct dm_gateway_options *options, enum dm_gateway_role role, unsigned slot,
                             unsigned bank, struct dm_gateway_args *ret);

/* Nothing said: what dm_gateway_options_read() begins with. */
void dm_gateway_options_defaults(struct dm_gateway_options *options);

/* Writes `<data_dir>/<name>` into ret; name is a format, at most 200 bytes long when filled in. */
void dm_gateway_path(const struct dm_gateway_options *options, char ret[DM_GATEWAY_PATH_MAX], const char *name, ...)
    DM_PRINTF(3, 4);

/* 1 to DM_GATEWAY_ID_MAX letters, digits, "-", "." or "_". */
bool dm_gateway_id_is_valid(struct dm_str id);

/* Reads the command line (without argv[0]). 0; 1 when --help or --version was asked for and printed on standard output;
 * DM_EINVAL with a sentence that names the option. */
DM_MUST_USE int dm_gateway_options_read(struct dm_gateway_options *options, int n_args, const char *const *args,
                                        struct dm_err *err);

#endif
