/* daemun-controller: API, store, releases and the link to gateways, in one process with one event loop and a small pool of
 * threads for blocking calls.
 *
 * Exit status: 0 stopped by a signal; 1 could not start, or failed; 2 wrong usage. */
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/app.h"
#include "base/crypto.h"
#include "base/log.h"

static const char help[] =
    "daemun-controller: the control plane of Daemun: API, store, signed releases, link to gateways.\n"
    "\n"
    "  --data DIR               data directory, made when missing (default: ./data)\n"
    "  --listen ADDRESS:PORT    where the API listens (default: 127.0.0.1:9080)\n"
    "  --link PATH              socket for gateways (default: DATA/run/controller.sock)\n"
    "  --link-uid UID           user id of gateways besides the own one; then --link must lie where it may go\n"
    "  --master-token-file PATH write a master token that is made at first start to this file (mode 0600)\n"
    "                           instead of showing it on standard output\n"
    "  --threads N              threads for the store (default: 4)\n"
    "  --log-level LEVEL        debug, info, warn or error (default: info)\n"
    "  --log-format FORMAT      json or text (default: text on a terminal, else json)\n"
    "  --version                print the version\n"
    "  --help                   print this\n"
    "\n"
    "At first start it makes its keys under DATA/controller/keys and a master token, which is shown once.\n"
    "SIGTERM and SIGINT end it after the requests in hand.\n";

enum {
    OPT_DATA = 256,
    OPT_LISTEN,
    OPT_LINK,
    OPT_LINK_UID,
    OPT_TOKEN_FILE,
    OPT_THREADS,
    OPT_LEVEL,
    OPT_FORMAT,
    OPT_VERSION,
    OPT_HELP
};

static const struct option options[] = {
    {"data", required_argument, NULL, OPT_DATA},
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"link", required_argument, NULL, OPT_LINK},
    {"link-uid", required_argument, NULL, OPT_LINK_UID},
    {"master-token-file", required_argument, NULL, OPT_TOKEN_FILE},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"log-level", required_argument, NULL, OPT_LEVEL},
    {"log-format", required_argument, NULL, OPT_FORMAT},
    {"version", no_argument, NULL, OPT_VERSION},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

struct arguments {
    struct dm_app_settings app;
    enum dm_log_level level;
    bool is_text;
};

static int usage_error(const char *format, const char *value)
{
    fprintf(stderr, "daemun-controller: ");
    fprintf(stderr, format, value);
    fprintf(stderr, "; see daemun-controller --help\n");
    return 2;
}

static int read_level(const char *text, enum dm_log_level *ret)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};

    for (size_t i = 0; i < DM_COUNT(names); i++)
        if (strcmp(names[i], text) == 0) {
            *ret = (enum dm_log_level)i;
            return 0;
        }
    return usage_error("--log-level must be debug, info, warn or error, found '%s'", text);
}

static int read_number(const char *name, const char *text, uint64_t max, uint64_t *ret)
{
    char format[96];

    if (dm_str_to_u64(dm_str_of(text), ret) == 0 && *ret <= max)
        return 0;
    snprintf(format, sizeof(format), "%s must be a number up to %llu, found '%%s'", name, (unsigned long long)max);
    return usage_error(format, text);
}

static int read_option(struct arguments *args, int option, const char *value)
{
    uint64_t number;
    int rc;

    switch (option) {
    case OPT_DATA: args->app.data = value; return 0;
    case OPT_LISTEN:
        if (dm_addr_parse(dm_str_of(value), &args->app.listen, NULL) < 0)
            return usage_error("--listen must be ADDRESS:PORT such as 127.0.0.1:9080, found '%s'", value);
        return 0;
    case OPT_LINK: args->app.link = value; return 0;
    case OPT_LINK_UID:
        if ((rc = read_number("--link-uid", value, UINT32_MAX - 1, &number)) == 0)
            args->app.link_uid = (uid_t)number;
        return rc;
    case OPT_TOKEN_FILE: args->app.master_token_file = value; return 0;
    case OPT_THREADS:
        if ((rc = read_number("--threads", value, 64, &number)) == 0)
            args->app.threads = (unsigned)DM_MAX(number, (uint64_t)1);
        return rc;
    case OPT_LEVEL: return read_level(value, &args->level);
    case OPT_FORMAT:
        args->is_text = strcmp(value, "text") == 0;
        if (!args->is_text && strcmp(value, "json") != 0)
            return usage_error("--log-format must be json or text, found '%s'", value);
        return 0;
    default: fprintf(stderr, "see daemun-controller --help\n"); return 2;
    }
}

/* 0 = go on; otherwise *ret_status is the exit status. */
static int read_arguments(int argc, char **argv, struct arguments *args, int *ret_status)
{
    int option;

    opterr = 0;
    while ((option = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (option == OPT_HELP || option == OPT_VERSION) {
            fputs(option == OPT_HELP ? help : "daemun-controller " DM_VERSION "\n", stdout);
            *ret_status = 0;
            return 1;
        }
        if (option == '?' || option == ':')
            *ret_status = usage_error(option == '?' ? "unknown option '%s'" : "%s needs a value", argv[optind - 1]);
        else
            *ret_status = read_option(args, option, optarg);
        if (*ret_status != 0)
            return 1;
    }
    if (optind == argc)
        return 0;
    *ret_status = usage_error("'%s' is no option", argv[optind]);
    return 1;
}

/* Addresses of Unix sockets are absolute. */
static int make_absolute(const char **path, char buf[PATH_MAX])
{
    size_t len;

    if (**path == '/')
        return 0;
    if (getcwd(buf, PATH_MAX) == NULL)
        return DM_EIO;
    len = strlen(buf);
    if ((size_t)snprintf(buf + len, PATH_MAX - len, "/%s", *path) >= PATH_MAX - len)
        return DM_EINVAL;
    *path = buf;
    return 0;
}

/* Neither a core file nor another process of the same user shows the keys. */
static void hide_memory(void)
{
    const struct rlimit none = {0, 0};

    (void)setrlimit(RLIMIT_CORE, &none);
#if !DM_ASAN /* which looks for leaks by tracing */
    (void)prctl(PR_SET_DUMPABLE, 0);
#endif
}

/* A shell gives 1024, and every connection is one. */
static void raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
    char data[PATH_MAX], link[PATH_MAX];
    struct arguments args = {.level = DM_LOG_INFO, .is_text = isatty(STDERR_FILENO)};
    struct dm_err err = {0};
    int status = 1;

    dm_app_defaults(&args.app);
    if (read_arguments(argc, argv, &args, &status) != 0)
        return status;
    if (make_absolute(&args.app.data, data) < 0 || (args.app.link != NULL && make_absolute(&args.app.link, link) < 0)) {
        fprintf(stderr, "daemun-controller: the path of the data directory or the link is too long\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    umask(077);
    hide_memory();
    raise_descriptors();
    dm_log_init("daemun-controller", "controller", STDERR_FILENO, false, args.level);
    dm_log_set_text(args.is_text);
    if (dm_crypto_init() < 0) {
        fprintf(stderr, "daemun-controller: the cryptographic library can't be used\n");
        return 1;
    }
    if (dm_app_run(&args.app, &err) < 0) {
        dm_log_drain(1000);
        fprintf(stderr, "daemun-controller: %s\n", err.message);
        return 1;
    }
    dm_log_drain(1000);
    return 0;
}
