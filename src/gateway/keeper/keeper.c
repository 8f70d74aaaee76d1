#include "gateway/keeper/keeper.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "base/mem.h"
#include "gateway/keeper/keeper_int.h"
#include "gateway/process/program.h"

enum { CLOSING_TURNS = 100 };

static int take_lock(struct dm_keeper *k, struct dm_err *err)
{
    char path[DM_GATEWAY_PATH_MAX];
    struct dm_err inner = {0};
    int rc, pid;

    dm_gateway_path(&k->options, path, "run");
    if (dm_sys_make_dirs(k->sys, path, 0700, &inner) < 0)
        return dm_fail(err, inner.code, "", "--data: %s", inner.message);
    dm_gateway_path(&k->options, path, DM_GATEWAY_KEEPER_LOCK);
    if ((rc = dm_lockfile_take(&k->lock, path, &inner)) == 0)
        return 0;
    pid = dm_lockfile_holder(path);
    if (rc == DM_EEXIST && pid > 0)
        return dm_fail(err, rc, "", "--data: process %d is the keeper of %s already", pid, k->options.data_dir);
    return dm_fail(err, rc, "", "--data: %s", inner.message);
}

static int make_log_dir(struct dm_keeper *k, struct dm_err *err)
{
    char path[DM_GATEWAY_PATH_MAX];
    struct dm_err inner = {0};

    if (!k->options.access_log)
        return 0;
    dm_gateway_path(&k->options, path, "log");
    if (dm_sys_make_dirs(k->sys, k->options.log_dir ? k->options.log_dir : path, 0750, &inner) < 0)
        return dm_fail(err, inner.code, "", "--log-dir: %s", inner.message);
    return 0;
}

/* --- ending ------------------------------------------------------------------------------------------------------ */

static void reopen_logs(struct dm_keeper *k)
{
    for (struct dm_keeper_worker *worker = dm_keeper_next_worker(k, NULL); worker;
         worker = dm_keeper_next_worker(k, worker))
        dm_log_writer_reopen(&worker->log);
}

static void stop_workers(struct dm_keeper *k)
{
    bool is_again = k->is_stopping;

    if (k->parting != DM_KEEPER_STAYS)
        return; /* it is for the next keeper, and waits there */
    dm_log(DM_LOG_INFO, "keeper_stopping", "%s",
           is_again ? "told again to stop; not waiting any longer" : "told to stop; workers drain");
    k->is_stopping = true;
    dm_keeper_workers_drain(k, is_again ? 0 : (uint32_t)k->options.drain_ms);
}

static void on_signal(struct dm_signals *signals, int signo)
{
    struct dm_keeper *k = DM_CONTAINER_OF(signals, struct dm_keeper, signals);

    switch (signo) {
    case SIGHUP: reopen_logs(k); break;
    case SIGUSR1: dm_keeper_part(k, DM_KEEPER_GOES); break;
    case SIGUSR2: dm_keeper_upgrade(k); break;
    default: stop_workers(k);
    }
}

static void stop_parts(struct dm_keeper *k)
{
    k->is_stopping = true;
    dm_keeper_admin_stop(k);
    dm_keeper_upgrade_done(k);
    dm_keeper_conns_close(k);
    dm_keeper_units_done(k);
    dm_keeper_loader_stop(k);
    if (k->options.has_controller && k->controller.loop)
        dm_controller_stop(&k->controller);
    /* What is closed tells so in a later turn; the loader ends by itself. */
    for (int i = 0; i < CLOSING_TURNS && (k->n_conns > 0 || k->controller.has_stream); i++)
        if (dm_loop_turn(k->loop, 10) < 0)
            break;
    while (k->loader.process.state != DM_PROCESS_IDLE && dm_loop_turn(k->loop, -1) >= 0)
        ;
    if (k->spool.sys)
        dm_spool_close(&k->spool);
    dm_keeper_workers_done(k);
    dm_keeper_cells_done(k);
    dm_keeper_circuits_done(k);
    dm_signals_close(&k->signals);
}

/* --- starting ---------------------------------------------------------------------------------------------------- */

static int open_spool(struct dm_keeper *k, struct dm_err *err);

static int start_parts(struct dm_keeper *k, struct dm_err *err)
{
    static const int signos[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};
    int rc;

    if ((rc = dm_signals_open(&k->signals, k->loop, signos, DM_COUNT(signos), on_signal)) < 0)
        return dm_fail(err, DM_EIO, "", "can't watch signals: %s", strerror(-rc));
    if ((rc = dm_keeper_admin_start(k, err)) < 0 || (rc = open_spool(k, err)) < 0)
        return rc;
    dm_keeper_circuits_start(k);
    dm_keeper_loader_start(k);
    dm_keeper_units_start(k);
    if ((rc = dm_keeper_workers_start(k, err)) < 0)
        return rc;
    if (k->options.has_controller)
        dm_keeper_link_start(k);
    return 0;
}

static void send_usage(void *arg, const struct dm_link_message *message)
{
    struct dm_keeper *k = arg;

    dm_controller_send(&k->controller, message);
}

static int open_spool(struct dm_keeper *k, struct dm_err *err)
{
    dm_gateway_path(&k->options, k->spool_dir, "usage");
    return dm_spool_open(&k->spool, k->loop, k->spool_dir, send_usage, k, err);
}

/* Everything that can be wrong before anything runs. */
static int prepare(struct dm_keeper *k, struct dm_err *err)
{
    int rc;

    if ((rc = dm_crypto_init()) < 0)
        return dm_fail(err, rc, "", "libsodium can't be used");
    if ((rc = take_lock(k, err)) < 0 || (rc = make_log_dir(k, err)) < 0 || (rc = dm_keeper_find_id(k, err)) < 0 ||
        (rc = dm_keeper_check_ports(k, err)) < 0)
        return rc;
    if ((rc = dm_store_open(&k->store, k->sys, &k->options, err)) < 0)
        return rc;
    return dm_secrets_open(&k->secrets, k->sys, &k->options, err);
}

static void say_running(const struct dm_keeper *k)
{
    char text[DM_ADDR_TEXT_MAX], admin[DM_ADDR_TEXT_MAX];

    dm_addr_format(&k->options.listen[0].addr, true, text);
    dm_addr_format(&k->admin.addr, true, admin);
    dm_log(DM_LOG_INFO, "keeper_started",
           "gateway '%s' %s: %u workers on %s%s, %zu tenants on disk, metrics on http://%s/metrics", k->options.id,
           DM_VERSION, k->options.n_workers, text, k->options.n_listen > 1 ? " and others" : "", k->store.n_tenants,
           admin);
}

static void run(struct dm_keeper *k)
{
    struct dm_err err = {0};
    int rc;

    k->loop = dm_loop_new(k->sys);
    k->started_ns = dm_loop_now_ns(k->loop);
    dm_program_mark(&k->options, k->program);
    if ((rc = start_parts(k, &err)) == 0) {
        say_running(k);
        if ((rc = dm_loop_run(k->loop)) < 0)
            dm_fail(&err, DM_EIO, "", "polling failed: %s", strerror(-rc));
    }
    if (rc < 0) {
        dm_log(DM_LOG_ERROR, "keeper_failed", "%s", err.message);
        k->exit_code = 1;
    }
    stop_parts(k);
    dm_loop_free(k->loop);
    dm_store_done(&k->store);
    dm_secrets_done(&k->secrets);
}

int dm_keeper_main(const struct dm_gateway_options *options)
{
    struct dm_keeper *k = dm_calloc(1, sizeof(*k));
    struct dm_err err = {0};
    int exit_code;

    k->options = *options;
    k->sys = dm_sys_real();
    k->lock.fd = -1;
    k->signals.watch.fd = k->socket.watch.fd = k->admin.watch.fd = -1;
    dm_log_init("daemun-gateway", "keeper", STDERR_FILENO, false, options->log_level);
    dm_log_set_text(options->log_is_text);
    signal(SIGPIPE, SIG_IGN);
    if (prepare(k, &err) < 0) {
        fprintf(stderr, "daemun-gateway: %s\n", err.message);
        k->exit_code = 1;
    } else {
        run(k);
        if (k->parting == DM_KEEPER_STAYS)
            dm_log(DM_LOG_INFO, "keeper_stopped", "gateway '%s' has stopped", k->options.id);
    }
    dm_lockfile_release(&k->lock);
    dm_log_drain(1000);
    exit_code = k->parting == DM_KEEPER_BECOMES ? DM_KEEPER_NEXT : k->exit_code;
    dm_free(k);
    return exit_code;
}
