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

void dm_child_done(struct dm_child *child)
{
    for (size_t i = 0; i < child->args.count; i++)
        dm_free(child->args.items[i]);
    dm_vec_done(&child->args);
}

void dm_child_arg(struct dm_child *child, const char *fmt, ...)
{
    char text[DM_CHILD_PATH_MAX];
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
    (void)setsid(); /* fails only for the leader of a group, which a child is not */
    execv(args[0], args);
    fprintf(stderr, "daemun: %s can't be run: %s\n", args[0], strerror(errno));
    return 127;
}

int dm_child_begin(struct dm_child *child, struct dm_err *err)
{
    int pid = dm_lockfile_holder(child->lock);

    if (pid == -EAGAIN)
        return dm_fail(err, DM_EAGAIN, "", "another %s is just starting on this data directory; try again", child->name);
    if (pid < 0)
        return dm_fail(err, DM_EIO, "", "%s can't be read: %s", child->lock, strerror(-pid));
    if (pid > 0 && dm_process_adopt(&child->process, pid) >= 0)
        return 1;
    dm_process_start(&child->process);
    return 0;
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

/* --- adopted ones ------------------------------------------------------------------------------------------------- */

bool dm_child_option(const struct dm_child *child, const char *name, char *ret, size_t max)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf text = {0};
    struct dm_str rest, arg;
    char path[64];
    bool is_next = false;

    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)child->process.pid);
    if (dm_sys_read_file(dm_sys_real(), path, CMDLINE_MAX, &text, NULL) < 0)
        return false;
    rest = dm_buf_str(&text);
    while (dm_str_cut(&rest, '\0', &arg)) {
        size_t eq = dm_str_find(arg, '=');

        if (is_next || (eq < arg.len && dm_str_eq(dm_str_n(arg.ptr, eq), dm_str_of(name)))) {
            struct dm_str value = is_next ? arg : dm_str_skip(arg, eq + 1);

            return snprintf(ret, max, "%.*s", DM_STR_ARG(value)) < (int)max;
        }
        is_next = dm_str_eq(arg, dm_str_of(name));
    }
    return false;
}
