/* What is found out once at start: who we are, and whether the ports are free. */
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/encode.h"
#include "base/mem.h"
#include "gateway/keeper/keeper.h"
#include "gateway/keeper/keeper_int.h"

/* --- id ---------------------------------------------------------------------------------------------------------- */

static void make_id(struct dm_keeper *k)
{
    char host[HOST_NAME_MAX + 1] = "", hex[9];
    uint8_t random[4];
    size_t len = 0;

    if (gethostname(host, sizeof(host) - 1) < 0)
        host[0] = '\0';
    for (const char *c = host; *c && len < DM_GATEWAY_ID_MAX - sizeof(hex); c++)
        if (dm_gateway_id_is_valid(dm_str_n(c, 1)))
            k->options.id[len++] = *c;
    k->sys->ops->random(k->sys, random, sizeof(random));
    dm_hex(random, sizeof(random), hex);
    snprintf(k->options.id + len, sizeof(k->options.id) - len, "%s%s", len > 0 ? "-" : "gateway-", hex);
}

static int read_id(struct dm_keeper *k, const char *path, struct dm_err *err)
{
    struct dm_buf text;
    struct dm_str id;
    int rc = dm_sys_read_file(k->sys, path, 256, &text, err);

    if (rc < 0)
        return rc;
    id = dm_buf_str(&text);
    while (id.len > 0 && id.ptr[id.len - 1] == '\n')
        id.len--;
    if (dm_gateway_id_is_valid(id))
        memcpy(k->options.id, id.ptr, id.len);
    else
        rc = dm_fail(err, DM_ECORRUPT, "", "%s does not hold the id of a gateway; remove it to have one made", path);
    dm_buf_done(&text);
    return rc;
}

int dm_keeper_find_id(struct dm_keeper *k, struct dm_err *err)
{
    char path[DM_GATEWAY_PATH_MAX], line[DM_GATEWAY_ID_MAX + 2];
    int rc, n;

    if (k->options.id[0])
        return 0;
    dm_gateway_path(&k->options, path, "id");
    if ((rc = read_id(k, path, err)) != DM_ENOENT)
        return rc;
    make_id(k);
    n = snprintf(line, sizeof(line), "%s\n", k->options.id);
    return dm_sys_write_file(k->sys, path, dm_str_n(line, (size_t)n), 0644, true, err);
}

/* --- ports ------------------------------------------------------------------------------------------------------- */

static bool has_survivors(const struct dm_keeper *k)
{
    char path[DM_GATEWAY_PATH_MAX];

    for (unsigned slot = 0; slot < DM_GATEWAY_WORKERS_MAX; slot++) {
        for (unsigned bank = 0; bank < DM_GATEWAY_BANKS; bank++) {
            dm_gateway_path(&k->options, path, DM_GATEWAY_WORKER_LOCK, slot, dm_gateway_bank_suffix[bank]);
            if (dm_lockfile_holder(path) != 0)
                return true;
        }
    }
    return false;
}

/* Bound, not listening: no connection is taken. Whoever listens there without SO_REUSEPORT, or with and we come without,
 * makes it fail. 0 or -errno. */
static int try_bind(const struct dm_addr *addr, bool reuse_port)
{
    int on = 1, rc = 0, fd = socket(addr->ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        (reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0) ||
        (addr->ss.ss_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0) ||
        bind(fd, (const struct sockaddr *)&addr->ss, addr->len) < 0)
        rc = -errno;
    close(fd);
    return rc;
}

/* A socket in the file system that somebody listens on. */
static int try_connect(const struct dm_addr *addr)
{
    struct dm_sys *sys = dm_sys_real();
    int fd = sys->ops->connect(sys, addr);

    if (fd < 0)
        return fd == -EAGAIN ? -EADDRINUSE : 0;
    sys->ops->close(sys, fd);
    return -EADDRINUSE;
}

static int try_address(const struct dm_addr *addr, bool reuse_port)
{
    if (addr->ss.ss_family != AF_UNIX)
        return try_bind(addr, reuse_port);
    return reuse_port ? 0 : try_connect(addr);
}

static int check_port(const char *option, const struct dm_addr *addr, bool reuse_port, struct dm_err *err)
{
    char text[DM_ADDR_TEXT_MAX];
    int rc = try_address(addr, reuse_port);

    if (rc == 0)
        return 0;
    dm_addr_format(addr, true, text);
    if (rc == -EADDRINUSE)
        return dm_fail(err, DM_EEXIST, "", "%s %s: the address is in use by another process", option, text);
    return dm_fail(err, DM_EIO, "", "%s %s: %s", option, text, strerror(-rc));
}

static int check_listen(const struct dm_keeper *k, struct dm_err *err)
{
    bool reuse_port = has_survivors(k);
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < k->options.n_listen; i++) {
        const struct dm_listener_spec *spec = &k->options.listen[i];
        rc = check_port("--listen", &spec->addr, reuse_port, err);
        if (spec->is_optional && rc == DM_EIO) /* left out */
            rc = 0;
    }
    return rc;
}

int dm_keeper_check_ports(const struct dm_keeper *k, struct dm_err *err)
{
    int rc = check_port("--admin", &k->options.admin, false, err);

    return rc < 0 ? rc : check_listen(k, err);
}

int dm_keeper_check_main(const struct dm_gateway_options *options)
{
    struct dm_keeper *k = dm_calloc(1, sizeof(*k));
    struct dm_err err = {0};
    int rc;

    k->options = *options;
    k->sys = dm_sys_real();
    if ((rc = dm_crypto_init()) < 0)
        rc = dm_fail(&err, rc, "", "libsodium can't be used");
    else
        rc = check_listen(k, &err);
    if (rc < 0)
        fprintf(stderr, "daemun-gateway: %s\n", err.message);
    dm_free(k);
    return rc < 0;
}
