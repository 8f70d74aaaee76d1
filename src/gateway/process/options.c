#include <errno.h>
#include <stdarg.h>
#include <unistd.h>

#include "base/buf.h"
#include "gateway/process/options.h"
#include "http/server.h"

enum { DRAIN_MS = 10000, DRAIN_MS_MAX = 3600000, QUEUE_DELAY_MS = 100, QUEUE_DELAY_MS_MAX = 60000, CELL_UIDS = 16384 };

static const char help[] =
    "daemun-gateway: the data plane of Daemun.\n"
    "\n"
    "Usage: daemun-gateway --data DIR [OPTION...]\n"
    "\n"
    "  --data DIR               where the gateway keeps its configuration and run files\n"
    "  --log-dir DIR            where access logs go                    (default: DIR/log)\n"
    "  --listen 'ADDR WORD ...' where requests come in, and how; may be repeated (default: 0.0.0.0:8080)\n"
    "                           ADDR: 192.0.2.1:80, [2001:db8::1]:80, *:80 (IPv4 and IPv6), unix:/PATH\n"
    "                           words: http2=on|off  proxy-protocol=SOURCES  trusted-fronts=SOURCES  LIMIT=N\n"
    "                           SOURCES: addresses, blocks such as 10.0.0.0/8 and unix:, with commas between\n"
    "  --workers N              worker processes                        (default: one a core)\n"
    "  --controller unix:/PATH  the controller's link socket            (default: none; serves what is on disk)\n"
    "  --controller-uid UID     the user the controller runs as         (default: the gateway's own)\n"
    "  --admin ADDR:PORT        /metrics, /healthz, /status             (default: 127.0.0.1:9090)\n"
    "  --id NAME                name of this gateway                    (default: made at first start)\n"
    "  --trusted-fronts SOURCES balancers whose Forwarded fields count  (default: none)\n"
    "  --cell-uid-base UID      dedicated teams' workers run as users UID, UID+1, … (default: as the gateway)\n"
    "  --cgroup DIR             control groups for dedicated teams' workers go below DIR (default: none)\n"
    "  --drain-ms N             how long requests may finish at SIGTERM (default: 10000)\n"
    "  --access-log on|off                                              (default: on)\n"
    "  --fairness on|off        share time among tenants                (default: on)\n"
    "  --queue-delay-ms N       refuse some work of tenants whose own work waits longer; 0: never (default: 100)\n"
    "  --log-level debug|info|warn|error                                (default: info)\n"
    "  --log-format text|json                                           (default: text on a terminal)\n"
    "  --help, --version\n"
    "\n"
    "Limits: words of one listener, or options that hold for all that do not say them. 0: no limit.\n"
    "\n";

static const char *const level_names[] = {"debug", "info", "warn", "error", NULL};
static const char *const format_names[] = {"json", "text", NULL};
static const char *const switch_names[] = {"off", "on", NULL};
static const char *const role_names[] = {"keeper", "worker", "loader", "check", NULL};

const char *const dm_gateway_bank_suffix[DM_GATEWAY_BANKS] = {"", "b"};

typedef int (*read_fn)(struct dm_gateway_options *options, struct dm_str value, struct dm_err *err);

/* --- values ------------------------------------------------------------------------------------------------------ */

static int read_name(struct dm_str value, const char *const *names, struct dm_err *err)
{
    char list[128] = "";
    struct dm_buf buf;

    for (int i = 0; names[i]; i++)
        if (dm_str_eq(value, dm_str_of(names[i])))
            return i;
    dm_buf_init_fixed(&buf, list, sizeof(list));
    for (int i = 0; names[i]; i++)
        dm_buf_printf(&buf, "%s%s", i == 0 ? "" : names[i + 1] ? ", " : " or ", names[i]);
    return dm_fail(err, DM_EINVAL, "", "expected %.*s, found '%.*s'", DM_STR_ARG(dm_buf_str(&buf)), DM_STR_ARG(value));
}

static int read_number(struct dm_str value, uint64_t min, uint64_t max, uint64_t *ret, struct dm_err *err)
{
    uint64_t number;

    if (dm_str_to_u64(value, &number) < 0 || number < min || number > max)
        return dm_fail(err, DM_EINVAL, "", "expected a number from %llu to %llu, found '%.*s'", (unsigned long long)min,
                       (unsigned long long)max, DM_STR_ARG(value));
    *ret = number;
    return 0;
}

/* Absolute, for other processes and for addresses of sockets in it. */
static int read_data(struct dm_gateway_options *options, struct dm_str value, struct dm_err *err)
{
    char cwd[DM_GATEWAY_DATA_MAX + 1] = "";
    struct dm_buf buf;

    while (value.len > 1 && value.ptr[value.len - 1] == '/')
        value.len--;
    if (value.len == 0 || (value.ptr[0] == '/' && value.len == 1))
        return dm_fail(err, DM_EINVAL, "", "expected a directory, found '%.*s'", DM_STR_ARG(value));
    if (value.ptr[0] != '/' && !getcwd(cwd, sizeof(cwd)))
        return dm_fail(err, DM_EINVAL, "", "expected an absolute path, found '%.*s'", DM_STR_ARG(value));
    dm_buf_init_fixed(&buf, options->data_dir, sizeof(options->data_dir));
    dm_buf_add(&buf, dm_str_of(cwd));
    if (cwd[0])
        dm_buf_add_char(&buf, '/');
    dm_buf_add(&buf, value);
    dm_buf_add_char(&buf, '\0');
    if (buf.failed || (options->role != DM_ROLE_WORKER && buf.len > DM_GATEWAY_DATA_MAX + 1))
        return dm_fail(err, DM_EINVAL, "", "expected a path of at most %d bytes, found one of %zu", DM_GATEWAY_DATA_MAX,
                       strlen(cwd) + 1 + value.len);
    return 0;
}

static int read_log_dir(struct dm_gateway_options *options, struct dm_str value, struct dm_err *err)
{
    if (value.len == 0 || value.len > DM_GATEWAY_PATH_MAX - 64)
        return dm_fail(err, DM_EINVAL, "", "expected a directory, found a path of %zu bytes", value.len);
    options->log_dir = value.ptr;
    return 0;
}

static int read_listen(struct dm_gateway_options *options, struct dm_str value, struct dm_err *err)
{
    int rc = dm_listener_parse(value, options->listen, &options->n_listen, err);

    if (rc < 0)
        return rc;
    options->listen_text[options->n_listen_text++] = value.ptr;
    return 0;
}

static int read_workers(struct dm_gateway_options *options, struct dm_str value, struct dm_err *err)
{
    uint64_t n = 0;
    int rc = read_number(value, 1, DM_GATEWAY_WORKERS_MAX, &n, err);

    if (rc == 0)
        options->n_workers = (unsigned)n;
    return rc;
}

static int read_controller(struct dm_gateway_options *options, struct dm_str value, struct dm_err *err)
{
    int rc = dm_addr_parse(value, &options->controller, err);

    if (rc < 0)
        return rc;
    if (options->controller.ss.ss_family != AF_UNIX)
        return dm_fail(err, DM_EINVAL, "", "expected unix:/path, found '%.*s'", DM_STR_ARG(value));
    options->has_controller = true;
    return 0;
}

static int read_controller_uid(struct dm_gateway_options *options, struct dm_str value, struct dm_err *err)
{
    uint64_t uid = 0;
    int rc = read_number(value, 0, UINT32_MAX - 1, &uid, err);

    if (rc == 0)
        options->controller_uid = (uid_t)uid;
    return rc;
}

/* Of an account that is nobody else's, and of as many behind it as there may be tenants. */
static int read_cell_uid_base(struct dm_gateway_options *options, struct dm_str value, struct dm_err *err)
{
    uint64_t uid = 0;
    int rc = read_number(value, 1, UINT32_MAX - 1 - CELL_UIDS, &uid, err);

    if (rc == 0)
        options->cell_uid_base = (uint32_t)uid;
    return rc;
}

static int read_cgroup(struct dm_gateway_options *options, struct dm_str value, struct dm_err *err)
{
    if (value.len == 0 || value.ptr[0] != '/' || value.len > DM_GATEWAY_PATH_MAX / 2)
        return dm_fail(err, DM_EINVAL, "", "expected an absolute path, found '%.*s'", DM_STR_ARG(value));
    options->cgroup = value.ptr;
    return 0;
}

static int read_cell(struct dm_gateway_options *options, struct dm_str value, struct dm_err *err)
{
    if (value.len == 0 || value.len >= sizeof(options->cell))
        return dm_fail(err, DM_EINVAL, "", "expected the name of a tenant, found '%.*s'", DM_STR_ARG(value));
    memcpy(options->cell, value.ptr, value.len);
    options->cell[value.len] = '\0';
    return 0;
}

static int read_cell_uid(struct dm_gateway_options *options, struct dm_str value, struct dm_err *err)
{
    uint64_t uid = 0;
    int rc = read_number(value, 1, UINT32_MAX - 1, &uid, err);

    if (rc == 0)
        options->cell_uid = (uint32_t)uid;
    return rc;
}

static int read_admin(struct dm_gateway_options *options, struct dm_str value, struct dm_err *err)
{
    return dm_addr_parse(value, &options->admin, err);
}

static bool is_id_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_';
}

bool dm_gateway_id_is_valid(struct dm_str id)
{
    for (size_t i = 0; i < id.len; i++)
        if (!is_id_char(id.ptr[i]))
            return false;
    return id.len > 0 && id.len <= DM_GATEWAY_ID_MAX;
}

static int read_id(struct dm_gateway_options *options, struct dm_str value, struct dm_err *err)
{
    if (!dm_gateway_id_is_valid(value))
        return dm_fail(err, DM_EINVAL, "", "expected 1 to %d letters, digits, '-', '.' or '_', found '%.*s'",
                       DM_GATEWAY_ID_MAX, DM_STR_ARG(value));
    memcpy(options->id, value.ptr, value.len);
    options->id[value.len] = '\0';
    return 0;
}

static int read_trusted_fronts(struct dm_gateway_options *options, struct dm_str value, struct dm_err *err)
{
    return dm_listener_parse_sources(value, &options->listen_defaults.trusted_fronts, err);
}

static int read_drain(struct dm_gateway_options *options, struct dm_str value, struct dm_err *err)
{
    return read_number(value, 0, DRAIN_MS_MAX, &options->drain_ms, err);
}

static int read_fairness(struct dm_gateway_options *options, struct dm_str value, struct dm_err *err)
{
    int at = read_name(value, switch_names, err);

    if (at >= 0)
        options->is_fair = at == 1;
    return DM_MIN(at, 0);
}

static int read_queue_delay(struct dm_gateway_options *options, struct dm_str value, struct dm_err *err)
{
    return read_number(value, 0, QUEUE_DELAY_MS_MAX, &options->queue_delay_ms, err);
}

static int read_access_log(struct dm_gateway_options *options, struct dm_str value, struct dm_err *err)
{
    int at = read_name(value, switch_names, err);

    if (at >= 0)
        options->access_log = at == 1;
    return DM_MIN(at, 0);
}

static int read_log_level(struct dm_gateway_options *options, struct dm_str value, struct dm_err *err)
{
    int at = read_name(value, level_names, err);

    if (at >= 0)
        options->log_level = (enum dm_log_level)at;
    return DM_MIN(at, 0);
}

static int read_log_format(struct dm_gateway_options *options, struct dm_str value, struct dm_err *err)
{
    int at = read_name(value, format_names, err);

    if (at >= 0)
        options->log_is_text = at == 1;
    return DM_MIN(at, 0);
}

static int read_role(struct dm_gateway_options *options, struct dm_str value, struct dm_err *err)
{
    int at = read_name(value, role_names, err);

    if (at >= 0)
        options->role = (enum dm_gateway_role)at;
    return DM_MIN(at, 0);
}

static int read_slot(struct dm_gateway_options *options, struct dm_str value, struct dm_err *err)
{
    uint64_t slot = 0;
    int rc = read_number(value, 0, DM_GATEWAY_WORKERS_MAX - 1, &slot, err);

    if (rc == 0)
        options->slot = (unsigned)slot;
    return rc;
}

static int read_bank(struct dm_gateway_options *options, struct dm_str value, struct dm_err *err)
{
    uint64_t bank = 0;
    int rc = read_number(value, 0, DM_GATEWAY_BANKS - 1, &bank, err);

    if (rc == 0)
        options->bank = (unsigned)bank;
    return rc;
}

static const struct {
    const char *name;
    read_fn read;
} table[] = {
    {"--data", read_data},
    {"--log-dir", read_log_dir},
    {"--listen", read_listen},
    {"--workers", read_workers},
    {"--controller", read_controller},
    {"--controller-uid", read_controller_uid},
    {"--admin", read_admin},
    {"--id", read_id},
    {"--trusted-fronts", read_trusted_fronts},
    {"--drain-ms", read_drain},
    {"--access-log", read_access_log},
    {"--fairness", read_fairness},
    {"--queue-delay-ms", read_queue_delay},
    {"--log-level", read_log_level},
    {"--log-format", read_log_format},
    {"--role", read_role},
    {"--slot", read_slot},
    {"--bank", read_bank},
    {"--cell-uid-base", read_cell_uid_base},
    {"--cgroup", read_cgroup},
    {"--cell", read_cell},
    {"--cell-uid", read_cell_uid},
};

/* --- the line ---------------------------------------------------------------------------------------------------- */

void dm_gateway_options_defaults(struct dm_gateway_options *options)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    *options = (struct dm_gateway_options){.access_log = true,
                                           .is_fair = true,
                                           .queue_delay_ms = QUEUE_DELAY_MS,
                                           .log_level = DM_LOG_INFO,
                                           .log_is_text = isatty(STDERR_FILENO),
                                           .drain_ms = DRAIN_MS,
                                           .cell_uid_base = DM_GATEWAY_NO_UID,
                                           .cell_uid = DM_GATEWAY_NO_UID,
                                           .controller_uid = geteuid()};
    dm_listener_defaults(&options->listen_defaults);
    options->n_workers = cores < 1 ? 1 : (unsigned)DM_MIN(cores, DM_GATEWAY_WORKERS_MAX);
    if (dm_addr_parse(DM_STR("127.0.0.1:9090"), &options->admin, NULL) < 0)
        abort();
}

/* DM_ENOENT: there is no such option. */
static int store(struct dm_gateway_options *options, struct dm_str name, struct dm_str value, struct dm_err *err)
{
    for (size_t i = 0; i < DM_COUNT(table); i++)
        if (dm_str_eq(name, dm_str_of(table[i].name)))
            return table[i].read(options, value, err);
    if (!dm_str_starts(name, DM_STR("--")))
        return DM_ENOENT;
    return dm_listener_limit_read(&options->listen_defaults.limits, dm_str_skip(name, 2), value, err);
}

static int read_option(struct dm_gateway_options *options, struct dm_str name, struct dm_str value, struct dm_err *err)
{
    struct dm_err inner = {0};
    int rc = store(options, name, value, &inner);

    if (rc == DM_ENOENT)
        return dm_fail(err, DM_EINVAL, "", "unknown option '%.*s' (see --help)", DM_STR_ARG(name));
    return rc < 0 ? dm_fail(err, DM_EINVAL, "", "%.*s: %s", DM_STR_ARG(name), inner.message) : 0;
}

static int finish(struct dm_gateway_options *options, struct dm_err *err)
{
    int rc;

    if (!options->data_dir[0])
        return dm_fail(err, DM_EINVAL, "", "--data: expected a directory, found no such option");
    if (options->n_listen == 0 && (rc = read_listen(options, DM_STR("0.0.0.0:8080"), err)) < 0)
        return rc;
    for (size_t i = 0; i < options->n_listen; i++)
        dm_listener_fill(&options->listen[i], &options->listen_defaults);
    return 0;
}

static void print_help(void)
{
    fputs(help, stdout);
    for (size_t i = 0; i < DM_LISTENER_LIMIT_COUNT; i++)
        printf("  --%-18s %s (default: %llu)\n", dm_listener_limits[i].word, dm_listener_limits[i].doc,
               (unsigned long long)dm_listener_limits[i].def);
}

int dm_gateway_options_read(struct dm_gateway_options *options, int n_args, const char *const *args, struct dm_err *err)
{
    int rc;

    dm_gateway_options_defaults(options);
    for (int i = 0; i < n_args; i++) {
        struct dm_str arg = dm_str_of(args[i]), name = arg, value;
        size_t eq = dm_str_find(arg, '=');
        if (dm_str_eq(arg, DM_STR("--help")) || dm_str_eq(arg, DM_STR("--version"))) {
            if (dm_str_eq(arg, DM_STR("--help")))
                print_help();
            else
                puts("daemun-gateway " DM_VERSION);
            return 1;
        }
        if (eq < arg.len) {
            name = dm_str_n(arg.ptr, eq);
            value = dm_str_skip(arg, eq + 1);
        } else if (i + 1 < n_args) {
            value = dm_str_of(args[++i]);
        } else {
            return dm_fail(err, DM_EINVAL, "", "%s: expected a value behind it, found nothing", args[i]);
        }
        if ((rc = read_option(options, name, value, err)) < 0)
            return rc;
    }
    return finish(options, err);
}

/* --- for others -------------------------------------------------------------------------------------------------- */

void dm_gateway_path(const struct dm_gateway_options *options, char ret[DM_GATEWAY_PATH_MAX], const char *name, ...)
{
    int n = snprintf(ret, DM_GATEWAY_PATH_MAX, "%s/", options->data_dir);
    va_list args;

    va_start(args, name);
    vsnprintf(ret + n, DM_GATEWAY_PATH_MAX - (size_t)n, name, args);
    va_end(args);
}

static void add_arg(struct dm_gateway_args *args, struct dm_buf *buf, const char *fmt, ...) DM_PRINTF(3, 4);
static void add_arg(struct dm_gateway_args *args, struct dm_buf *buf, const char *fmt, ...)
{
    va_list list;

    if (args->count == DM_GATEWAY_ARGS_MAX)
        abort();
    args->items[args->count++] = buf->ptr + buf->len;
    va_start(list, fmt);
    dm_buf_vprintf(buf, fmt, list);
    va_end(list);
    dm_buf_add_char(buf, '\0');
}

static void add_limit(const struct dm_gateway_options *options, size_t i, struct dm_gateway_args *args,
                      struct dm_buf *buf)
{
    add_arg(args, buf, "--%s=%llu", dm_listener_limits[i].word,
            (unsigned long long)dm_listener_limit_get(&options->listen_defaults.limits, i));
}

static void add_trusted_fronts(const struct dm_listener_sources *fronts, struct dm_gateway_args *args,
                               struct dm_buf *buf)
{
    char cidr[DM_CIDR_TEXT_MAX];

    add_arg(args, buf, "--trusted-fronts=%s", fronts->has_unix ? "unix:," : "");
    for (size_t i = 0; i < fronts->n; i++) {
        buf->len--;
        dm_cidr_format(&fronts->blocks[i], cidr);
        dm_buf_printf(buf, "%s,", cidr);
        dm_buf_add_char(buf, '\0');
    }
}

void dm_gateway_options_args(const struct dm_gateway_options *options, enum dm_gateway_role role, unsigned slot,
                             unsigned bank, struct dm_gateway_args *ret)
{
    struct dm_buf buf;

    ret->count = 0;
    dm_buf_init_fixed(&buf, ret->text, sizeof(ret->text));
    add_arg(ret, &buf, "--role=%s", role_names[role]);
    add_arg(ret, &buf, "--slot=%u", slot);
    add_arg(ret, &buf, "--bank=%u", bank);
    add_arg(ret, &buf, "--data=%s", options->data_dir);
    add_arg(ret, &buf, "--workers=%u", options->n_workers);
    add_arg(ret, &buf, "--log-level=%s", level_names[options->log_level]);
    add_arg(ret, &buf, "--log-format=%s", format_names[options->log_is_text]);
    add_arg(ret, &buf, "--access-log=%s", switch_names[options->access_log]);
    add_arg(ret, &buf, "--fairness=%s", switch_names[options->is_fair]);
    add_arg(ret, &buf, "--queue-delay-ms=%llu", (unsigned long long)options->queue_delay_ms);
    add_arg(ret, &buf, "--drain-ms=%llu", (unsigned long long)options->drain_ms);
    for (size_t i = 0; i < DM_LISTENER_LIMIT_COUNT; i++)
        add_limit(options, i, ret, &buf);
    if (options->cell[0])
        add_arg(ret, &buf, "--cell=%s", options->cell);
    if (options->cell_uid != DM_GATEWAY_NO_UID)
        add_arg(ret, &buf, "--cell-uid=%u", options->cell_uid);
    if (options->id[0])
        add_arg(ret, &buf, "--id=%s", options->id);
    for (size_t i = 0; i < options->n_listen_text; i++)
        add_arg(ret, &buf, "--listen=%s", options->listen_text[i]);
    add_trusted_fronts(&options->listen_defaults.trusted_fronts, ret, &buf);
    if (buf.failed)
        abort();
}
