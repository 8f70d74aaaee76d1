/* The kernel's side of the seam. Stateless, so any thread may use it.
 *
 * Every call is retried on EINTR but poll_wait, whose caller wants to see what the signal changed, and close, which has
 * closed the descriptor by then. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/sys.h"

enum { POLL_BATCH = 256, UNIX_MODE = 0660 };

/* The value of a call, repeated while a signal interrupts it; -errno on failure. */
#define CALL(expr)                                                                                                     \
    ({                                                                                                                 \
        __typeof__(expr) rc_;                                                                                          \
        do                                                                                                             \
            rc_ = (expr);                                                                                              \
        while (rc_ < 0 && errno == EINTR);                                                                             \
        rc_ < 0 ? -errno : rc_;                                                                                        \
    })

static uint64_t clock_ns(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t real_mono_ns(struct dm_sys *sys)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static uint64_t real_wall_ns(struct dm_sys *sys)
{
    return clock_ns(CLOCK_REALTIME);
}

static uint64_t real_ticks(struct dm_sys *sys)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t ticks;

    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#else
    return clock_ns(CLOCK_MONOTONIC);
#endif
}

static uint64_t real_cpu_ns(struct dm_sys *sys)
{
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static void real_random(struct dm_sys *sys, void *ret, size_t len)
{
    uint8_t *at = ret;
    ssize_t n;

    for (; len > 0; at += n, len -= (size_t)n)
        if ((n = CALL(getrandom(at, len, 0))) < 0)
            abort();
}

static int new_socket(const struct dm_addr *addr)
{
    int on = 1, fd = CALL(socket(addr->ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));

    if (fd >= 0 && addr->ss.ss_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

static int set_listen_options(int fd, const struct dm_addr *addr, bool reuse_port)
{
    int on = 1;

    if (addr->ss.ss_family == AF_UNIX)
        return 0;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
        return -errno;
    if (addr->ss.ss_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
        return -errno;
    if (reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0)
        return -errno;
    return 0;
}

/* Is there a socket file that nobody listens on? */
static bool is_stale_unix(const struct dm_addr *addr)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&addr->ss;
    struct stat st;
    int fd, rc;

    if (addr->ss.ss_family != AF_UNIX || lstat(un->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return false;
    if ((fd = new_socket(addr)) < 0)
        return false;
    rc = CALL(connect(fd, (const struct sockaddr *)&addr->ss, addr->len));
    close(fd);
    return rc == -ECONNREFUSED;
}

static int bind_addr(int fd, const struct dm_addr *addr)
{
    int rc = CALL(bind(fd, (const struct sockaddr *)&addr->ss, addr->len));

    if (rc != -EADDRINUSE || !is_stale_unix(addr))
        return rc;
    unlink(((const struct sockaddr_un *)&addr->ss)->sun_path);
    return CALL(bind(fd, (const struct sockaddr *)&addr->ss, addr->len));
}

/* Whatever the umask: who may connect is the owner and its group. Nobody can before listen. */
static int set_mode(const struct dm_addr *addr)
{
    if (addr->ss.ss_family != AF_UNIX)
        return 0;
    return CALL(chmod(((const struct sockaddr_un *)&addr->ss)->sun_path, UNIX_MODE));
}

/* Accepted sockets inherit TCP_NODELAY from the listening one. */
static int real_listen(struct dm_sys *sys, const struct dm_addr *addr, int backlog, bool reuse_port)
{
    int fd, rc;

    if ((fd = new_socket(addr)) < 0)
        return fd;
    if ((rc = set_listen_options(fd, addr, reuse_port)) < 0 || (rc = bind_addr(fd, addr)) < 0 ||
        (rc = set_mode(addr)) < 0 || (rc = CALL(listen(fd, backlog))) < 0) {
        close(fd);
        return rc;
    }
    return fd;
}

static int real_accept(struct dm_sys *sys, int fd, struct dm_addr *ret_peer)
{
    struct dm_addr peer = {.len = sizeof(peer.ss)};
    int rc;

    /* A connection that died in the queue is not the caller's concern. */
    do
        rc = CALL(accept4(fd, (struct sockaddr *)&peer.ss, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC));
    while (rc == -ECONNABORTED);
    if (rc >= 0 && ret_peer)
        *ret_peer = peer;
    return rc;
}

static int real_connect(struct dm_sys *sys, const struct dm_addr *addr)
{
    int fd, rc;

    if ((fd = new_socket(addr)) < 0)
        return fd;
    /* Not retried: an interrupted connect goes on by itself. */
    if (connect(fd, (const struct sockaddr *)&addr->ss, addr->len) < 0 && errno != EINPROGRESS && errno != EINTR) {
        rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

static int real_connect_error(struct dm_sys *sys, int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        return -errno;
    return -error;
}

static ssize_t real_recv(struct dm_sys *sys, int fd, void *ret, size_t len)
{
    return CALL(recv(fd, ret, len, 0));
}

static ssize_t real_peek(struct dm_sys *sys, int fd, void *ret, size_t len)
{
    return CALL(recv(fd, ret, len, MSG_PEEK));
}

static ssize_t real_send(struct dm_sys *sys, int fd, const void *ptr, size_t len)
{
    return CALL(send(fd, ptr, len, MSG_NOSIGNAL));
}

static ssize_t real_sendv(struct dm_sys *sys, int fd, const struct iovec *iov, int n)
{
    struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)DM_MIN(n, IOV_MAX)};

    return CALL(sendmsg(fd, &msg, MSG_NOSIGNAL));
}

static int real_shutdown_write(struct dm_sys *sys, int fd)
{
    return CALL(shutdown(fd, SHUT_WR));
}

static int real_reset_on_close(struct dm_sys *sys, int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    return CALL(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
}

static int real_local_addr(struct dm_sys *sys, int fd, struct dm_addr *ret)
{
    struct dm_addr addr = {.len = sizeof(addr.ss)};

    if (getsockname(fd, (struct sockaddr *)&addr.ss, &addr.len) < 0)
        return -errno;
    *ret = addr;
    return 0;
}

static int real_peer_cred(struct dm_sys *sys, int fd, struct dm_peer_cred *ret)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return -errno;
    /* Pid 0: a TCP socket, or one that is not connected. */
    if (cred.pid == 0)
        return -EINVAL;
    *ret = (struct dm_peer_cred){.uid = cred.uid, .gid = cred.gid, .pid = cred.pid};
    return 0;
}

static int real_close(struct dm_sys *sys, int fd)
{
    return close(fd) < 0 && errno != EINTR ? -errno : 0;
}

static int real_poll_new(struct dm_sys *sys)
{
    return CALL(epoll_create1(EPOLL_CLOEXEC));
}

static int real_poll_add(struct dm_sys *sys, int poll_fd, int fd, uint64_t tag)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u64 = tag};

    return CALL(epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event));
}

static int real_poll_del(struct dm_sys *sys, int poll_fd, int fd)
{
    return CALL(epoll_ctl(poll_fd, EPOLL_CTL_DEL, fd, NULL));
}

static unsigned ready_of(uint32_t events)
{
    unsigned ready = 0;

    if (events & EPOLLIN)
        ready |= DM_READY_IN;
    if (events & EPOLLOUT)
        ready |= DM_READY_OUT;
    if (events & EPOLLRDHUP)
        ready |= DM_READY_HUP | DM_READY_IN;
    if (events & EPOLLHUP)
        ready |= DM_READY_HUP | DM_READY_IN | DM_READY_OUT;
    if (events & EPOLLERR)
        ready |= DM_READY_ERR | DM_READY_IN | DM_READY_OUT;
    return ready;
}

static int real_poll_wait(struct dm_sys *sys, int poll_fd, struct dm_ready_event *ret, int max, int timeout_ms)
{
    struct epoll_event events[POLL_BATCH];
    int n = epoll_wait(poll_fd, events, DM_MIN(max, POLL_BATCH), timeout_ms);

    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < n; i++)
        ret[i] = (struct dm_ready_event){.tag = events[i].data.u64, .ready = ready_of(events[i].events)};
    return n;
}

static int real_open(struct dm_sys *sys, const char *path, int flags, unsigned mode)
{
    return CALL(open(path, flags | O_CLOEXEC, (mode_t)mode));
}

static ssize_t real_read(struct dm_sys *sys, int fd, void *ret, size_t len)
{
    return CALL(read(fd, ret, len));
}

static ssize_t real_write(struct dm_sys *sys, int fd, const void *ptr, size_t len)
{
    return CALL(write(fd, ptr, len));
}

static int real_fsync(struct dm_sys *sys, int fd)
{
    return CALL(fsync(fd));
}

static int real_rename(struct dm_sys *sys, const char *from, const char *to)
{
    return CALL(rename(from, to));
}

static int real_unlink(struct dm_sys *sys, const char *path)
{
    return CALL(unlink(path));
}

static int real_mkdir(struct dm_sys *sys, const char *path, unsigned mode)
{
    return CALL(mkdir(path, (mode_t)mode));
}

static int visit_all(DIR *dir, int (*visit)(void *arg, const char *name), void *arg)
{
    struct dirent *entry;
    int rc;

    while (errno = 0, (entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if ((rc = visit(arg, entry->d_name)) != 0)
            return rc;
    }
    return -errno;
}

static int real_list(struct dm_sys *sys, const char *path, int (*visit)(void *arg, const char *name), void *arg)
{
    DIR *dir = opendir(path);
    int rc;

    if (!dir)
        return -errno;
    rc = visit_all(dir, visit, arg);
    closedir(dir);
    return rc;
}

static const struct dm_sys_ops real_ops = {
    .mono_ns = real_mono_ns,
    .wall_ns = real_wall_ns,
    .ticks = real_ticks,
    .cpu_ns = real_cpu_ns,
    .random = real_random,
    .listen = real_listen,
    .accept = real_accept,
    .connect = real_connect,
    .connect_error = real_connect_error,
    .recv = real_recv,
    .peek = real_peek,
    .send = real_send,
    .sendv = real_sendv,
    .shutdown_write = real_shutdown_write,
    .reset_on_close = real_reset_on_close,
    .local_addr = real_local_addr,
    .peer_cred = real_peer_cred,
    .close = real_close,
    .poll_new = real_poll_new,
    .poll_add = real_poll_add,
    .poll_del = real_poll_del,
    .poll_wait = real_poll_wait,
    .open = real_open,
    .read = real_read,
    .write = real_write,
    .fsync = real_fsync,
    .rename = real_rename,
    .unlink = real_unlink,
    .mkdir = real_mkdir,
    .list = real_list,
};

struct dm_sys *dm_sys_real(void)
{
    static struct dm_sys real = {.ops = &real_ops};

    return &real;
}
