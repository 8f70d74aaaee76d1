/* Edge-triggered readiness, as epoll gives it: an edge puts the watch at the end of the poll set's queue, poll_wait
 * takes it out and reports what is true of its source then, or nothing when nothing is.
 *
 * A watch belongs to its poll set and to its source; whichever goes first frees it. */
#include "base/sim_int.h"

struct dm_sim_watch {
    struct dm_sim_poll *poll;
    struct dm_sim_source *source;
    struct dm_sim_watch *next; /* in the queue */
    uint64_t tag;
    bool is_queued;
};

struct dm_sim_poll {
    DM_VEC(struct dm_sim_watch *) watches;
    struct dm_sim_watch *queue, **queue_tail;
};

static void enqueue(struct dm_sim_watch *watch)
{
    if (watch->is_queued)
        return;
    watch->is_queued = true;
    watch->next = NULL;
    *watch->poll->queue_tail = watch;
    watch->poll->queue_tail = &watch->next;
}

static struct dm_sim_watch *dequeue(struct dm_sim_poll *poll)
{
    struct dm_sim_watch *watch = poll->queue;

    if (!watch)
        return NULL;
    if (!(poll->queue = watch->next))
        poll->queue_tail = &poll->queue;
    watch->is_queued = false;
    return watch;
}

static void leave_queue(struct dm_sim_watch *watch)
{
    struct dm_sim_poll *poll = watch->poll;
    struct dm_sim_watch **at = &poll->queue;

    if (!watch->is_queued)
        return;
    while (*at != watch)
        at = &(*at)->next;
    *at = watch->next;
    if (poll->queue_tail == &watch->next)
        poll->queue_tail = at;
    watch->is_queued = false;
}

static void watch_free(struct dm_sim_watch *watch)
{
    struct dm_sim_poll *poll = watch->poll;
    struct dm_sim_source *source = watch->source;
    size_t i = 0;

    leave_queue(watch);
    while (poll->watches.items[i] != watch)
        i++;
    dm_vec_drop(&poll->watches, i);
    for (i = 0; source->watches.items[i] != watch;)
        i++;
    dm_vec_drop(&source->watches, i);
    dm_free(watch);
}

void dm_sim_source_wake(struct dm_sim_source *source)
{
    for (size_t i = 0; i < source->watches.count; i++)
        enqueue(source->watches.items[i]);
}

void dm_sim_source_done(struct dm_sim_source *source)
{
    while (source->watches.count > 0)
        watch_free(source->watches.items[source->watches.count - 1]);
    dm_vec_done(&source->watches);
}

static struct dm_sim_source *source_of(struct dm_sim_process *p, int fd)
{
    struct dm_sim_fd *at;

    if ((at = dm_sim_fd_get(p, fd, SIM_END)))
        return (struct dm_sim_source *)at->end;
    if ((at = dm_sim_fd_get(p, fd, SIM_LISTENER)))
        return (struct dm_sim_source *)at->listener;
    return NULL;
}

static struct dm_sim_poll *poll_of(struct dm_sim_process *p, int poll_fd)
{
    struct dm_sim_fd *at = dm_sim_fd_get(p, poll_fd, SIM_POLL);

    return at ? at->poll : NULL;
}

static struct dm_sim_watch *find_watch(struct dm_sim_poll *poll, struct dm_sim_source *source)
{
    for (size_t i = 0; i < source->watches.count; i++)
        if (source->watches.items[i]->poll == poll)
            return source->watches.items[i];
    return NULL;
}

int dm_sim_poll_new(struct dm_sys *sys)
{
    struct dm_sim_process *p = dm_sim_process_of(sys);
    struct dm_sim_poll *poll;
    int rc;

    if ((rc = dm_sim_enter(p)) < 0 || (rc = dm_sim_fd_room(p)) < 0)
        return (int)dm_sim_trace(p, "poll_new", -1, rc);
    poll = dm_calloc(1, sizeof(*poll));
    poll->queue_tail = &poll->queue;
    return (int)dm_sim_trace(p, "poll_new", -1, dm_sim_fd_put(p, (struct dm_sim_fd){.kind = SIM_POLL, .poll = poll}));
}

static int poll_add(struct dm_sim_process *p, int poll_fd, int fd, uint64_t tag)
{
    struct dm_sim_poll *poll = poll_of(p, poll_fd);
    struct dm_sim_source *source = source_of(p, fd);
    struct dm_sim_watch *watch;

    if (!poll)
        return -EBADF;
    if (!source)
        return dm_sim_fd_get(p, fd, SIM_FILE) ? -EPERM : -EBADF;
    if (find_watch(poll, source))
        return -EEXIST;
    watch = dm_calloc(1, sizeof(*watch));
    *watch = (struct dm_sim_watch){.poll = poll, .source = source, .tag = tag};
    *dm_vec_push(&poll->watches) = watch;
    *dm_vec_push(&source->watches) = watch;
    if (source->ready(source))
        enqueue(watch);
    return 0;
}

int dm_sim_poll_add(struct dm_sys *sys, int poll_fd, int fd, uint64_t tag)
{
    struct dm_sim_process *p = dm_sim_process_of(sys);
    int rc = dm_sim_enter(p);

    return (int)dm_sim_trace(p, "poll_add", fd, rc < 0 ? rc : poll_add(p, poll_fd, fd, tag));
}

int dm_sim_poll_del(struct dm_sys *sys, int poll_fd, int fd)
{
    struct dm_sim_process *p = dm_sim_process_of(sys);
    struct dm_sim_poll *poll = poll_of(p, poll_fd);
    struct dm_sim_source *source = source_of(p, fd);
    struct dm_sim_watch *watch = poll && source ? find_watch(poll, source) : NULL;

    if (watch)
        watch_free(watch);
    return (int)dm_sim_trace(p, "poll_del", fd, watch ? 0 : poll && source ? -ENOENT : -EBADF);
}

int dm_sim_poll_wait(struct dm_sys *sys, int poll_fd, struct dm_ready_event *ret, int max, int timeout_ms)
{
    struct dm_sim_poll *poll = poll_of(dm_sim_process_of(sys), poll_fd);
    struct dm_sim_watch *watch;
    int n = 0;

    if (!poll)
        return -EBADF;
    if (max <= 0)
        return -EINVAL;
    while (n < max && (watch = dequeue(poll))) {
        unsigned ready = watch->source->ready(watch->source);

        if (ready)
            ret[n++] = (struct dm_ready_event){.tag = watch->tag, .ready = ready};
    }
    return n;
}

bool dm_sim_poll_has_edge(const struct dm_sim_poll *poll)
{
    for (const struct dm_sim_watch *watch = poll->queue; watch; watch = watch->next)
        if (watch->source->ready(watch->source))
            return true;
    return false;
}

void dm_sim_poll_free(struct dm_sim_poll *poll)
{
    while (poll->watches.count > 0)
        watch_free(poll->watches.items[poll->watches.count - 1]);
    dm_vec_done(&poll->watches);
    dm_free(poll);
}
