/* What the files of `daemun serve` share. Threads: one. */
#ifndef DM_CLI_SERVE_INT_H
#define DM_CLI_SERVE_INT_H

#include <limits.h>

#include "cli/child.h"
#include "cli/cli.h"
#include "base/sys.h"
#include "io/lockfile.h"
#include "io/signals.h"
#include "model/listener.h"

#define DM_SERVE_LISTEN_DEFAULT "127.0.0.1:8080"
#define DM_SERVE_API_DEFAULT "127.0.0.1:9080"

struct serve {
    struct dm_cli *cli;
    struct dm_loop *loop;
    struct dm_signals signals;
    struct dm_lockfile lock;
    struct dm_child controller, gateway;
    struct dm_timer look;
    uint64_t waits_since_ns; /* since when an answer is owed: the start, or the last end of a process */
    const char *data;
    char api[DM_ADDR_TEXT_MAX], admin[DM_ADDR_TEXT_MAX]; /* where the living ones listen */
    bool is_ready, is_stopping, is_impatient, is_upgrading;
    int exit_code;
};

/* --- serve_options.c: each returns an exit code and has said why --- */

/* Reads and checks what can be checked without touching anything. */
DM_MUST_USE int dm_serve_read_options(struct serve *s);
/* Makes the directory; s->data becomes its absolute path in ret. */
DM_MUST_USE int dm_serve_open_data(struct serve *s, char ret[PATH_MAX]);
/* Are the ports free of those that are to be started? After adopting. */
DM_MUST_USE int dm_serve_check_ports(const struct serve *s);
/* What the gateway listens on, by the arguments that it was or will be started with; returns how many. */
size_t dm_serve_gates(const struct serve *s, struct dm_listener_spec ret[DM_LISTENERS_MAX]);
/* The arguments and lock files of both. */
void dm_serve_make_args(struct serve *s);

#endif
