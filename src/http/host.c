#include <arpa/inet.h>

#include "http/chars_int.h"
#include "http/host.h"

#define NAME_MAX_BYTES 253
#define LABEL_MAX_BYTES 63

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* rest is what follows the host: nothing, or ':' and the port. */
static bool read_port(struct dm_str rest, uint16_t *ret)
{
    uint32_t port = 0;

    *ret = 0;
    if (rest.len == 0)
        return true;
    if (rest.ptr[0] != ':' || rest.len > 6)
        return false;
    for (size_t i = 1; i < rest.len; i++) {
        if (!is_digit(rest.ptr[i]))
            return false;
        port = port * 10 + (uint32_t)(rest.ptr[i] - '0');
    }
    *ret = (uint16_t)port;
    return port <= 65535 && (port > 0 || rest.len == 1);
}

static bool is_address(int family, struct dm_str text, void *ret)
{
    char copy[INET6_ADDRSTRLEN];

    if (text.len >= sizeof(copy) || memchr(text.ptr, '\0', text.len))
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    return inet_pton(family, copy, ret) == 1;
}

/* authority starts with '['. The rewritten address is compared, so that a normal one borrows. */
static bool read_ipv6(struct dm_str authority, char *buf, struct dm_host *ret)
{
    const char *close = memchr(authority.ptr, ']', authority.len);
    size_t len = close ? (size_t)(close - authority.ptr) + 1 : 0;
    struct in6_addr address;

    if (len < 4 || !is_address(AF_INET6, dm_str_n(authority.ptr + 1, len - 2), &address))
        return false;
    buf[0] = '[';
    if (!inet_ntop(AF_INET6, &address, buf + 1, INET6_ADDRSTRLEN))
        return false;
    ret->kind = DM_HOST_IPV6;
    ret->name = dm_str_n(buf, strlen(buf) + 1);
    buf[ret->name.len - 1] = ']';
    if (ret->name.len == len && memcmp(buf, authority.ptr, len) == 0)
        ret->name.ptr = authority.ptr;
    return read_port(dm_str_skip(authority, len), &ret->port);
}

/* Length of the name at the start, labels checked; 0 if it is none. *ret_label is where the last label starts. */
static size_t measure_name(struct dm_str authority, size_t *ret_label, bool *ret_has_upper)
{
    size_t label = 0, i;

    *ret_has_upper = false;
    for (i = 0; i < authority.len && authority.ptr[i] != ':'; i++) {
        char c = authority.ptr[i];

        if (c == '.') {
            if (i == label || i - label > LABEL_MAX_BYTES)
                return 0;
            label = i + 1;
        } else if (!(dm_http_char(c) & DM_CHAR_HOST)) {
            if (c < 'A' || c > 'Z')
                return 0;
            *ret_has_upper = true;
        }
    }
    if (i - label > LABEL_MAX_BYTES)
        return 0;
    *ret_label = label;
    return i;
}

/* Does a name whose last label is this look like a number to an address parser ("1", "0x7f")? */
static bool is_number(struct dm_str label)
{
    if (label.len >= 2 && label.ptr[0] == '0' && (label.ptr[1] | 0x20) == 'x')
        return true;
    for (size_t i = 0; i < label.len; i++)
        if (!is_digit(label.ptr[i]))
            return false;
    return true;
}

static size_t last_label(struct dm_str name)
{
    size_t i = name.len;

    while (i > 0 && name.ptr[i - 1] != '.')
        i--;
    return i;
}

static bool read_name(struct dm_str authority, char *buf, struct dm_host *ret)
{
    bool has_upper;
    size_t label, len;
    struct in_addr address;

    if ((len = measure_name(authority, &label, &has_upper)) == 0)
        return false;
    ret->name = dm_str_n(authority.ptr, len);
    if (label == len) {
        ret->name.len--;
        label = last_label(ret->name);
    }
    if (ret->name.len > NAME_MAX_BYTES)
        return false;
    ret->kind = DM_HOST_NAME;
    if (is_number(dm_str_skip(ret->name, label))) {
        if (len != ret->name.len || !is_address(AF_INET, ret->name, &address))
            return false;
        ret->kind = DM_HOST_IPV4;
    }
    if (has_upper) {
        for (size_t i = 0; i < ret->name.len; i++)
            buf[i] = dm_http_lower(ret->name.ptr[i]);
        ret->name.ptr = buf;
    }
    return read_port(dm_str_skip(authority, len), &ret->port);
}

int dm_host_parse(struct dm_str authority, char *buf, struct dm_host *ret)
{
    struct dm_host host;

    if (authority.len == 0)
        return -DM_HTTP_BAD_HOST;
    if (!(authority.ptr[0] == '[' ? read_ipv6(authority, buf, &host) : read_name(authority, buf, &host)))
        return -DM_HTTP_BAD_HOST;
    *ret = host;
    return 0;
}

size_t dm_host_write(const struct dm_host *host, bool is_tls, char *ret)
{
    size_t len = host->name.len;
    char digits[5];
    unsigned port = host->port, n = 0;

    memcpy(ret, host->name.ptr, len);
    if (port == 0 || port == (is_tls ? 443 : 80))
        return len;
    for (; port > 0; port /= 10)
        digits[n++] = (char)('0' + port % 10);
    ret[len++] = ':';
    while (n > 0)
        ret[len++] = digits[--n];
    return len;
}
