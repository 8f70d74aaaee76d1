/* How a keeper makes way for the next one, while the workers serve on.
 *
 *   running --[SIGUSR2]--> looking: the program that lies at our path now, with our arguments, as --role=check
 *   looking --[it says yes]--> parting --[all workers have hung up]--> this process becomes that program
 *   looking --[it says no, or dies]--> running; an alarm
 *   running --[SIGUSR1]--> parting --> exit 0, for whoever supervises to start the next one
 *
 * The next keeper adopts the workers and replaces those that run another program, or with other options (workers.c).
 * G1. What workers have counted is in the spool before the keeper parts. */
#include <signal.h>
#include <sys/wait.h>

#include "gateway/keeper/keeper_int.h"

enum { PART_MS = 2000, CHECK_MS = 30000 };

/* --- parting ----------------------------------------------------------------------------------------------------- */

static void on_part_due(struct dm_timer *timer)
{
    struct dm_keeper *k = DM_CONTAINER_OF(timer, struct dm_keeper, drain_timer);

    dm_log(DM_LOG_WARN, "keeper_parts_late",
           "a worker did not hang up within %d ms; what it counts now waits for the next keeper", PART_MS);
    dm_loop_stop(k->loop);
}

/* G1: a worker that hears PART says what it has and closes. */
void dm_keeper_end_when_parted(struct dm_keeper *k)
{
    if (k->parting == DM_KEEPER_STAYS)
        return;
    for (const struct dm_keeper_worker *worker = dm_keeper_next_worker(k, NULL); worker;
         worker = dm_keeper_next_worker(k, worker))
        if (worker->conn)
            return;
    dm_timer_cancel(k->loop, &k->drain_timer);
    dm_loop_stop(k->loop);
}

void dm_keeper_part(struct dm_keeper *k, enum dm_keeper_parting parting)
{
    if (k->is_stopping)
        return;
    dm_log(DM_LOG_INFO, "keeper_parts", "the keeper makes way for the next one; workers serve on");
    k->is_stopping = true;
    k->parting = parting;
    dm_listener_close(&k->socket);
    dm_keeper_cells_close_sockets(k);
    dm_keeper_tell_part(k);
    k->drain_timer.on_due = on_part_due;
    dm_timer_arm(k->loop, &k->drain_timer, PART_MS);
    dm_keeper_end_when_parted(k);
}

/* --- looking ----------------------------------------------------------------------------------------------------- */

static void refuse(struct dm_keeper *k, const char *why)
{
    k->n_upgrades_refused++;
    dm_log(DM_LOG_ERROR, "upgrade_refused", "%s can't take over (%s); this program stays in service",
           k->options.program ? k->options.program : "another program", why);
}

static int on_spawn(struct dm_process *process, struct dm_spawn *spawn)
{
    const struct dm_keeper *k = DM_CONTAINER_OF(process, struct dm_keeper, successor);

    spawn->path = k->options.program;
    for (char *const *arg = k->options.argv; *arg; arg++)
        dm_spawn_arg(spawn, *arg);
    dm_spawn_arg(spawn, "--role=check");
    return 0;
}

static void on_spawned(struct dm_process *process, pid_t pid)
{
    struct dm_keeper *k = DM_CONTAINER_OF(process, struct dm_keeper, successor);

    if (pid > 0) {
        dm_timer_arm(k->loop, &k->check_timer, CHECK_MS);
        return;
    }
    dm_process_stop(process);
    refuse(k, strerror(-pid));
}

static void on_exit_of_successor(struct dm_process *process, int status)
{
    struct dm_keeper *k = DM_CONTAINER_OF(process, struct dm_keeper, successor);
    char text[DM_PROCESS_STATUS_MAX];

    dm_timer_cancel(k->loop, &k->check_timer);
    dm_process_stop(process);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        dm_keeper_part(k, DM_KEEPER_BECOMES);
    else
        refuse(k, dm_process_status_text(status, text));
}

static void on_check_due(struct dm_timer *timer)
{
    dm_process_signal(&DM_CONTAINER_OF(timer, struct dm_keeper, check_timer)->successor, SIGKILL);
}

static const struct dm_process_type successor_type = {
    .on_spawn = on_spawn, .on_spawned = on_spawned, .on_exit = on_exit_of_successor};

static size_t count_args(char *const *argv)
{
    size_t n = 0;

    while (argv && argv[n])
        n++;
    return n;
}

void dm_keeper_upgrade(struct dm_keeper *k)
{
    size_t n_args = count_args(k->options.argv);

    if (k->is_stopping || (k->successor.type && k->successor.state != DM_PROCESS_IDLE))
        return;
    if (!k->options.program || n_args == 0 || n_args >= DM_SPAWN_ARGS_MAX) {
        refuse(k, "it is not known how it is started");
        return;
    }
    k->check_timer.on_due = on_check_due;
    dm_process_init(&k->successor, k->loop, &successor_type);
    dm_process_start(&k->successor);
}

void dm_keeper_upgrade_done(struct dm_keeper *k)
{
    dm_timer_cancel(k->loop, &k->check_timer);
    if (k->successor.type)
        dm_process_release(&k->successor);
}
