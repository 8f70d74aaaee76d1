/* daemun-gateway: one binary for the keeper (what a person starts) and for the workers and the loader that it starts. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "gateway/keeper/keeper.h"
#include "gateway/process/loader.h"
#include "gateway/worker.h"

/* For ps and top: a process that is started as /proc/self/exe is called "exe". At most 15 bytes. */
static void set_name(const struct dm_gateway_options *options)
{
    char name[16];

    if (options->role == DM_ROLE_WORKER)
        snprintf(name, sizeof(name), "dm-worker-%u", options->slot);
    else
        snprintf(name, sizeof(name), "%s", options->role == DM_ROLE_LOADER ? "dm-loader" : "daemun-gateway");
    (void)prctl(PR_SET_NAME, name);
}

static int run_worker(const struct dm_gateway_options *options)
{
    char role[32];

    snprintf(role, sizeof(role), "worker-%u", options->slot);
    dm_log_init("daemun-gateway", role, STDERR_FILENO, false, options->log_level);
    dm_log_set_text(options->log_is_text);
    return dm_worker_main(options);
}

/* A shell gives 1024 descriptors, and every connection is one; loader and workers inherit what the keeper may have. */
static void raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* No core file shows keys, also where the system takes core files through a pipe, which asks for no limit: then it has no memory
 * in it. Loader and workers inherit both. */
static void hide_memory(void)
{
    const struct rlimit none = {0, 0};
    int fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);

    (void)setrlimit(RLIMIT_CORE, &none);
    if (fd < 0)
        return;
    (void)!write(fd, "0", 1);
    close(fd);
}

/* Where the next program will lie: where this one was started from, and not what a link there led to. */
static void set_program(struct dm_gateway_options *options, char **argv)
{
    static char self[PATH_MAX];
    ssize_t n = strchr(argv[0], '/') ? 0 : readlink("/proc/self/exe", self, sizeof(self) - 1);

    options->argv = argv;
    options->program = n > 0 ? self : argv[0];
}

/* What comes while one keeper becomes the next waits for that. */
static void block_signals(void)
{
    static const int signos[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < DM_COUNT(signos); i++)
        sigaddset(&set, signos[i]);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
}

static int run_keeper(struct dm_gateway_options *options, char **argv)
{
    int code;

    set_program(options, argv);
    block_signals();
    while ((code = dm_keeper_main(options)) == DM_KEEPER_NEXT) {
        execv(options->program, argv);
        fprintf(stderr, "daemun-gateway: %s can't be run: %s; this program goes on\n", options->program,
                strerror(errno));
    }
    return code;
}

int main(int argc, char **argv)
{
    struct dm_gateway_options options;
    struct dm_err err = {0};
    int rc = dm_gateway_options_read(&options, argc - 1, (const char *const *)argv + 1, &err);

    if (rc > 0)
        return 0;
    if (rc < 0) {
        fprintf(stderr, "daemun-gateway: %s\n", err.message);
        return 2;
    }
    raise_descriptors();
    hide_memory();
    set_name(&options);
    switch (options.role) {
    case DM_ROLE_WORKER: return run_worker(&options);
    case DM_ROLE_LOADER: return dm_loader_main(&options);
    case DM_ROLE_CHECK: return dm_keeper_check_main(&options);
    case DM_ROLE_KEEPER: break;
    }
    return run_keeper(&options, argv);
}
