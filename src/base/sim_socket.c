/* Listening, accepting and connecting in the simulation. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "base/sim_int.h"

enum { PORT_FIRST = 32768, PORT_LAST = 60999, BACKLOG_MAX = 4096 };

static const uint64_t syn_retry_ns = UINT64_C(1000000000);

static bool is_unix(const struct dm_addr *addr)
{
    return addr->ss.ss_family == AF_UNIX;
}

static const char *path_in(const struct dm_addr *addr)
{
    return ((const struct sockaddr_un *)&addr->ss)->sun_path;
}

static bool is_wildcard(const struct dm_addr *addr)
{
    if (addr->ss.ss_family == AF_INET)
        return ((const struct sockaddr_in *)&addr->ss)->sin_addr.s_addr == htonl(INADDR_ANY);
    return addr->ss.ss_family == AF_INET6 &&
           IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)&addr->ss)->sin6_addr);
}

static void set_port(struct dm_addr *addr, uint16_t port)
{
    if (addr->ss.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&addr->ss)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)&addr->ss)->sin_port = htons(port);
}

static uint16_t next_port(struct dm_world *world)
{
    if (world->next_port < PORT_FIRST || world->next_port >= PORT_LAST)
        world->next_port = PORT_FIRST;
    return world->next_port++;
}

/* --- listeners --- */

static bool overlaps(const struct dm_addr *a, const struct dm_addr *b)
{
    if (a->ss.ss_family != b->ss.ss_family || dm_addr_port(a) != dm_addr_port(b))
        return false;
    return is_wildcard(a) || is_wildcard(b) || dm_addr_eq(a, b);
}

static int check_free(const struct dm_world *world, const struct dm_addr *addr, bool reuse_port)
{
    for (size_t i = 0; i < world->listeners.count; i++) {
        const struct dm_sim_listener *other = world->listeners.items[i];

        if (!is_unix(addr) && overlaps(&other->addr, addr) && !(reuse_port && other->reuse_port))
            return -EADDRINUSE;
    }
    return 0;
}

static struct dm_sim_listener *find_unix(const struct dm_world *world, const struct dm_sim_inode *inode)
{
    for (size_t i = 0; i < world->listeners.count; i++)
        if (world->listeners.items[i]->inode == inode)
            return world->listeners.items[i];
    return NULL;
}

/* The exact address before the wildcard; among several with reuse_port one drawn from the seed. */
static struct dm_sim_listener *find_inet(struct dm_world *world, const struct dm_addr *addr)
{
    struct dm_sim_listener *found = NULL;
    uint64_t n_found = 0;
    bool is_exact = false;

    for (size_t i = 0; i < world->listeners.count; i++) {
        struct dm_sim_listener *listener = world->listeners.items[i];
        bool is_same = dm_addr_eq(&listener->addr, addr);

        if (listener->inode || !overlaps(&listener->addr, addr) || (is_exact && !is_same))
            continue;
        if (is_same && !is_exact)
            n_found = 0;
        is_exact |= is_same;
        if (n_found++ == 0 || dm_sim_draw(world, n_found) == 0)
            found = listener;
    }
    return found;
}

static unsigned listener_ready(struct dm_sim_source *source)
{
    return ((struct dm_sim_listener *)source)->waiting.count > 0 ? DM_READY_IN : 0;
}

/* Makes the socket's file, in place of a stale one. */
static int make_socket_file(struct dm_sim_process *p, const char *path, struct dm_sim_inode **ret)
{
    struct dm_sim_disk *disk = &p->world->disk;
    char *normal DM_CLEANUP(dm_freep) = dm_sim_path_of(path);
    struct dm_sim_inode *old = dm_sim_disk_find(disk, normal);
    int rc;

    if (old && (old->kind != SIM_INODE_SOCKET || find_unix(p->world, old)))
        return -EADDRINUSE;
    if (!old && (rc = dm_sim_disk_check_parent(disk, normal)) < 0)
        return rc;
    *ret = dm_sim_inode_new(SIM_INODE_SOCKET);
    dm_sim_disk_change(p, SIM_LINK, normal, NULL, *ret);
    return 0;
}

static int listen_on(struct dm_sim_process *p, const struct dm_addr *addr, int backlog, bool reuse_port)
{
    struct dm_sim_inode *inode = NULL;
    struct dm_addr bound = *addr;
    int rc;

    if ((rc = dm_sim_fd_room(p)) < 0)
        return rc;
    if (!is_unix(addr) && dm_addr_port(addr) == 0)
        set_port(&bound, next_port(p->world));
    if ((rc = check_free(p->world, &bound, reuse_port)) < 0)
        return rc;
    if (is_unix(addr) && (rc = make_socket_file(p, path_in(addr), &inode)) < 0)
        return rc;

    struct dm_sim_listener *listener = dm_calloc(1, sizeof(*listener));
    listener->source.ready = listener_ready;
    listener->process = p;
    listener->addr = bound;
    listener->cred = p->cred;
    listener->inode = inode;
    listener->backlog = (size_t)DM_MIN(DM_MAX(backlog, 0), BACKLOG_MAX);
    listener->reuse_port = reuse_port;
    *dm_vec_push(&p->world->listeners) = listener;
    return dm_sim_fd_put(p, (struct dm_sim_fd){.kind = SIM_LISTENER, .listener = listener});
}

int dm_sim_listen(struct dm_sys *sys, const struct dm_addr *addr, int backlog, bool reuse_port)
{
    struct dm_sim_process *p = dm_sim_process_of(sys);
    int rc = dm_sim_enter(p);

    return (int)dm_sim_trace(p, "listen", -1, rc < 0 ? rc : listen_on(p, addr, backlog, reuse_port));
}

/* As the kernel: connections that nobody accepted are reset. */
void dm_sim_listener_close(struct dm_sim_listener *listener)
{
    struct dm_world *world = listener->process->world;

    for (size_t i = 0; i < listener->waiting.count; i++) {
        struct dm_sim_end *end = listener->waiting.items[i];

        dm_sim_end_reset(end);
        dm_sim_end_close(end);
    }
    for (size_t i = 0; i < world->listeners.count; i++)
        if (world->listeners.items[i] == listener)
            dm_vec_drop(&world->listeners, i);
    dm_sim_source_done(&listener->source);
    if (listener->inode)
        dm_sim_inode_unref(listener->inode);
    dm_vec_done(&listener->waiting);
    dm_free(listener);
}

static bool is_full(const struct dm_sim_listener *listener)
{
    return listener->waiting.count > listener->backlog;
}

/* A new connection waits to be accepted. Its socket reports the listener's address, or the one that was called. */
static void enqueue(struct dm_sim_listener *listener, struct dm_sim_end *client)
{
    struct dm_sim_end *server = dm_sim_end_new(listener->process, &client->remote, &client->local);

    /* A Unix client has no name, but the family decides how the end behaves. */
    dm_sim_end_join(client, server);
    server->peer_cred = client->process->cred;
    client->peer_cred = listener->cred;
    *dm_vec_push(&listener->waiting) = server;
    dm_sim_source_wake(&listener->source);
}

static int accept_one(struct dm_sim_process *p, int fd, struct dm_addr *ret_peer)
{
    struct dm_sim_fd *at = dm_sim_fd_get(p, fd, SIM_LISTENER);
    struct dm_sim_end *end;
    int rc;

    if (!at)
        return dm_sim_fd_get(p, fd, SIM_END) ? -EINVAL : -EBADF;
    struct dm_sim_listener *listener = at->listener;
    if ((rc = dm_sim_fd_room(p)) < 0)
        return rc;
    if (listener->waiting.count == 0)
        return -EAGAIN;
    end = listener->waiting.items[0];
    memmove(listener->waiting.items, listener->waiting.items + 1, --listener->waiting.count * sizeof(end));
    if (ret_peer)
        *ret_peer = end->remote;
    return dm_sim_fd_put(p, (struct dm_sim_fd){.kind = SIM_END, .end = end});
}

int dm_sim_accept(struct dm_sys *sys, int fd, struct dm_addr *ret_peer)
{
    struct dm_sim_process *p = dm_sim_process_of(sys);
    int rc = dm_sim_enter(p);

    return (int)dm_sim_trace(p, "accept", fd, rc < 0 ? rc : accept_one(p, fd, ret_peer));
}

/* --- connecting --- */

/* The address that a process calls from: loopback for loopback, its own otherwise. */
static struct dm_addr own_addr(struct dm_sim_process *p, const struct dm_addr *to)
{
    struct dm_addr addr = {.len = to->len};
    struct sockaddr_in *in4 = (struct sockaddr_in *)&addr.ss;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&addr.ss;

    addr.ss.ss_family = to->ss.ss_family;
    if (is_unix(to)) {
        addr.len = sizeof(sa_family_t);
        return addr;
    }
    if (to->ss.ss_family == AF_INET) {
        bool is_loopback = ntohl(((const struct sockaddr_in *)&to->ss)->sin_addr.s_addr) >> 24 == 127;

        in4->sin_addr.s_addr = htonl(is_loopback ? INADDR_LOOPBACK : 0x0a000000u + p->index);
    } else if (IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)&to->ss)->sin6_addr)) {
        in6->sin6_addr = in6addr_loopback;
    } else {
        in6->sin6_addr.s6_addr[0] = 0xfd;
        in6->sin6_addr.s6_addr[14] = (uint8_t)(p->index >> 8);
        in6->sin6_addr.s6_addr[15] = (uint8_t)p->index;
    }
    set_port(&addr, next_port(p->world));
    return addr;
}

static int connect_unix(struct dm_sim_process *p, const struct dm_addr *addr)
{
    char *path DM_CLEANUP(dm_freep) = dm_sim_path_of(path_in(addr));
    struct dm_sim_inode *inode = dm_sim_disk_find(&p->world->disk, path);
    struct dm_sim_listener *listener = inode && inode->kind == SIM_INODE_SOCKET ? find_unix(p->world, inode) : NULL;

    if (!inode)
        return -ENOENT;
    if (!listener || dm_sim_chance(p->world, p->world->faults.connect_refused))
        return -ECONNREFUSED;
    if (is_full(listener))
        return -EAGAIN;
    struct dm_addr from = own_addr(p, addr);
    struct dm_sim_end *end = dm_sim_end_new(p, &from, addr);
    enqueue(listener, end);
    end->state = SIM_END_OPEN;
    return dm_sim_fd_put(p, (struct dm_sim_fd){.kind = SIM_END, .end = end});
}

static int connect_inet(struct dm_sim_process *p, const struct dm_addr *addr)
{
    struct dm_addr from = own_addr(p, addr);
    struct dm_sim_end *end = dm_sim_end_new(p, &from, addr);

    if (dm_sim_chance(p->world, p->world->faults.connect_refused))
        dm_sim_end_post(end, SIM_SEGMENT_REFUSED, NULL, 0);
    else
        dm_sim_syn_post(end, dm_sim_latency_ns(p->world));
    return dm_sim_fd_put(p, (struct dm_sim_fd){.kind = SIM_END, .end = end});
}

static int connect_to(struct dm_sim_process *p, const struct dm_addr *addr)
{
    int rc;

    if ((rc = dm_sim_fd_room(p)) < 0)
        return rc;
    switch (addr->ss.ss_family) {
    case AF_UNIX: return connect_unix(p, addr);
    case AF_INET:
    case AF_INET6: return connect_inet(p, addr);
    default: return -EAFNOSUPPORT;
    }
}

int dm_sim_connect(struct dm_sys *sys, const struct dm_addr *addr)
{
    struct dm_sim_process *p = dm_sim_process_of(sys);
    int rc = dm_sim_enter(p);

    return (int)dm_sim_trace(p, "connect", -1, rc < 0 ? rc : connect_to(p, addr));
}

void dm_sim_syn_arrive(struct dm_sim_end *client)
{
    struct dm_world *world = client->world;

    if (client->is_closed) {
        dm_sim_end_reap(client);
        return;
    }
    struct dm_sim_listener *listener = find_inet(world, &client->remote);
    if (!listener) {
        dm_sim_end_post(client, SIM_SEGMENT_REFUSED, NULL, 0);
    } else if (is_full(listener) || dm_sim_is_cut(client->process, listener->process)) {
        dm_sim_syn_post(client, syn_retry_ns << (client->n_tries - 1));
    } else {
        enqueue(listener, client);
        dm_sim_end_post(client, SIM_SEGMENT_OPEN, NULL, 0);
    }
}

/* --- asking --- */

static int connect_error(struct dm_sim_process *p, int fd)
{
    struct dm_sim_fd *at = dm_sim_fd_get(p, fd, SIM_END);
    int error;

    if (!at)
        return -EBADF;
    error = at->end->error;
    at->end->error = 0;
    return -error;
}

int dm_sim_connect_error(struct dm_sys *sys, int fd)
{
    struct dm_sim_process *p = dm_sim_process_of(sys);

    return (int)dm_sim_trace(p, "connect_error", fd, connect_error(p, fd));
}

int dm_sim_local_addr(struct dm_sys *sys, int fd, struct dm_addr *ret)
{
    struct dm_sim_process *p = dm_sim_process_of(sys);
    struct dm_sim_fd *at;
    int rc = dm_sim_enter(p);

    if (rc == 0 && (at = dm_sim_fd_get(p, fd, SIM_END)))
        *ret = at->end->local;
    else if (rc == 0 && (at = dm_sim_fd_get(p, fd, SIM_LISTENER)))
        *ret = at->listener->addr;
    else if (rc == 0)
        rc = -EBADF;
    return (int)dm_sim_trace(p, "local_addr", fd, rc);
}

int dm_sim_peer_cred(struct dm_sys *sys, int fd, struct dm_peer_cred *ret)
{
    struct dm_sim_process *p = dm_sim_process_of(sys);
    struct dm_sim_fd *at = dm_sim_fd_get(p, fd, SIM_END);
    int rc = dm_sim_enter(p);

    if (rc == 0 && !(at && is_unix(&at->end->remote)))
        rc = at ? -EINVAL : -EBADF;
    if (rc == 0)
        *ret = at->end->peer_cred;
    return (int)dm_sim_trace(p, "peer_cred", fd, rc);
}
