/* What `daemun serve` was asked for: checked before anything is made or started, and passed on to the two processes. */
#include <errno.h>

#include "cli/serve_int.h"
#include "model/link.h"
#include "model/listener.h"

#define ADMIN_DEFAULT "127.0.0.1:9090"
#define SOCKET_PATH_MAX 100                   /* sun_path holds 108 */
#define CELL_UID_MAX (UINT32_MAX - 1 - 16384) /* as the gateway's */

/* --- options ------------------------------------------------------------------------------------------------------ */

static const char *option_or(const struct serve *s, const char *name, const char *otherwise)
{
    const char *value = dm_args_get(&s->cli->args, name);

    return value ? value : otherwise;
}

static int check_address(const struct serve *s, const char *option, const char *text)
{
    struct dm_addr addr;
    struct dm_err err = {0};

    if (dm_addr_parse(dm_str_of(text), &addr, &err) < 0 || addr.ss.ss_family == AF_UNIX || dm_addr_port(&addr) == 0)
        return dm_cli_fail(s->cli, DM_EXIT_USAGE, "--%s must be ADDRESS:PORT such as 127.0.0.1:8080, found '%s'",
                           option, text);
    return DM_EXIT_OK;
}

static int check_listeners(const struct serve *s)
{
    struct dm_listener_spec specs[DM_LISTENERS_MAX];
    struct dm_err err = {0};
    const char *listen;
    size_t n = 0;

    for (size_t i = 0; (listen = dm_args_at(&s->cli->args, "listen", i)); i++)
        if (dm_listener_parse(dm_str_of(listen), specs, &n, &err) < 0)
            return dm_cli_fail(s->cli, DM_EXIT_USAGE, "--listen: %s", err.message);
    return DM_EXIT_OK;
}

static int read_addresses(struct serve *s)
{
    const char *api = option_or(s, "api", DM_SERVE_API_DEFAULT), *admin = option_or(s, "admin", ADMIN_DEFAULT);
    int rc;

    if ((rc = check_address(s, "api", api)) != DM_EXIT_OK || (rc = check_address(s, "admin", admin)) != DM_EXIT_OK)
        return rc;
    snprintf(s->api, sizeof(s->api), "%s", api);
    snprintf(s->admin, sizeof(s->admin), "%s", admin);
    return check_listeners(s);
}

static int check_workers(const struct serve *s)
{
    const char *text = option_or(s, "workers", "1");
    uint64_t n;

    if (dm_str_to_u64(dm_str_of(text), &n) < 0 || n < 1 || n > DM_LINK_WORKERS_MAX)
        return dm_cli_fail(s->cli, DM_EXIT_USAGE, "--workers must be a number from 1 to %d, found '%s'",
                           DM_LINK_WORKERS_MAX, text);
    return DM_EXIT_OK;
}

static int check_limits(const struct serve *s)
{
    struct dm_listener_limits limits;
    struct dm_err err = {0};

    for (size_t i = 0; i < DM_LISTENER_LIMIT_COUNT; i++) {
        const char *word = dm_listener_limits[i].word, *text = dm_args_get(&s->cli->args, word);
        if (text && dm_listener_limit_read(&limits, dm_str_of(word), dm_str_of(text), &err) < 0)
            return dm_cli_fail(s->cli, DM_EXIT_USAGE, "--%s: %s", word, err.message);
    }
    return DM_EXIT_OK;
}

static int check_trusted_fronts(const struct serve *s)
{
    struct dm_listener_sources fronts = {.n = 0};
    struct dm_err err = {0};

    if (dm_listener_parse_sources(dm_str_of(option_or(s, "trusted-fronts", "")), &fronts, &err) < 0)
        return dm_cli_fail(s->cli, DM_EXIT_USAGE, "--trusted-fronts: %s", err.message);
    return DM_EXIT_OK;
}

static int check_cells(const struct serve *s)
{
    const char *base = option_or(s, "cell-uid-base", "1"), *cgroup = option_or(s, "cgroup", "/");
    uint64_t n;

    if (dm_str_to_u64(dm_str_of(base), &n) < 0 || n < 1 || n > CELL_UID_MAX)
        return dm_cli_fail(s->cli, DM_EXIT_USAGE, "--cell-uid-base must be a number from 1 to %u, found '%s'",
                           CELL_UID_MAX, base);
    if (cgroup[0] != '/')
        return dm_cli_fail(s->cli, DM_EXIT_USAGE, "--cgroup must be an absolute path, found '%s'", cgroup);
    return DM_EXIT_OK;
}

int dm_serve_read_options(struct serve *s)
{
    int rc;

    if ((rc = read_addresses(s)) != DM_EXIT_OK || (rc = check_workers(s)) != DM_EXIT_OK ||
        (rc = check_limits(s)) != DM_EXIT_OK)
        return rc;
    if ((rc = check_cells(s)) != DM_EXIT_OK)
        return rc;
    return check_trusted_fronts(s);
}

/* --- the data directory ------------------------------------------------------------------------------------------- */

static void choose_data(const struct serve *s, char ret[PATH_MAX])
{
    const char *given = dm_args_get(&s->cli->args, "data"), *xdg = s->cli->world->env("XDG_DATA_HOME");

    if (given)
        snprintf(ret, PATH_MAX, "%s", given);
    else if (xdg && xdg[0] == '/')
        snprintf(ret, PATH_MAX, "%s/daemun", xdg);
    else
        snprintf(ret, PATH_MAX, "daemun-data");
}

int dm_serve_open_data(struct serve *s, char ret[PATH_MAX])
{
    char path[PATH_MAX];
    struct dm_err err = {0};

    choose_data(s, path);
    if (path[0] == '\0')
        return dm_cli_fail(s->cli, DM_EXIT_USAGE, "--data must be a directory");
    if (dm_sys_make_dirs(dm_sys_real(), path, 0700, &err) < 0)
        return dm_cli_fail(s->cli, DM_EXIT_FAILED, "the data directory %s can't be used: %s", path, err.message);
    if (!realpath(path, ret))
        return dm_cli_fail(s->cli, DM_EXIT_FAILED, "the data directory %s can't be used: %s", path, strerror(errno));
    if (strlen(ret) > SOCKET_PATH_MAX - sizeof("/run/controller.sock"))
        return dm_cli_fail(s->cli, DM_EXIT_USAGE, "the data directory %s has too long a path for the sockets below it",
                           ret);
    s->data = ret;
    return DM_EXIT_OK;
}

/* --- passed on ---------------------------------------------------------------------------------------------------- */

static void pass_on(struct serve *s, struct dm_child *child, const char *option)
{
    const char *value;

    for (size_t i = 0; (value = dm_args_at(&s->cli->args, option, i)); i++)
        dm_child_arg(child, "--%s=%s", option, value);
}

void dm_serve_make_args(struct serve *s)
{
    dm_child_arg(&s->controller, "--data=%s", s->data);
    dm_child_arg(&s->controller, "--listen=%s", s->api);
    pass_on(s, &s->controller, "master-token-file");
    pass_on(s, &s->controller, "log-level");
    pass_on(s, &s->controller, "log-format");
    snprintf(s->controller.lock, sizeof(s->controller.lock), "%s/run/controller.lock", s->data);

    dm_child_arg(&s->gateway, "--data=%s/gateway", s->data);
    dm_child_arg(&s->gateway, "--log-dir=%s/log", s->data);
    dm_child_arg(&s->gateway, "--controller=unix:%s/run/controller.sock", s->data);
    dm_child_arg(&s->gateway, "--admin=%s", s->admin);
    if (dm_args_has(&s->cli->args, "listen"))
        pass_on(s, &s->gateway, "listen");
    else
        dm_child_arg(&s->gateway, "--listen=%s", DM_SERVE_LISTEN_DEFAULT);
    pass_on(s, &s->gateway, "workers");
    pass_on(s, &s->gateway, "access-log");
    pass_on(s, &s->gateway, "fairness");
    pass_on(s, &s->gateway, "queue-delay-ms");
    pass_on(s, &s->gateway, "trusted-fronts");
    pass_on(s, &s->gateway, "cell-uid-base");
    pass_on(s, &s->gateway, "cgroup");
    for (size_t i = 0; i < DM_LISTENER_LIMIT_COUNT; i++)
        pass_on(s, &s->gateway, dm_listener_limits[i].word);
    pass_on(s, &s->gateway, "log-level");
    pass_on(s, &s->gateway, "log-format");
    snprintf(s->gateway.lock, sizeof(s->gateway.lock), "%s/gateway/run/keeper.lock", s->data);
}

/* --- ports -------------------------------------------------------------------------------------------------------- */

/* Whoever listens there already would answer in the place of ours. */
static int try_address(const struct serve *s, const char *option, const struct dm_addr *addr)
{
    struct dm_sys *sys = dm_sys_real();
    char address[DM_ADDR_TEXT_MAX];
    int fd = sys->ops->listen(sys, addr, 1, false);

    if (fd >= 0) {
        sys->ops->close(sys, fd);
        return DM_EXIT_OK;
    }
    dm_addr_format(addr, true, address);
    if (fd == -EADDRINUSE)
        return dm_cli_fail(s->cli, DM_EXIT_FAILED,
                           "%s is in use by another process; stop that one, or choose another with --%s", address,
                           option);
    return dm_cli_fail(s->cli, DM_EXIT_FAILED, "can't listen on %s (--%s): %s", address, option, strerror(-fd));
}

static int check_free(const struct serve *s, const struct dm_child *child, const char *option, const char *address)
{
    struct dm_addr addr;

    if (child->process.state != DM_PROCESS_IDLE || dm_addr_parse(dm_str_of(address), &addr, NULL) < 0)
        return DM_EXIT_OK;
    return try_address(s, option, &addr);
}

/* Of a gateway whose keeper is gone: they serve, and its next keeper adopts them. */
static bool has_workers(const struct serve *s)
{
    static const char *const seats[] = {"", "b"}; /* of a slot */
    char path[DM_CHILD_PATH_MAX];

    for (unsigned i = 0; i < DM_LINK_WORKERS_MAX * DM_COUNT(seats); i++) {
        snprintf(path, sizeof(path), "%s/gateway/run/worker-%u%s.lock", s->data, i / 2, seats[i % 2]);
        if (dm_lockfile_holder(path) > 0)
            return true;
    }
    return false;
}

/* Sockets of the file system are the gateway's to look at, and an IPv6 that a machine may not have is its to do without. */
static int check_gates(const struct serve *s)
{
    struct dm_listener_spec specs[DM_LISTENERS_MAX];
    int rc = DM_EXIT_OK;
    size_t n;

    if (has_workers(s) || s->gateway.process.state != DM_PROCESS_IDLE)
        return DM_EXIT_OK;
    n = dm_serve_gates(s, specs);
    for (size_t i = 0; rc == DM_EXIT_OK && i < n; i++)
        if (specs[i].addr.ss.ss_family != AF_UNIX && !specs[i].is_optional)
            rc = try_address(s, "listen", &specs[i].addr);
    return rc;
}

size_t dm_serve_gates(const struct serve *s, struct dm_listener_spec ret[DM_LISTENERS_MAX])
{
    char text[DM_LISTENER_TEXT_MAX + 1];
    size_t n = 0;

    for (size_t i = 0; dm_child_option(&s->gateway, "--listen", i, text, sizeof(text)); i++)
        if (dm_listener_parse(dm_str_of(text), ret, &n, NULL) < 0)
            break; /* of a gateway of another version */
    return n;
}

int dm_serve_check_ports(const struct serve *s)
{
    int rc;

    if ((rc = check_free(s, &s->controller, "api", s->api)) != DM_EXIT_OK ||
        (rc = check_free(s, &s->gateway, "admin", s->admin)) != DM_EXIT_OK)
        return rc;
    return check_gates(s);
}
