/* c-ares expects to be called for as long as a descriptor is ready; the loop tells edges. So an edge posts a task that asks
 * the kernel what is ready now, and goes on for as long as something is. */
#include <ares.h>
#include <errno.h>
#include <poll.h>

#include "base/log.h"
#include "base/mem.h"
#include "io/dns_int.h"
#include "io/loop_int.h"

enum { SOCKETS_MAX = 64 };

struct resolver_socket {
    struct resolver_socket *next;
    struct dm_resolver *resolver;
    struct dm_watch watch;
    int fd;
    short wants; /* POLLIN, POLLOUT */
};

struct dm_resolver {
    struct dm_loop *loop;
    ares_channel channel;
    struct dm_task task;
    struct dm_timer timer;
    struct resolver_socket *sockets;
    bool is_ending;
};

struct question {
    struct dm_resolver *resolver;
    dm_resolver_cb cb;
    void *arg;
};

static void plan_timeout(struct dm_resolver *resolver)
{
    struct timeval tv;

    if (!ares_timeout(resolver->channel, NULL, &tv)) {
        dm_timer_cancel(resolver->loop, &resolver->timer);
        return;
    }
    dm_timer_arm(resolver->loop, &resolver->timer, (uint32_t)(tv.tv_sec * 1000 + tv.tv_usec / 1000 + 1));
}

static nfds_t list_sockets(const struct dm_resolver *resolver, struct pollfd *ret)
{
    nfds_t n = 0;

    for (struct resolver_socket *s = resolver->sockets; s && n < SOCKETS_MAX; s = s->next)
        ret[n++] = (struct pollfd){.fd = s->fd, .events = s->wants};
    return n;
}

static void serve_sockets(struct dm_task *task)
{
    struct dm_resolver *resolver = DM_CONTAINER_OF(task, struct dm_resolver, task);
    struct pollfd fds[SOCKETS_MAX];
    nfds_t n = list_sockets(resolver, fds);

    if (poll(fds, n, 0) > 0) {
        for (nfds_t i = 0; i < n; i++)
            if (fds[i].revents)
                ares_process_fd(resolver->channel, fds[i].revents & ~POLLOUT ? fds[i].fd : ARES_SOCKET_BAD,
                                fds[i].revents & POLLOUT ? fds[i].fd : ARES_SOCKET_BAD);
        dm_task_post(resolver->loop, task);
    }
    plan_timeout(resolver);
}

static void on_ready(struct dm_watch *watch, unsigned ready)
{
    struct resolver_socket *s = DM_CONTAINER_OF(watch, struct resolver_socket, watch);

    dm_task_post(s->resolver->loop, &s->resolver->task);
}

static void on_timeout(struct dm_timer *timer)
{
    struct dm_resolver *resolver = DM_CONTAINER_OF(timer, struct dm_resolver, timer);

    ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    plan_timeout(resolver);
}

static void forget_socket(struct resolver_socket **at)
{
    struct resolver_socket *s = *at;

    *at = s->next;
    dm_watch_del(s->resolver->loop, &s->watch);
    dm_free(s);
}

static struct resolver_socket *add_socket(struct dm_resolver *resolver, int fd)
{
    struct resolver_socket *s = dm_calloc(1, sizeof(*s));

    s->resolver = resolver;
    s->fd = fd;
    s->watch.fd = -1;
    s->next = resolver->sockets;
    resolver->sockets = s;
    /* Without events the question ends by its timeout. */
    if (dm_watch_add(resolver->loop, &s->watch, fd, on_ready) < 0)
        dm_log(DM_LOG_ERROR, "dns_socket", "can't watch a name server's socket");
    return s;
}

/* c-ares tells what it waits for on a socket; neither: it is about to close it. */
static void on_socket_state(void *arg, ares_socket_t fd, int readable, int writable)
{
    struct dm_resolver *resolver = arg;
    struct resolver_socket **at = &resolver->sockets;

    while (*at && (*at)->fd != fd)
        at = &(*at)->next;
    if (!readable && !writable) {
        if (*at)
            forget_socket(at);
        return;
    }
    struct resolver_socket *s = *at ? *at : add_socket(resolver, fd);
    s->wants = (short)((readable ? POLLIN : 0) | (writable ? POLLOUT : 0));
    if (!resolver->is_ending)
        dm_task_post(resolver->loop, &resolver->task);
}

static int code_of(int status)
{
    switch (status) {
    case ARES_SUCCESS: return 0;
    case ARES_ENODATA:
    case ARES_ENOTFOUND: return DM_ENOENT;
    case ARES_ETIMEOUT: return DM_ETIMEOUT;
    case ARES_EBADNAME:
    case ARES_EFORMERR: return DM_EINVAL;
    default: return DM_EIO;
    }
}

/* Returns the smallest TTL. */
static uint64_t read_result(const struct ares_addrinfo *result, struct dm_dns_answer *ret)
{
    uint64_t ttl_ms = UINT64_MAX;

    for (struct ares_addrinfo_cname *cname = result->cnames; cname; cname = cname->next)
        ttl_ms = DM_MIN(ttl_ms, (uint64_t)DM_MAX(cname->ttl, 0) * 1000);
    for (struct ares_addrinfo_node *node = result->nodes; node; node = node->ai_next) {
        ttl_ms = DM_MIN(ttl_ms, (uint64_t)DM_MAX(node->ai_ttl, 0) * 1000);
        if (ret->count == DM_DNS_ADDRS_MAX || (size_t)node->ai_addrlen > sizeof(ret->addrs[0].ss))
            continue;
        struct dm_addr *addr = &ret->addrs[ret->count++];
        memcpy(&addr->ss, node->ai_addr, node->ai_addrlen);
        addr->len = node->ai_addrlen;
    }
    return ttl_ms;
}

static void on_result(void *arg, int status, int timeouts, struct ares_addrinfo *result)
{
    struct question *question = arg;
    struct dm_dns_answer answer = {0};
    uint64_t ttl_ms = 0;
    int code = code_of(status);

    if (result) {
        ttl_ms = read_result(result, &answer);
        ares_freeaddrinfo(result);
    }
    if (code == 0 && answer.count == 0)
        code = DM_ENOENT;
    if (!question->resolver->is_ending)
        question->cb(question->arg, code, &answer, ttl_ms);
    dm_free(question);
}

void dm_resolver_ask(struct dm_resolver *resolver, const char *name, dm_resolver_cb cb, void *arg)
{
    struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct question *question = dm_alloc(sizeof(*question));

    *question = (struct question){.resolver = resolver, .cb = cb, .arg = arg};
    ares_getaddrinfo(resolver->channel, name, NULL, &hints, on_result, question);
    plan_timeout(resolver);
}

static int open_channel(struct dm_resolver *resolver, const struct dm_dns_config *config)
{
    struct ares_options options = {
        .timeout = (int)config->timeout_ms,
        .tries = (int)config->tries,
        .lookups = (char *)"fb",
        .sock_state_cb = on_socket_state,
        .sock_state_cb_data = resolver,
    };
    int rc = ares_init_options(&resolver->channel, &options,
                               ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB);

    if (rc != ARES_SUCCESS)
        return rc;
    if (config->servers && (rc = ares_set_servers_ports_csv(resolver->channel, config->servers)) != ARES_SUCCESS)
        ares_destroy(resolver->channel);
    return rc;
}

struct dm_resolver *dm_resolver_new(struct dm_loop *loop, const struct dm_dns_config *config)
{
    struct dm_resolver *resolver = dm_calloc(1, sizeof(*resolver));
    int rc;

    resolver->loop = loop;
    resolver->task.run = serve_sockets;
    resolver->timer.on_due = on_timeout;
    if ((rc = ares_library_init(ARES_LIB_INIT_ALL)) == ARES_SUCCESS) {
        if ((rc = open_channel(resolver, config)) == ARES_SUCCESS)
            return resolver;
        ares_library_cleanup();
    }
    dm_log(DM_LOG_ERROR, "dns_failed", "can't resolve names: %s", ares_strerror(rc));
    dm_free(resolver);
    return NULL;
}

void dm_resolver_free(struct dm_resolver *resolver)
{
    if (!resolver)
        return;
    resolver->is_ending = true;
    ares_destroy(resolver->channel);
    ares_library_cleanup();
    while (resolver->sockets)
        forget_socket(&resolver->sockets);
    dm_task_cancel(resolver->loop, &resolver->task);
    dm_timer_cancel(resolver->loop, &resolver->timer);
    dm_free(resolver);
}
