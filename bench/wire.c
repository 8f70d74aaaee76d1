#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096
#define BODY_MAX UINT64_C(1000000000)

static bool has_name(const char *line, size_t len, const char *name, size_t name_len)
{
    return len > name_len && line[name_len] == ':' && strncasecmp(line, name, name_len) == 0;
}

static const char *skip_spaces(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    return at;
}

static int read_length(const char *at, const char *end, uint64_t *ret)
{
    uint64_t value = 0;

    at = skip_spaces(at, end);
    if (at == end || *at < '0' || *at > '9')
        return -1;
    for (; at < end && *at >= '0' && *at <= '9'; at++) {
        value = value * 10 + (uint64_t)(*at - '0');
        if (value > BODY_MAX)
            return -1;
    }
    *ret = value;
    return 0;
}

static int read_field(const char *line, const char *end, struct dm_wire_head *head)
{
    size_t len = (size_t)(end - line);

    if (has_name(line, len, "content-length", 14)) {
        head->has_length = true;
        return read_length(line + 15, end, &head->body_len);
    }
    if (has_name(line, len, "transfer-encoding", 17))
        head->is_chunked = true;
    if (has_name(line, len, "upgrade", 7))
        head->is_upgrade = true;
    if (has_name(line, len, "connection", 10)) {
        const char *value = skip_spaces(line + 11, end);
        head->is_close = end - value >= 5 && strncasecmp(value, "close", 5) == 0;
    }
    return 0;
}

int dm_wire_head(const char *buf, size_t len, struct dm_wire_head *ret)
{
    struct dm_wire_head head = {0};
    const char *end = memmem(buf, len, "\r\n\r\n", 4);
    const char *line;

    if (end == NULL)
        return 0;
    head.head_len = (size_t)(end - buf) + 4;
    end += 2;
    line = (const char *)memchr(buf, '\n', head.head_len) + 1;
    while (line < end) {
        const char *next = (const char *)memchr(line, '\n', (size_t)(end - line)) + 1;
        if (read_field(line, next - 2, &head) < 0)
            return -1;
        line = next;
    }
    *ret = head;
    return 1;
}

int dm_wire_listen(uint16_t port, uint16_t *ret_port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t len = sizeof(addr);
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, BACKLOG) < 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &len) < 0) {
        fprintf(stderr, "cannot listen on 127.0.0.1:%u: %s\n", (unsigned)port, strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    *ret_port = ntohs(addr.sin_port);
    return fd;
}

/* The port may have been another connection's a moment ago. */
static int bind_to(int fd, uint16_t from)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(from)};
    int on = 1;

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (from == 0)
        return 0;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
        return -1;
    return bind(fd, (const struct sockaddr *)&addr, sizeof(addr));
}

int dm_wire_connect_from(uint16_t from, uint16_t port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (bind_to(fd, from) < 0 ||
        (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 && errno != EINPROGRESS)) {
        close(fd);
        return -1;
    }
    return fd;
}

int dm_wire_connect(uint16_t port)
{
    return dm_wire_connect_from(0, port);
}

int dm_wire_send(int fd, const char *buf, size_t len)
{
    return send(fd, buf, len, MSG_NOSIGNAL) == (ssize_t)len ? 0 : -1;
}

uint64_t dm_wire_number(const char *name, const char *text, uint64_t max)
{
    char *end = NULL;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || *text == '-' || value > max) {
        fprintf(stderr, "%s: expected a number up to %llu, got '%s'\n", name, (unsigned long long)max, text);
        exit(2);
    }
    return value;
}

void dm_wire_start(void)
{
    struct rlimit limit;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}
