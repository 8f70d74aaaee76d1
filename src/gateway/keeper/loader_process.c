/* Supervision of the loader. Jobs are sent ahead, a few at a time, so that it works while the keeper writes to the disk; the
 * first one sent that has no answer is in its hands when it dies (loader.h, D1). */
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "base/mem.h"
#include "gateway/keeper/keeper_int.h"

enum { SENT_MAX = 16, DEATHS_MAX = 3, WATCHDOG_MS = 60000 };

/* A channel to one life of the loader; freed when it has closed. */
struct dm_loader_conn {
    struct dm_keeper *keeper;
    struct dm_channel channel;
};

static void free_job(struct dm_keeper *k, struct dm_keeper_job *job)
{
    dm_store_drop(&k->store, &job->staged);
    dm_free(job);
}

/* --- jobs -------------------------------------------------------------------------------------------------------- */

static bool send_job(struct dm_keeper *k, struct dm_keeper_job *job)
{
    struct dm_loader_compile message = {.id = job->id};

    memcpy(message.public_key, k->store.key, sizeof(message.public_key));
    memcpy(message.path, job->staged.unit, sizeof(message.path));
    return dm_channel_send(&k->loader.conn->channel, DM_LOADER_COMPILE,
                           dm_str_n((const char *)&message, sizeof(message)), job->staged.fd) == 0;
}

static void send_jobs(struct dm_keeper *k)
{
    struct dm_keeper_loader *loader = &k->loader;

    for (struct dm_keeper_job *job = loader->head; job && loader->conn && loader->n_sent < SENT_MAX; job = job->next) {
        if (job->is_sent)
            continue;
        if (!send_job(k, job)) {
            dm_channel_close(&loader->conn->channel);
            return;
        }
        job->is_sent = true;
        if (loader->n_sent++ == 0)
            dm_timer_arm(k->loop, &loader->watchdog, WATCHDOG_MS);
    }
}

void dm_keeper_loader_submit(struct dm_keeper *k, struct dm_keeper_job *job)
{
    struct dm_keeper_loader *loader = &k->loader;

    job->id = ++loader->next_id;
    job->next = NULL;
    if (loader->tail)
        loader->tail->next = job;
    else
        loader->head = job;
    loader->tail = job;
    loader->n_jobs++;
    send_jobs(k);
}

static struct dm_keeper_job *take_head(struct dm_keeper_loader *loader)
{
    struct dm_keeper_job *job = loader->head;

    if (!(loader->head = job->next))
        loader->tail = NULL;
    loader->n_jobs--;
    loader->n_sent -= job->is_sent;
    dm_timer_cancel(loader->keeper->loop, &loader->watchdog);
    if (loader->n_sent > 0)
        dm_timer_arm(loader->keeper->loop, &loader->watchdog, WATCHDOG_MS);
    return job;
}

/* --- answers ----------------------------------------------------------------------------------------------------- */

static void on_done(struct dm_keeper *k, const struct dm_loader_done *done)
{
    struct dm_keeper_job *job = k->loader.head;
    struct dm_err err = {.code = done->code};

    if (!job || !job->is_sent || job->id != done->id) {
        dm_log(DM_LOG_ERROR, "loader_message", "the loader answered what was not asked");
        dm_channel_close(&k->loader.conn->channel);
        return;
    }
    memcpy(err.pointer, done->pointer, sizeof(err.pointer) - 1);
    memcpy(err.message, done->message, sizeof(err.message) - 1);
    take_head(&k->loader);
    send_jobs(k);
    if (done->code == 0 && dm_mark_cmp(done->mark, job->mark) != 0)
        dm_fail(&err, DM_ECORRUPT, "", "the loader compiled another document than it was given");
    dm_keeper_compiled(k, job, err.code, &err);
}

static void on_message(struct dm_channel *channel, uint32_t type, struct dm_str payload, int fd)
{
    struct dm_loader_conn *conn = DM_CONTAINER_OF(channel, struct dm_loader_conn, channel);
    struct dm_loader_done done;

    if (fd >= 0)
        close(fd);
    if (type != DM_LOADER_DONE || payload.len != sizeof(done))
        return;
    memcpy(&done, payload.ptr, sizeof(done));
    on_done(conn->keeper, &done);
}

/* Everything it answered was read before: the first sent job is the one it died with. */
static void blame(struct dm_keeper *k)
{
    struct dm_keeper_job *job = k->loader.head;
    struct dm_err err = {0};

    for (struct dm_keeper_job *at = job; at; at = at->next) {
        at->n_deaths += at == job && at->is_sent;
        at->is_sent = false;
    }
    k->loader.n_sent = 0;
    dm_timer_cancel(k->loop, &k->loader.watchdog);
    if (!job || job->n_deaths < DEATHS_MAX)
        return;
    take_head(&k->loader);
    dm_fail(&err, DM_EINVAL, "", "loader_crashed: the loader died %u times with this document in hand", job->n_deaths);
    dm_keeper_compiled(k, job, err.code, &err);
}

static void on_closed(struct dm_channel *channel, int code)
{
    struct dm_loader_conn *conn = DM_CONTAINER_OF(channel, struct dm_loader_conn, channel);
    struct dm_keeper *k = conn->keeper;

    dm_free(conn);
    k->n_conns--;
    k->loader.conn = NULL;
    if (k->is_stopping)
        return;
    blame(k);
    /* It closed without dying, or we closed: a fresh one. */
    if (k->loader.process.state == DM_PROCESS_RUNNING)
        dm_process_signal(&k->loader.process, SIGKILL);
}

static void on_watchdog(struct dm_timer *timer)
{
    struct dm_keeper_loader *loader = DM_CONTAINER_OF(timer, struct dm_keeper_loader, watchdog);

    dm_log(DM_LOG_ERROR, "loader_hangs", "the loader does not finish a document; it is killed");
    dm_process_signal(&loader->process, SIGKILL);
}

/* --- the process ------------------------------------------------------------------------------------------------- */

static int on_spawn(struct dm_process *process, struct dm_spawn *spawn)
{
    struct dm_keeper_loader *loader = DM_CONTAINER_OF(process, struct dm_keeper_loader, process);
    struct dm_keeper *k = loader->keeper;
    struct dm_loader_conn *conn;
    int fds[2], rc;

    if (loader->conn) /* of the one before; its last answers are still to be read */
        return -EAGAIN;
    if ((rc = dm_channel_pair(fds)) < 0)
        return rc;
    conn = dm_calloc(1, sizeof(*conn));
    conn->keeper = k;
    conn->channel.on_message = on_message;
    conn->channel.on_closed = on_closed;
    if ((rc = dm_channel_open(&conn->channel, k->loop, fds[0], 0)) < 0) {
        close(fds[1]);
        dm_free(conn);
        return rc;
    }
    loader->conn = conn;
    k->n_conns++;
    loader->child_fd = fds[1];
    dm_gateway_options_args(&k->options, DM_ROLE_LOADER, 0, 0, &k->spawn_args);
    dm_spawn_arg(spawn, "daemun-gateway");
    for (size_t i = 0; i < k->spawn_args.count; i++)
        dm_spawn_arg(spawn, k->spawn_args.items[i]);
    dm_spawn_fd(spawn, fds[1], DM_LOADER_FD);
    return 0;
}

static void on_spawned(struct dm_process *process, pid_t pid)
{
    struct dm_keeper_loader *loader = DM_CONTAINER_OF(process, struct dm_keeper_loader, process);

    if (loader->child_fd >= 0)
        close(loader->child_fd);
    loader->child_fd = -1;
    if (pid > 0) {
        dm_log(DM_LOG_DEBUG, "loader_started", "started the loader, pid %d", (int)pid);
        send_jobs(loader->keeper);
    } else if (pid != -EAGAIN) {
        dm_log(DM_LOG_ERROR, "loader_start", "can't start the loader: %s", strerror(-pid));
    }
}

static void on_exit_of_loader(struct dm_process *process, int status)
{
    struct dm_keeper_loader *loader = DM_CONTAINER_OF(process, struct dm_keeper_loader, process);
    char text[DM_PROCESS_STATUS_MAX];

    if (loader->keeper->is_stopping) {
        dm_process_stop(process);
        return;
    }
    loader->n_deaths++;
    dm_log(DM_LOG_ERROR, "loader_died", "the loader died (%s); it is started again",
           dm_process_status_text(status, text));
}

static const struct dm_process_type process_type = {
    .on_spawn = on_spawn,
    .on_spawned = on_spawned,
    .on_exit = on_exit_of_loader,
    .backoff_min_ms = 2,
    .backoff_max_ms = 2000,
    .stable_ms = 5000,
    .stop_ms = 1000,
};

void dm_keeper_loader_start(struct dm_keeper *k)
{
    k->loader.keeper = k;
    k->loader.child_fd = -1;
    k->loader.watchdog.on_due = on_watchdog;
    dm_process_init(&k->loader.process, k->loop, &process_type);
    dm_process_start(&k->loader.process);
}

void dm_keeper_loader_stop(struct dm_keeper *k)
{
    dm_process_stop(&k->loader.process);
    if (k->loader.conn)
        dm_channel_close(&k->loader.conn->channel);
    while (k->loader.head)
        free_job(k, take_head(&k->loader));
    dm_timer_cancel(k->loop, &k->loader.watchdog);
}
