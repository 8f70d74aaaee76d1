/* The scenarios against the kernel, and what only the kernel can show. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "sys_stage.h"

static int make_dir(void **state)
{
    char *dir = dm_strdup(DM_STR("/tmp/dm-sys-XXXXXX"));

    if (!mkdtemp(dir))
        return -1;
    *state = dir;
    return 0;
}

static int remove_one(void *arg, const char *name);

static void remove_all(const char *dir)
{
    dm_sys_real()->ops->list(dm_sys_real(), dir, remove_one, (void *)dir);
    rmdir(dir);
}

static int remove_one(void *arg, const char *name)
{
    char path[512];
    struct stat st;

    snprintf(path, sizeof(path), "%s/%s", (const char *)arg, name);
    if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
        remove_all(path);
    else
        unlink(path);
    return 0;
}

static int drop_dir(void **state)
{
    remove_all(*state);
    dm_free(*state);
    return 0;
}

static struct dm_sys *begin(void *arg, const char **ret_dir, struct dm_world **ret_world)
{
    assert_int_equal(make_dir(arg), 0);
    *ret_dir = *(char **)arg;
    return dm_sys_real();
}

static void end(void *arg)
{
    drop_dir(arg);
}

static void run_scenarios(void **state)
{
    void *dir = NULL;

    sys_scenarios_run(begin, end, &dir);
}

static void expect_options(int fd)
{
    int no_delay = 0;
    socklen_t len = sizeof(no_delay);

    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, &len), 0);
    assert_true(no_delay);
}

static void sockets_have_their_options(void **state)
{
    struct dm_sys *sys = dm_sys_real();
    struct dm_ready_event event;
    struct dm_addr at;
    int listener, client, server, poll_fd = sys->ops->poll_new(sys);

    assert_int_equal(dm_addr_parse(DM_STR("127.0.0.1:0"), &at, NULL), 0);
    listener = sys->ops->listen(sys, &at, 4, false);
    assert_int_equal(sys->ops->local_addr(sys, listener, &at), 0);
    assert_int_equal(sys->ops->poll_add(sys, poll_fd, listener, 1), 0);
    client = sys->ops->connect(sys, &at);
    assert_int_equal(sys->ops->poll_wait(sys, poll_fd, &event, 1, 20000), 1);
    server = sys->ops->accept(sys, listener, NULL);
    expect_options(listener);
    expect_options(client);
    expect_options(server);
    assert_true(fcntl(poll_fd, F_GETFD) & FD_CLOEXEC);
    close(client);
    close(server);
    close(listener);
    close(poll_fd);
}

static void peer_cred_is_ours(void **state)
{
    struct dm_sys *sys = dm_sys_real();
    struct dm_peer_cred cred;
    struct dm_addr at;
    char text[DM_ADDR_TEXT_MAX];
    int listener, client, server;

    snprintf(text, sizeof(text), "unix:%s/s", (char *)*state);
    assert_int_equal(dm_addr_parse(dm_str_of(text), &at, NULL), 0);
    listener = sys->ops->listen(sys, &at, 4, false);
    client = sys->ops->connect(sys, &at);
    server = sys->ops->accept(sys, listener, NULL);
    assert_int_equal(sys->ops->peer_cred(sys, server, &cred), 0);
    assert_int_equal(cred.pid, getpid());
    assert_int_equal(cred.uid, geteuid());
    assert_int_equal(cred.gid, getegid());
    close(client);
    close(server);
    close(listener);
}

static void unix_sockets_are_for_owner_and_group(void **state)
{
    struct dm_sys *sys = dm_sys_real();
    struct dm_addr addr;
    char text[512];
    struct stat st;

    for (int i = 0; i < 2; i++) {
        mode_t old = umask(i == 0 ? 0 : 0077);
        int fd, n = snprintf(text, sizeof(text), "unix:%s/mode.sock", (const char *)*state);

        assert_int_equal(dm_addr_parse(dm_str_n(text, (size_t)n), &addr, NULL), 0);
        fd = sys->ops->listen(sys, &addr, 1, false);
        umask(old);
        assert_true(fd >= 0);
        assert_int_equal(lstat(text + 5, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0660);
        sys->ops->close(sys, fd);
    }
}

static void file_mode_is_kept(void **state)
{
    char path[256];
    struct stat st;
    mode_t old = umask(0);

    snprintf(path, sizeof(path), "%s/f", (char *)*state);
    assert_int_equal(dm_sys_write_file(dm_sys_real(), path, DM_STR("x"), 0640, true, NULL), 0);
    umask(old);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
}

/* As somebody whom the permissions of files bind. */
static void become_nobody(void)
{
    if (geteuid() == 0)
        assert_int_equal(seteuid(65534), 0);
}

static void become_again(void)
{
    if (getuid() == 0)
        assert_int_equal(seteuid(0), 0);
}

static void parents_need_not_be_readable(void **state)
{
    struct dm_sys *sys = dm_sys_real();
    char above[128], data[160], below[192], beside[160];
    int rc_data, rc_below, rc_beside;

    snprintf(above, sizeof(above), "%s/above", (char *)*state);
    snprintf(data, sizeof(data), "%s/data", above);
    snprintf(below, sizeof(below), "%s/x/y", data);
    snprintf(beside, sizeof(beside), "%s/other", above);
    assert_int_equal(dm_sys_make_dirs(sys, data, 0777, NULL), 0);
    assert_int_equal(chmod(*state, 0711) | chmod(data, 0777) | chmod(above, 0111), 0);
    become_nobody();
    rc_data = dm_sys_make_dirs(sys, data, 0700, NULL);
    rc_below = dm_sys_make_dirs(sys, below, 0700, NULL);
    rc_beside = dm_sys_make_dirs(sys, beside, 0700, NULL);
    become_again();
    assert_int_equal(chmod(above, 0700), 0);
    assert_int_equal(rc_data, 0);
    assert_int_equal(rc_below, 0);
    assert_int_equal(rc_beside, DM_EIO);
}

static void on_signal(int signo)
{
}

/* poll_wait gives way to a signal, so that the loop sees what its handler noted. */
static void signals_end_the_wait(void **state)
{
    struct dm_sys *sys = dm_sys_real();
    struct sigaction action = {.sa_handler = on_signal}, old;
    struct itimerval soon = {.it_value.tv_usec = 1000, .it_interval.tv_usec = 1000}, never = {0};
    struct dm_ready_event event;
    int poll_fd = sys->ops->poll_new(sys);

    sigaction(SIGALRM, &action, &old);
    setitimer(ITIMER_REAL, &soon, NULL);
    assert_int_equal(sys->ops->poll_wait(sys, poll_fd, &event, 1, -1), 0);
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &old, NULL);
    close(poll_fd);
}

static void temp_names_are_known(void **state)
{
    assert_true(dm_sys_is_temp_name("unit.bin.tmp-0123456789abcdef"));
    assert_false(dm_sys_is_temp_name(".tmp-0123456789abcdef"));
    assert_false(dm_sys_is_temp_name("unit.tmp-0123456789abcdeX"));
    assert_false(dm_sys_is_temp_name("unit.tmp-0123456789abcde"));
    assert_false(dm_sys_is_temp_name("unit.bin"));
    assert_false(dm_sys_is_temp_name(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_scenarios),
        cmocka_unit_test(sockets_have_their_options),
        cmocka_unit_test_setup_teardown(peer_cred_is_ours, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(file_mode_is_kept, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(unix_sockets_are_for_owner_and_group, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(parents_need_not_be_readable, make_dir, drop_dir),
        cmocka_unit_test(signals_end_the_wait),
        cmocka_unit_test(temp_names_are_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
