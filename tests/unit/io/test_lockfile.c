#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/lockfile.h"

static char dir[32], path[64];

static int setup(void **state)
{
    snprintf(dir, sizeof(dir), "/tmp/dm-lock-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/worker-0.lock", dir);
    return 0;
}

static int teardown(void **state)
{
    unlink(path);
    return rmdir(dir);
}

static void one_holder_at_a_time(void **state)
{
    struct dm_lockfile first, second;
    struct dm_err err = {0};
    char text[32];

    assert_int_equal(dm_lockfile_holder(path), 0);
    assert_int_equal(dm_lockfile_take(&first, path, &err), 0);
    assert_int_equal(dm_lockfile_holder(path), getpid());
    assert_int_equal(dm_lockfile_take(&second, path, &err), DM_EEXIST);
    snprintf(text, sizeof(text), "process %d", (int)getpid());
    assert_non_null(strstr(err.message, text));
    assert_int_equal(second.fd, -1);
    assert_int_equal(dm_lockfile_holder(path), getpid());
    dm_lockfile_release(&first);
    dm_lockfile_release(&first);
    assert_int_equal(dm_lockfile_holder(path), 0);
    assert_int_equal(dm_lockfile_take(&second, path, &err), 0);
    dm_lockfile_release(&second);
}

static void a_killed_holder_holds_no_longer(void **state)
{
    struct dm_lockfile lock;
    struct dm_err err = {0};
    int fds[2];
    char c;

    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (dm_lockfile_take(&lock, path, NULL) < 0 || write(fds[1], "r", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    assert_int_equal(read(fds[0], &c, 1), 1);
    assert_int_equal(dm_lockfile_holder(path), pid);
    assert_int_equal(dm_lockfile_take(&lock, path, &err), DM_EEXIST);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(dm_lockfile_holder(path), 0);
    assert_int_equal(dm_lockfile_take(&lock, path, &err), 0);
    assert_int_equal(dm_lockfile_holder(path), getpid());
    dm_lockfile_release(&lock);
    close(fds[0]);
    close(fds[1]);
}

static void a_directory_that_is_not_there(void **state)
{
    struct dm_lockfile lock;
    struct dm_err err = {0};

    assert_int_equal(dm_lockfile_take(&lock, "/nonexistent/x.lock", &err), DM_EIO);
    assert_non_null(strstr(err.message, "/nonexistent/x.lock"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(one_holder_at_a_time),
        TEST(a_killed_holder_holds_no_longer),
        TEST(a_directory_that_is_not_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
