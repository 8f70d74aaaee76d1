/* The gateway's listening sockets: one for each address and slot, of a Unix address one for all. The keeper opens them, or gets
 * them from workers that live (worker_link.h), and has them as long as it lives; it never accepts.
 *
 *   missing --[a worker of the slot may listen: opened, given]--> given --[nobody serves the slot]--> minded by a neighbour
 *   given --[not wanted any more, or the gateway ends]--> hushed: no handshake begins, what has knocked is accepted --> closed
 *
 * L1. A connection that the kernel has taken is accepted by somebody: the queue lives in the socket, the socket as long as the
 *     keeper or one worker does, and a slot that nobody serves for the moment is served by another worker.
 * L2. A socket is opened only when nobody alive has one of its name: a second one would take its share of connections with
 *     nobody behind it. */
#include <errno.h>
#include <sys/un.h>
#include <unistd.h>

#include "gateway/keeper/keeper_int.h"

enum { BACKLOG = 4096, RETRY_MS = 1000, STILL_MIN = 2 };

/* --- the table --------------------------------------------------------------------------------------------------- */

static bool is_unix(const struct dm_worker_socket *name)
{
    return dm_str_starts(dm_str_of(name->address), DM_STR("unix:"));
}

static struct dm_worker_socket name_of(const struct dm_addr *addr, unsigned slot)
{
    struct dm_worker_socket name;

    memset(&name, 0, sizeof(name));
    dm_addr_format(addr, true, name.address);
    name.slot = addr->ss.ss_family == AF_UNIX ? 0 : slot;
    return name;
}

static struct dm_keeper_socket *find(struct dm_keeper *k, const struct dm_worker_socket *name)
{
    for (size_t i = 0; i < k->sockets.count; i++)
        if (k->sockets.items[i].name.slot == name->slot && strcmp(k->sockets.items[i].name.address, name->address) == 0)
            return &k->sockets.items[i];
    return NULL;
}

static struct dm_keeper_socket *add(struct dm_keeper *k, const struct dm_worker_socket *name, int fd)
{
    struct dm_keeper_socket *socket = dm_vec_push(&k->sockets);

    *socket = (struct dm_keeper_socket){*name, fd};
    return socket;
}

static void forget(struct dm_keeper *k, struct dm_keeper_socket *socket)
{
    k->sys->ops->close(k->sys, socket->fd);
    *socket = k->sockets.items[--k->sockets.count];
}

void dm_keeper_sockets_keep(struct dm_keeper *k, const struct dm_worker_socket *name, int fd)
{
    if (find(k, name))
        k->sys->ops->close(k->sys, fd);
    else
        add(k, name, fd);
}

void dm_keeper_sockets_done(struct dm_keeper *k)
{
    dm_timer_cancel(k->loop, &k->sockets_timer);
    while (k->sockets.count > 0)
        forget(k, &k->sockets.items[0]);
    dm_vec_done(&k->sockets);
}

/* --- giving ------------------------------------------------------------------------------------------------------ */

static void on_retry(struct dm_timer *timer)
{
    dm_keeper_workers_sync(DM_CONTAINER_OF(timer, struct dm_keeper, sockets_timer));
}

static void fail_open(struct dm_keeper *k, const struct dm_worker_socket *name, int error)
{
    dm_log(DM_LOG_ERROR, "listen_failed", "can't listen on %s: %s; it is tried again", name->address, strerror(-error));
    k->sockets_timer.on_due = on_retry;
    dm_timer_arm(k->loop, &k->sockets_timer, RETRY_MS);
}

/* One half of a dual listener may be of a family that the machine does not have. */
static bool may_lack(const struct dm_listener_spec *spec, int error)
{
    return spec->is_optional && error != -EADDRINUSE && error != -EACCES && error != -EPERM;
}

/* 1 with the socket in *ret, 0 where there is nothing to listen on, or -errno. */
static int find_or_open(struct dm_keeper *k, const struct dm_listener_spec *spec, unsigned slot,
                        const struct dm_keeper_socket **ret)
{
    struct dm_worker_socket name = name_of(&spec->addr, slot);
    int fd;

    if ((*ret = find(k, &name)))
        return 1;
    fd = k->sys->ops->listen(k->sys, &spec->addr, BACKLOG, spec->addr.ss.ss_family != AF_UNIX);
    if (fd >= 0) {
        *ret = add(k, &name, fd);
        return 1;
    }
    if (!may_lack(spec, fd)) {
        fail_open(k, &name, fd);
        return fd;
    }
    dm_log(DM_LOG_WARN, "listener_left_out", "can't listen on %s: %s", name.address, strerror(-fd));
    return 0;
}

static void give(struct dm_keeper_worker *worker, const struct dm_keeper_socket *socket)
{
    dm_keeper_tell(worker, DM_WORKER_LISTENER, &socket->name, sizeof(socket->name), socket->fd);
}

bool dm_keeper_sockets_give(struct dm_keeper *k, struct dm_keeper_worker *worker, unsigned slot)
{
    for (size_t i = 0; i < k->options.n_listen; i++) {
        const struct dm_keeper_socket *socket;
        int rc = find_or_open(k, &k->options.listen[i], slot, &socket);
        if (rc < 0)
            return false;
        if (rc > 0)
            give(worker, socket);
    }
    return true;
}

/* --- minding (L1) ------------------------------------------------------------------------------------------------ */

/* One that hangs can't be told from one that is busy at the first look; to serve its sockets besides is harmless. */
static bool needs_minder(const struct dm_keeper *k, unsigned slot)
{
    for (int bank = 0; bank < DM_GATEWAY_BANKS; bank++) {
        const struct dm_keeper_worker *worker = k->workers[slot][bank];
        if (worker && dm_keeper_worker_serves(worker) && worker->n_still < STILL_MIN)
            return false;
    }
    return true;
}

static struct dm_keeper_worker *find_minder(const struct dm_keeper *k, unsigned slot)
{
    for (unsigned i = 1; i < k->options.n_workers; i++) {
        struct dm_keeper_worker *worker = k->current[(slot + i) % k->options.n_workers];
        if (worker && dm_keeper_worker_serves(worker) && worker->n_still < STILL_MIN)
            return worker;
    }
    return NULL;
}

static void lend(struct dm_keeper *k, unsigned slot, struct dm_keeper_worker *minder)
{
    for (size_t i = 0; i < k->sockets.count; i++)
        if (k->sockets.items[i].name.slot == slot && !is_unix(&k->sockets.items[i].name)) {
            give(minder, &k->sockets.items[i]);
            k->minder[slot] = minder;
        }
}

static void take_back(struct dm_keeper *k, unsigned slot)
{
    for (size_t i = 0; i < k->sockets.count; i++)
        if (k->sockets.items[i].name.slot == slot && !is_unix(&k->sockets.items[i].name))
            dm_keeper_tell(k->minder[slot], DM_WORKER_UNLISTEN, &k->sockets.items[i].name,
                           sizeof(k->sockets.items[i].name), -1);
    k->minder[slot] = NULL;
}

static void mind_slot(struct dm_keeper *k, unsigned slot)
{
    struct dm_keeper_worker *minder = k->minder[slot];

    if (minder && !dm_keeper_worker_serves(minder))
        minder = k->minder[slot] = NULL;
    if (!needs_minder(k, slot)) {
        if (minder)
            take_back(k, slot);
    } else if (!minder && (minder = find_minder(k, slot))) {
        lend(k, slot, minder);
    }
}

void dm_keeper_sockets_mind(struct dm_keeper *k)
{
    for (unsigned slot = 0; slot < k->options.n_workers && !k->is_stopping; slot++)
        mind_slot(k, slot);
}

void dm_keeper_sockets_minded(struct dm_keeper *k, struct dm_keeper_worker *worker, unsigned slot)
{
    if (!k->minder[slot])
        k->minder[slot] = worker;
}

/* --- ending ------------------------------------------------------------------------------------------------------ */

static bool is_wanted(const struct dm_keeper *k, const struct dm_worker_socket *name)
{
    for (size_t i = 0; i < k->options.n_listen; i++) {
        struct dm_worker_socket wanted = name_of(&k->options.listen[i].addr, name->slot);
        if (name->slot < k->options.n_workers && strcmp(wanted.address, name->address) == 0)
            return true;
    }
    return false;
}

static void hush(struct dm_keeper *k, struct dm_keeper_socket *socket)
{
    if (is_unix(&socket->name))
        unlink(socket->name.address + sizeof("unix:") - 1);
    else
        dm_listener_hush(socket->fd);
    forget(k, socket);
}

void dm_keeper_sockets_retire(struct dm_keeper *k, unsigned slot)
{
    for (size_t i = k->sockets.count; i-- > 0;)
        if (k->sockets.items[i].name.slot == slot && !is_wanted(k, &k->sockets.items[i].name))
            hush(k, &k->sockets.items[i]);
}

void dm_keeper_sockets_hush(struct dm_keeper *k)
{
    while (k->sockets.count > 0)
        hush(k, &k->sockets.items[0]);
}
