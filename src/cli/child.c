#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <unistd.h>

#include "cli/child.h"
#include "base/sys.h"
#include "io/lockfile.h"

#define CMDLINE_MAX (64u << 10)

void dm_child_init(struct dm_child *child, const char *name, const struct dm_process_type *type, struct dm_loop *loop)
{
    *child = (struct dm_child){.name = name};
    dm_process_init(&child->process, loop, type);
}

static void drop_args(struct dm_child *child)
{
    for (size_t i = 0; i < child->args.count; i++)
        dm_free(child->args.items[i]);
    child->args.count = 0;
}

void dm_child_done(struct dm_child *child)
{
    drop_args(child);
    dm_vec_done(&child->args);
}

void dm_child_arg(struct dm_child *child, const char *fmt, ...)
{
    char text[DM_CHILD_ARG_MAX];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (child->args.count < DM_CHILD_ARGS_MAX)
        *dm_vec_push(&child->args) = dm_strdup(dm_str_of(text));
}

/* --- starting ----------------------------------------------------------------------------------------------------- */

/* This program again, which steps into a session of its own and becomes the other one under the same process id. */
int dm_child_on_spawn(struct dm_process *process, struct dm_spawn *spawn)
{
    struct dm_child *child = DM_CONTAINER_OF(process, struct dm_child, process);

    child->is_ready = false;
    dm_spawn_arg(spawn, "daemun");
    dm_spawn_arg(spawn, DM_CHILD_EXEC);
    dm_spawn_arg(spawn, child->program);
    for (size_t i = 0; i < child->args.count; i++)
        dm_spawn_arg(spawn, child->args.items[i]);
    return 0;
}

void dm_child_on_exit(struct dm_process *process, int status)
{
    struct dm_child *child = DM_CONTAINER_OF(process, struct dm_child, process);

    child->is_ready = false;
    child->on_exit(child, status);
}

int dm_child_exec(char **args)
{
    unsetenv("DAEMUN_TOKEN"); /* the person's, and none of the child's business */
    (void)setsid();           /* fails only for the leader of a group, which a child is not */
    execv(args[0], args);
    fprintf(stderr, "daemun: %s can't be run: %s\n", args[0], strerror(errno));
    return 127;
}

/* --- finding ------------------------------------------------------------------------------------------------------ */

static bool is_program(struct dm_child *child, struct dm_str dir, const char *below)
{
    int n = snprintf(child->program, sizeof(child->program), "%.*s%s/%s", DM_STR_ARG(dir), below, child->name);

    return n > 0 && n < (int)sizeof(child->program) && access(child->program, X_OK) == 0;
}

int dm_child_find(struct dm_child *child, const char *path_env, struct dm_err *err)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self));
    struct dm_str rest = dm_str_of(path_env), dir = dm_str_n(self, n > 0 ? (size_t)n : 0);

    while (dir.len > 0 && dir.ptr[dir.len - 1] != '/')
        dir.len--;
    if (dir.len > 0)
        dir.len--;
    if (n > 0 && (is_program(child, dir, "") || is_program(child, dir, "/../libexec/daemun")))
        return 0;
    while (path_env && dm_str_cut(&rest, ':', &dir))
        if (dir.len > 0 && is_program(child, dir, ""))
            return 0;
    return dm_fail(err, DM_ENOENT, "", "%s is neither beside this program nor in PATH", child->name);
}

/* --- adopting ----------------------------------------------------------------------------------------------------- */

/* The arguments of a living process, without its name. Those that can't be read stay as they are. */
static void take_args(struct dm_child *child, int pid)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf text = {0};
    struct dm_str rest, arg;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
    if (dm_sys_read_file(dm_sys_real(), path, CMDLINE_MAX, &text, NULL) < 0 || text.len == 0)
        return;
    drop_args(child);
    rest = dm_str_n(text.ptr, text.len - 1); /* without the last NUL */
    dm_str_cut(&rest, '\0', &arg);
    while (dm_str_cut(&rest, '\0', &arg))
        dm_child_arg(child, "%.*s", DM_STR_ARG(arg));
}

int dm_child_adopt(struct dm_child *child, struct dm_err *err)
{
    int pid = dm_lockfile_holder(child->lock);

    if (pid == -EAGAIN)
        return dm_fail(err, DM_EAGAIN, "", "another %s is just starting on this data directory; try again",
                       child->name);
    if (pid < 0)
        return dm_fail(err, DM_EIO, "", "%s can't be read: %s", child->lock, strerror(-pid));
    if (pid == 0 || dm_process_adopt(&child->process, pid) < 0)
        return 0;
    take_args(child, pid);
    return 1;
}

/* The value of the option at this argument, or NULL. */
static const char *value_at(const struct dm_child *child, size_t at, struct dm_str name)
{
    struct dm_str arg = dm_str_of(child->args.items[at]), rest;

    if (!dm_str_starts(arg, name))
        return NULL;
    rest = dm_str_skip(arg, name.len);
    if (rest.len > 0)
        return rest.ptr[0] == '=' ? rest.ptr + 1 : NULL;
    return at + 1 < child->args.count ? child->args.items[at + 1] : NULL;
}

bool dm_child_option(const struct dm_child *child, const char *name, size_t n, char *ret, size_t max)
{
    for (size_t i = 0; i < child->args.count; i++) {
        const char *value = value_at(child, i, dm_str_of(name));

        if (value && n-- == 0 && strlen(value) < max) {
            snprintf(ret, max, "%s", value);
            return true;
        }
    }
    return false;
}
