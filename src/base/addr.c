#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "base/sys.h"

/* Splits "host:port" at the last colon; the host of IPv6 stands in brackets, which are removed. */
static bool split_port(struct dm_str text, struct dm_str *ret_host, uint16_t *ret_port, bool *ret_is_v6)
{
    size_t colon = text.len;
    uint64_t port;

    while (colon > 0 && text.ptr[colon - 1] != ':')
        colon--;
    if (colon < 2)
        return false;
    struct dm_str digits = dm_str_skip(text, colon);
    struct dm_str host = dm_str_n(text.ptr, colon - 1);
    if (digits.len > 5 || dm_str_to_u64(digits, &port) < 0 || port > UINT16_MAX)
        return false;
    *ret_is_v6 = host.len >= 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';
    *ret_host = *ret_is_v6 ? dm_str_n(host.ptr + 1, host.len - 2) : host;
    *ret_port = (uint16_t)port;
    return true;
}

static bool parse_inet(struct dm_str text, struct dm_addr *ret)
{
    char host[INET6_ADDRSTRLEN];
    struct dm_str host_str;
    uint16_t port;
    bool is_v6;

    if (!split_port(text, &host_str, &port, &is_v6) || host_str.len >= sizeof(host) ||
        memchr(host_str.ptr, '\0', host_str.len))
        return false;
    memcpy(host, host_str.ptr, host_str.len);
    host[host_str.len] = '\0';

    struct dm_addr addr = {0};
    struct sockaddr_in *in4 = (struct sockaddr_in *)&addr.ss;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&addr.ss;
    addr.ss.ss_family = is_v6 ? AF_INET6 : AF_INET;
    addr.len = is_v6 ? sizeof(*in6) : sizeof(*in4);
    if (inet_pton(addr.ss.ss_family, host, is_v6 ? (void *)&in6->sin6_addr : (void *)&in4->sin_addr) != 1)
        return false;
    if (is_v6)
        in6->sin6_port = htons(port);
    else
        in4->sin_port = htons(port);
    *ret = addr;
    return true;
}

static bool parse_unix(struct dm_str path, struct dm_addr *ret)
{
    struct dm_addr addr = {0};
    struct sockaddr_un *un = (struct sockaddr_un *)&addr.ss;

    if (path.len == 0 || path.ptr[0] != '/' || path.len >= sizeof(un->sun_path) || memchr(path.ptr, '\0', path.len))
        return false;
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path.ptr, path.len);
    addr.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len + 1);
    *ret = addr;
    return true;
}

int dm_addr_parse(struct dm_str text, struct dm_addr *ret, struct dm_err *err)
{
    bool is_unix = dm_str_starts(text, DM_STR("unix:"));

    if (is_unix ? parse_unix(dm_str_skip(text, 5), ret) : parse_inet(text, ret))
        return 0;
    if (is_unix)
        return dm_fail(err, DM_EINVAL, "", "expected an absolute path of 1 to %zu bytes behind 'unix:', found '%.*s'",
                       sizeof(((struct sockaddr_un *)0)->sun_path) - 1, DM_STR_ARG(dm_str_skip(text, 5)));
    return dm_fail(err, DM_EINVAL, "", "expected an address such as 127.0.0.1:80, [::1]:80 or unix:/path, found '%.*s'",
                   DM_STR_ARG(text));
}

struct dm_str dm_addr_path(const struct dm_addr *addr)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&addr->ss;
    size_t head = offsetof(struct sockaddr_un, sun_path);

    if (addr->len <= head)
        return DM_STR_NULL;
    return dm_str_n(un->sun_path, strnlen(un->sun_path, DM_MIN(addr->len - head, sizeof(un->sun_path))));
}

static int format_inet(const struct dm_addr *addr, bool with_port, char *ret)
{
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)&addr->ss;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&addr->ss;
    bool is_v6 = addr->ss.ss_family == AF_INET6;
    char host[INET6_ADDRSTRLEN] = "";

    inet_ntop(addr->ss.ss_family, is_v6 ? (const void *)&in6->sin6_addr : (const void *)&in4->sin_addr, host,
              sizeof(host));
    if (!with_port)
        return snprintf(ret, DM_ADDR_TEXT_MAX, "%s", host);
    return snprintf(ret, DM_ADDR_TEXT_MAX, is_v6 ? "[%s]:%u" : "%s:%u", host, (unsigned)dm_addr_port(addr));
}

size_t dm_addr_format(const struct dm_addr *addr, bool with_port, char *ret)
{
    switch (addr->ss.ss_family) {
    case AF_INET:
    case AF_INET6: return (size_t)format_inet(addr, with_port, ret);
    case AF_UNIX: return (size_t)snprintf(ret, DM_ADDR_TEXT_MAX, "unix:%.*s", DM_STR_ARG(dm_addr_path(addr)));
    default: return (size_t)snprintf(ret, DM_ADDR_TEXT_MAX, "unknown");
    }
}

uint16_t dm_addr_port(const struct dm_addr *addr)
{
    if (addr->ss.ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)&addr->ss)->sin_port);
    if (addr->ss.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&addr->ss)->sin6_port);
    return 0;
}

bool dm_addr_eq(const struct dm_addr *a, const struct dm_addr *b)
{
    const struct sockaddr_in *a4 = (const struct sockaddr_in *)&a->ss, *b4 = (const struct sockaddr_in *)&b->ss;
    const struct sockaddr_in6 *a6 = (const struct sockaddr_in6 *)&a->ss, *b6 = (const struct sockaddr_in6 *)&b->ss;

    if (a->ss.ss_family != b->ss.ss_family || dm_addr_port(a) != dm_addr_port(b))
        return false;
    switch (a->ss.ss_family) {
    case AF_INET: return a4->sin_addr.s_addr == b4->sin_addr.s_addr;
    case AF_INET6:
        return memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) == 0 &&
               a6->sin6_scope_id == b6->sin6_scope_id;
    case AF_UNIX: return dm_str_eq(dm_addr_path(a), dm_addr_path(b));
    default: return false;
    }
}
