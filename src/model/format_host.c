/* Formats of hosts: domains, endpoints, address blocks, origins. */
#include "model/cidr.h"
#include "model/format.h"
#include "model/format_int.h"

static bool is_label_byte(char c)
{
    return dm_is_digit(c) || (c >= 'a' && c <= 'z') || c == '-';
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool has_upper(struct dm_str value)
{
    for (size_t i = 0; i < value.len; i++) {
        if (is_upper(value.ptr[i]))
            return true;
    }
    return false;
}

static bool is_number(struct dm_str label)
{
    return dm_format_all(label, dm_is_digit);
}

bool dm_format_is_host_name(struct dm_str value, struct dm_buf *why)
{
    struct dm_str rest = value, label = DM_STR_NULL;

    if (has_upper(value))
        return dm_buf_add_lit(why, "must be in lower case"), false;
    if (value.len == 0 || value.len > DM_HOST_NAME_MAX)
        return dm_buf_add_lit(why, "must be a host name of 1 to 253 bytes"), false;
    while (dm_str_cut(&rest, '.', &label)) {
        if (label.len == 0 || label.len > 63)
            return dm_buf_add_lit(why, "must be a host name whose labels have 1 to 63 characters"), false;
        if (!dm_format_all(label, is_label_byte) || label.ptr[0] == '-' || label.ptr[label.len - 1] == '-')
            return dm_buf_add_lit(why, "must be a host name: lower-case letters, digits and inner '-' between dots"),
                   false;
    }
    if (is_number(label))
        return dm_buf_add_lit(why, "must be a host name, whose last label is not a number"), false;
    return true;
}

static bool check_domain(struct dm_str value, struct dm_buf *why)
{
    struct dm_str name = value;

    if (dm_str_starts(value, DM_STR("*."))) {
        name = dm_str_skip(value, 2);
        if (dm_str_find(name, '.') == name.len)
            return dm_buf_add_lit(why, "must have at least two labels behind '*.'"), false;
    }
    if (dm_str_find(name, '*') < name.len)
        return dm_buf_add_lit(why, "must have '*' only as its whole first label"), false;
    return dm_format_is_host_name(name, why);
}

const struct dm_format dm_format_domain = {
    "domain", "^(\\*\\.)?[a-z0-9.-]{1,253}$",
    "a lower-case host name; `*` only as its whole first label, with two labels or more behind it", check_domain};

static bool is_address(struct dm_str value)
{
    struct dm_cidr ignored;

    return dm_cidr_parse_address(value, &ignored, NULL) == 0;
}

static bool check_host(struct dm_str value, struct dm_buf *why)
{
    return is_address(value) || dm_format_is_host_name(value, why);
}

const struct dm_format dm_format_host = {"host", NULL, "a lower-case host name, an IPv4 or an IPv6 address",
                                         check_host};

#define UNIX "unix:"
#define UNIX_PATH_MAX 107 /* what struct sockaddr_un holds, NUL aside */

struct dm_str dm_unix_path(struct dm_str host)
{
    return dm_str_starts(host, DM_STR(UNIX)) ? dm_str_skip(host, sizeof(UNIX) - 1) : DM_STR_NULL;
}

static bool is_path_byte(char c)
{
    return c > 0x20 && c < 0x7F;
}

/* One text for one file, so that a grant means exactly what it says: absolute, without empty or dot segments. */
static bool check_unix_path(struct dm_str path, struct dm_buf *why)
{
    struct dm_str rest = path, segment = DM_STR_NULL;

    if (path.len < 2 || path.ptr[0] != '/' || path.len > UNIX_PATH_MAX || !dm_format_all(path, is_path_byte))
        return dm_buf_add_lit(why, "must have an absolute path of at most 107 visible characters behind 'unix:'"),
               false;
    rest = dm_str_skip(path, 1);
    while (dm_str_cut(&rest, '/', &segment)) {
        if (segment.len == 0 || dm_str_eq(segment, DM_STR(".")) || dm_str_eq(segment, DM_STR("..")))
            return dm_buf_add_lit(why, "must have a path without empty, '.' and '..' segments behind 'unix:'"), false;
    }
    return path.ptr[path.len - 1] != '/' ||
           (dm_buf_add_lit(why, "must have a path without '/' at its end behind 'unix:'"), false);
}

static bool check_endpoint_host(struct dm_str value, struct dm_buf *why)
{
    struct dm_str path = dm_unix_path(value);

    return path.ptr ? check_unix_path(path, why) : check_host(value, why);
}

const struct dm_format dm_format_endpoint_host = {
    "endpoint-host", NULL, "a lower-case host name, an IPv4 or an IPv6 address, or `unix:/absolute/path`",
    check_endpoint_host};

/* "name", "name:port", "[v6]:port" */
static bool check_host_port(struct dm_str value, struct dm_buf *why)
{
    size_t colon = value.len;
    uint64_t port = 1;
    struct dm_str host;

    while (colon > 0 && value.ptr[colon - 1] != ':' && value.ptr[colon - 1] != ']')
        colon--;
    if (colon > 0 && value.ptr[colon - 1] == ':') {
        if (dm_str_to_u64(dm_str_skip(value, colon), &port) < 0 || port < 1 || port > 65535)
            return dm_buf_add_lit(why, "must have a port between 1 and 65535 behind ':'"), false;
        colon--;
    } else {
        colon = value.len;
    }
    host = dm_str_n(value.ptr, colon);
    if (host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']' &&
        is_address(dm_str_n(host.ptr + 1, host.len - 2)))
        return true;
    return (is_address(host) && dm_str_find(host, ':') == host.len) || dm_format_is_host_name(host, why);
}

const struct dm_format dm_format_host_port = {"host-port", NULL, "a host name or address, with or without `:port`",
                                              check_host_port};

static bool check_cidr(struct dm_str value, struct dm_buf *why)
{
    struct dm_cidr ignored;
    struct dm_err err = {0};

    if (dm_cidr_parse(value, &ignored, &err) == 0)
        return true;
    dm_buf_add(why, dm_str_of(err.message));
    return false;
}

const struct dm_format dm_format_cidr = {"cidr", NULL, "an address or a block such as `10.0.0.0/8` or `2001:db8::/32`",
                                         check_cidr};

static bool check_approval(struct dm_str value, struct dm_buf *why)
{
    struct dm_str path = dm_unix_path(value);

    return path.ptr ? check_unix_path(path, why) : check_cidr(value, why);
}

const struct dm_format dm_format_approval = {
    "approval", NULL, "an address, a block such as `10.0.0.0/8` or `2001:db8::/32`, or `unix:/absolute/path`",
    check_approval};

static bool check_origin(struct dm_str value, struct dm_buf *why)
{
    struct dm_str host;

    if (dm_str_eq(value, DM_STR("*")) || dm_str_eq(value, DM_STR("null")))
        return true;
    if (dm_str_starts(value, DM_STR("https://")))
        host = dm_str_skip(value, 8);
    else if (dm_str_starts(value, DM_STR("http://")))
        host = dm_str_skip(value, 7);
    else
        return dm_buf_add_lit(why, "must be '*' or an origin such as https://app.example.com"), false;
    if (dm_str_find(host, '/') < host.len)
        return dm_buf_add_lit(why, "must be an origin, which has no path and no '/' at its end"), false;
    return check_host_port(host, why);
}

const struct dm_format dm_format_origin = {"origin", NULL, "`*` or an origin such as `https://app.example.com`",
                                           check_origin};
