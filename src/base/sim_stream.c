/* Reading and writing on connections of the simulation, with the results that Linux gives in each state. */
#include "base/sim_int.h"

enum { IOV_MAX_PARTS = 1024 };

static struct dm_sim_end *end_of(struct dm_sim_process *p, int fd)
{
    struct dm_sim_fd *at = dm_sim_fd_get(p, fd, SIM_END);

    return at ? at->end : NULL;
}

/* Of a descriptor that is not a connection. */
static int wrong_fd(struct dm_sim_process *p, int fd)
{
    if (dm_sim_fd_get(p, fd, SIM_LISTENER))
        return -ENOTCONN;
    return dm_sim_fd_get(p, fd, SIM_FILE) || dm_sim_fd_get(p, fd, SIM_POLL) ? -ENOTSOCK : -EBADF;
}

static int take_error(struct dm_sim_end *end)
{
    int error = end->error;

    end->error = 0;
    return -error;
}

static bool is_unix(const struct dm_sim_end *end)
{
    return end->remote.ss.ss_family == AF_UNIX;
}

static void maybe_reset(struct dm_sim_end *end)
{
    if (end->state == SIM_END_OPEN && dm_sim_chance(end->world, end->world->faults.reset))
        dm_sim_end_reset(end);
}

static ssize_t take_arrived(struct dm_sim_end *end, void *ret, size_t len)
{
    size_t whole = DM_MIN(len, end->arrived.len), n = dm_sim_shorten(end->world, whole);

    memcpy(ret, end->arrived.ptr, n);
    dm_buf_consume(&end->arrived, n);
    if (n < whole)
        dm_sim_end_wake_later(end);
    if (end->peer && !end->peer->is_closed)
        dm_sim_end_post(end->peer, SIM_SEGMENT_ROOM, NULL, n);
    return (ssize_t)n;
}

static ssize_t show_arrived(const struct dm_sim_end *end, void *ret, size_t len)
{
    size_t n = DM_MIN(len, end->arrived.len);

    memcpy(ret, end->arrived.ptr, n);
    return (ssize_t)n;
}

/* TCP that saw the peer's FIN stays at its end whatever happens later; a Unix socket tells the reset first. */
static ssize_t end_recv(struct dm_sim_end *end, void *ret, size_t len, bool is_peek)
{
    if (end->state == SIM_END_CONNECTING)
        return -EAGAIN;
    maybe_reset(end);
    if (len == 0)
        return 0;
    if (end->arrived.len > 0)
        return is_peek ? show_arrived(end, ret, len) : take_arrived(end, ret, len);
    if (end->is_eof && !is_unix(end))
        return 0;
    if (end->error)
        return take_error(end);
    return end->is_eof || end->state == SIM_END_DEAD ? 0 : -EAGAIN;
}

static ssize_t receive(struct dm_sys *sys, const char *call, int fd, void *ret, size_t len, bool is_peek)
{
    struct dm_sim_process *p = dm_sim_process_of(sys);
    struct dm_sim_end *end = end_of(p, fd);
    ssize_t rc = dm_sim_enter(p);

    if (rc == 0)
        rc = end ? end_recv(end, ret, len, is_peek) : wrong_fd(p, fd);
    return dm_sim_trace(p, call, fd, rc);
}

ssize_t dm_sim_recv(struct dm_sys *sys, int fd, void *ret, size_t len)
{
    return receive(sys, "recv", fd, ret, len, false);
}

ssize_t dm_sim_peek(struct dm_sys *sys, int fd, void *ret, size_t len)
{
    return receive(sys, "peek", fd, ret, len, true);
}

/* Sends the first `len` of the parts' bytes. */
static void post_parts(struct dm_sim_end *end, const struct iovec *iov, size_t len)
{
    struct dm_buf whole DM_CLEANUP(dm_buf_done) = {0};

    dm_buf_init(&whole, len);
    for (; len > 0; len -= DM_MIN(len, iov->iov_len), iov++)
        dm_buf_add_n(&whole, iov->iov_base, DM_MIN(len, iov->iov_len));
    end->unread += whole.len;
    dm_sim_end_post(end->peer, SIM_SEGMENT_DATA, whole.ptr, whole.len);
}

static ssize_t end_send(struct dm_sim_end *end, const struct iovec *iov, int n_parts)
{
    size_t want = 0, n;

    if (end->state == SIM_END_CONNECTING)
        return -EAGAIN;
    maybe_reset(end);
    if (end->error && !is_unix(end))
        return take_error(end);
    if (end->state == SIM_END_DEAD || end->is_shut || end->is_broken)
        return -EPIPE;
    for (int i = 0; i < n_parts; i++)
        want += iov[i].iov_len;
    n = DM_MIN(want, end->room_bytes - end->unread);
    end->wants_room |= n < want;
    if (want == 0 || n == 0)
        return want == 0 ? 0 : -EAGAIN;
    size_t taken = dm_sim_shorten(end->world, n);
    if (taken < n)
        dm_sim_end_wake_later(end);
    post_parts(end, iov, taken);
    return (ssize_t)taken;
}

static ssize_t traced_send(struct dm_sys *sys, const char *call, int fd, const struct iovec *iov, int n)
{
    struct dm_sim_process *p = dm_sim_process_of(sys);
    struct dm_sim_end *end = end_of(p, fd);
    ssize_t rc = dm_sim_enter(p);

    if (rc == 0)
        rc = end ? end_send(end, iov, DM_MIN(n, IOV_MAX_PARTS)) : wrong_fd(p, fd);
    return dm_sim_trace(p, call, fd, rc);
}

ssize_t dm_sim_send(struct dm_sys *sys, int fd, const void *ptr, size_t len)
{
    struct iovec whole = {.iov_base = (void *)ptr, .iov_len = len};

    return traced_send(sys, "send", fd, &whole, 1);
}

ssize_t dm_sim_sendv(struct dm_sys *sys, int fd, const struct iovec *iov, int n)
{
    return traced_send(sys, "sendv", fd, iov, n);
}

static int end_shutdown(struct dm_sim_end *end)
{
    if (end->state != SIM_END_OPEN)
        return -ENOTCONN;
    if (end->is_shut)
        return 0;
    end->is_shut = true;
    if (!end->peer->is_closed)
        dm_sim_end_post(end->peer, SIM_SEGMENT_FIN, NULL, 0);
    return 0;
}

int dm_sim_shutdown_write(struct dm_sys *sys, int fd)
{
    struct dm_sim_process *p = dm_sim_process_of(sys);
    struct dm_sim_end *end = end_of(p, fd);
    int rc = dm_sim_enter(p);

    if (rc == 0)
        rc = end ? end_shutdown(end) : wrong_fd(p, fd);
    return (int)dm_sim_trace(p, "shutdown_write", fd, rc);
}

int dm_sim_reset_on_close(struct dm_sys *sys, int fd)
{
    struct dm_sim_process *p = dm_sim_process_of(sys);
    struct dm_sim_end *end = end_of(p, fd);
    int rc = dm_sim_enter(p);

    if (rc == 0 && !end)
        rc = wrong_fd(p, fd);
    else if (rc == 0)
        end->is_to_reset = !is_unix(end);
    return (int)dm_sim_trace(p, "reset_on_close", fd, rc);
}
