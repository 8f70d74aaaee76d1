#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "control/app.h"
#include "control/api/metrics.h"
#include "control/api/route.h"
#include "control/api/server.h"
#include "control/fleet/fleet.h"
#include "control/identity/keyring.h"
#include "control/identity/master.h"
#include "control/link/server.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/lockfile.h"
#include "io/pool.h"
#include "io/signals.h"

#define QUEUE_MAX 1024
#define PATH_BYTES 512
#define DRAIN_MS 10000
#define CLUSTER "default"

struct app {
    const struct dm_app_settings *settings;
    struct dm_sys *sys;
    struct dm_lockfile lock;
    struct dm_store *store;
    struct dm_keyring keyring;
    struct dm_loop *loop;
    struct dm_signals signals;
    struct dm_pool *pool;
    struct dm_fleet *fleet;
    struct dm_metrics *metrics;
    struct dm_api api;
    struct dm_api_server *server;
    struct dm_hook log_hook;
    struct dm_timer deadline;
    bool is_stopping, is_cut; /* cut: no waiting for requests in hand */
};

void dm_app_defaults(struct dm_app_settings *ret)
{
    *ret = (struct dm_app_settings){.data = "data", .link_uid = (uid_t)-1, .threads = 4};
    if (dm_addr_parse(DM_STR("127.0.0.1:9080"), &ret->listen, NULL) < 0)
        abort();
}

/* --- directories and store ---------------------------------------------------------------------------------------- */

static const char *path_in(const struct app *app, const char *name, char ret[PATH_BYTES])
{
    snprintf(ret, PATH_BYTES, "%s%s%s", app->settings->data, name[0] != '\0' ? "/" : "", name);
    return ret;
}

static int make_directory(const struct app *app, const char *name, struct dm_err *err)
{
    char path[PATH_BYTES];
    struct dm_err why = {0};
    int rc = dm_sys_make_dirs(app->sys, path_in(app, name, path), 0700, &why);

    return rc < 0 ? dm_fail(err, rc, "", "can't make the directory '%s': %s", path, why.message) : 0;
}

static int make_directories(const struct app *app, struct dm_err *err)
{
    static const char *const names[] = {"", "run", "controller", "controller/keys"};
    int rc = 0;

    if (strlen(app->settings->data) + 64 > PATH_BYTES)
        return dm_fail(err, DM_EINVAL, "", "the path of the data directory is too long");
    for (size_t i = 0; rc >= 0 && i < DM_COUNT(names); i++)
        rc = make_directory(app, names[i], err);
    return rc;
}

static int take_lock(struct app *app, struct dm_err *err)
{
    char path[PATH_BYTES];
    struct dm_err why = {0};
    int rc = dm_lockfile_take(&app->lock, path_in(app, "run/controller.lock", path), &why);

    if (rc == DM_EEXIST)
        return dm_fail(err, rc, "", "another controller runs on the data directory '%s': %s", app->settings->data,
                       why.message);
    return rc < 0 ? dm_fail(err, rc, "", "can't lock the data directory '%s': %s", app->settings->data, why.message)
                  : 0;
}

static int open_store(struct app *app, struct dm_err *err)
{
    char database[PATH_BYTES], keys[PATH_BYTES];
    struct dm_store_settings settings = {.path = path_in(app, "controller/daemun.db", database), .sys = app->sys};
    bool is_new = access(database, F_OK) < 0;
    int rc = dm_keyring_open(app->sys, path_in(app, "controller/keys", keys), is_new, &app->keyring, err);

    return rc < 0 ? rc : dm_store_open(&settings, &app->store, err);
}

/* --- running ------------------------------------------------------------------------------------------------------ */

static void flush_log(struct dm_hook *hook)
{
    if (dm_log_pending())
        dm_log_flush();
}

static void on_deadline(struct dm_timer *timer)
{
    struct app *app = DM_CONTAINER_OF(timer, struct app, deadline);

    dm_log(DM_LOG_WARN, "drain_cut", "requests were still in hand after %d ms", DRAIN_MS);
    app->is_cut = true;
}

/* The second signal ends it at once. */
static void on_signal(struct dm_signals *signals, int signo)
{
    struct app *app = DM_CONTAINER_OF(signals, struct app, signals);

    if (app->is_stopping) {
        app->is_cut = true;
        return;
    }
    app->is_stopping = true;
    dm_log(DM_LOG_INFO, "stopping", "stopping after the requests in hand");
    dm_api_server_drain(app->server);
    app->deadline.on_due = on_deadline;
    dm_timer_arm(app->loop, &app->deadline, DRAIN_MS);
}

static int open_loop(struct app *app, struct dm_err *err)
{
    static const int signos[] = {SIGTERM, SIGINT};

    app->loop = dm_loop_new(app->sys);
    app->log_hook.run = flush_log;
    dm_hook_add(app->loop, &app->log_hook);
    if (dm_signals_open(&app->signals, app->loop, signos, DM_COUNT(signos), on_signal) < 0)
        return dm_fail(err, DM_EIO, "", "can't receive signals: %s", strerror(errno));
    app->pool = dm_pool_new(app->loop, app->settings->threads, QUEUE_MAX);
    return app->pool == NULL ? dm_fail(err, DM_EIO, "", "can't start threads: %s", strerror(errno)) : 0;
}

static int open_fleet(struct app *app, struct dm_err *err)
{
    char link[PATH_BYTES];
    struct dm_fleet_settings fleet = {
        .loop = app->loop, .pool = app->pool, .store = app->store, .keyring = &app->keyring};
    struct dm_link_settings settings = {
        .path = app->settings->link != NULL ? app->settings->link : path_in(app, "run/controller.sock", link),
        .uid = app->settings->link_uid,
        .cluster = DM_STR(CLUSTER),
    };
    int rc = dm_fleet_new(&fleet, &app->fleet, err);

    memcpy(settings.public_key, app->keyring.sign_public, sizeof(settings.public_key));
    return rc < 0 ? rc : dm_fleet_listen(app->fleet, &settings, err);
}

static int open_api(struct app *app, struct dm_err *err)
{
    char text[DM_ADDR_TEXT_MAX];
    struct dm_err why = {0};
    int rc;

    app->metrics = dm_metrics_new(dm_routes_count);
    app->api =
        (struct dm_api){.store = app->store, .keyring = &app->keyring, .fleet = app->fleet, .metrics = app->metrics};
    app->server = dm_api_server_new(app->loop, app->pool, &app->api);
    rc = dm_api_server_listen(app->server, &app->settings->listen, &why);
    if (rc == DM_EEXIST)
        return dm_fail(err, rc, "", "%s: stop what uses the address, or choose another with --listen", why.message);
    if (rc < 0)
        return dm_fail(err, rc, "", "%s", why.message);
    dm_addr_format(dm_api_server_addr(app->server), true, text);
    dm_log(DM_LOG_INFO, "ready", "the API listens on http://%s", text);
    return 0;
}

static int start(struct app *app, struct dm_err *err)
{
    int rc = make_directories(app, err);

    if (rc < 0 || (rc = take_lock(app, err)) < 0 || (rc = open_store(app, err)) < 0 || (rc = open_loop(app, err)) < 0 ||
        (rc = open_fleet(app, err)) < 0 || (rc = open_api(app, err)) < 0)
        return rc;
    return dm_master_ensure(app->store, &app->keyring, app->sys, app->settings->master_token_file, err);
}

static int run(struct app *app, struct dm_err *err)
{
    int rc = 0;

    while (rc >= 0 && !app->is_cut && !(app->is_stopping && dm_api_server_busy(app->server) == 0))
        rc = dm_loop_turn(app->loop, -1);
    return rc < 0 ? dm_fail(err, DM_EIO, "", "the event loop failed: %s", strerror(-rc)) : 0;
}

/* Jobs end first, then what they would answer to. */
static void stop(struct app *app)
{
    if (app->pool != NULL)
        dm_pool_free(app->pool);
    dm_api_server_free(app->server);
    dm_fleet_close(app->fleet);
    while (app->loop != NULL && dm_loop_turn(app->loop, 0) > 0)
        ;
    dm_fleet_free(app->fleet);
    dm_metrics_free(app->metrics);
    if (app->loop != NULL) {
        dm_timer_cancel(app->loop, &app->deadline);
        dm_hook_del(app->loop, &app->log_hook);
    }
    if (app->signals.loop != NULL)
        dm_signals_close(&app->signals);
    dm_loop_free(app->loop);
    dm_store_close(app->store);
    dm_keyring_wipe(&app->keyring);
    dm_lockfile_release(&app->lock);
}

int dm_app_run(const struct dm_app_settings *settings, struct dm_err *err)
{
    struct app app = {.settings = settings, .sys = dm_sys_real(), .lock = {-1}};
    int rc = start(&app, err);

    if (rc >= 0)
        rc = run(&app, err);
    stop(&app);
    if (rc >= 0)
        dm_log(DM_LOG_INFO, "stopped", "stopped");
    return rc;
}
