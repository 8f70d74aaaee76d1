/* Supervised children and signals. The children are this program itself, told by an argument what to do. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_clock.h"
#include "io/process.h"
#include "io/signals.h"

struct owner {
    struct dm_process process;
    const char *mode;
    unsigned n_spawned, n_exits;
    int status, spawn_error;
    bool stops_on_exit;
};

static struct fake_clock fake;
static struct dm_loop *loop;
static struct owner owner;
static int pipe_fds[2];

static int child_main(const char *mode)
{
    char c;

    if (strcmp(mode, "exit3") == 0)
        return 3;
    if (strcmp(mode, "say") == 0)
        return write(3, "hello", 5) == 5 && write(5, "!", 1) == 1 && fcntl(4, F_GETFD) < 0 ? 0 : 9;
    if (strcmp(mode, "stubborn") == 0)
        signal(SIGTERM, SIG_IGN);
    /* Tells that it is ready, then lives until a signal ends it. */
    if (write(3, "r", 1) != 1)
        return 8;
    for (;;)
        if (read(STDIN_FILENO, &c, 1) <= 0)
            pause();
}

static int on_spawn(struct dm_process *process, struct dm_spawn *spawn)
{
    struct owner *o = DM_CONTAINER_OF(process, struct owner, process);

    if (o->spawn_error)
        return o->spawn_error;
    if (strcmp(o->mode, "missing") == 0)
        spawn->path = "/nonexistent/program";
    dm_spawn_arg(spawn, "child");
    dm_spawn_arg(spawn, o->mode);
    dm_spawn_fd(spawn, pipe_fds[1], 3);
    dm_spawn_fd(spawn, pipe_fds[1], 5);
    return 0;
}

static void on_spawned(struct dm_process *process, pid_t pid)
{
    DM_CONTAINER_OF(process, struct owner, process)->n_spawned++;
}

static void on_exit_cb(struct dm_process *process, int status)
{
    struct owner *o = DM_CONTAINER_OF(process, struct owner, process);

    o->n_exits++;
    o->status = status;
    if (o->stops_on_exit)
        dm_process_stop(process);
}

static struct dm_process_type type;

static int setup(void **state)
{
    fake_clock_init(&fake);
    loop = dm_loop_new(&fake.sys);
    type = (struct dm_process_type){
        .on_spawn = on_spawn, .on_spawned = on_spawned, .on_exit = on_exit_cb, .stop_ms = 1000};
    owner = (struct owner){.mode = "wait"};
    dm_process_init(&owner.process, loop, &type);
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    return 0;
}

static int setup_without_pidfd(void **state)
{
    setup(state);
    type.avoid_pidfd = true;
    return 0;
}

static void wait_for_exits(unsigned n)
{
    while (owner.n_exits < n)
        assert_true(dm_loop_turn(loop, 20000) >= 0);
}

static int teardown(void **state)
{
    unsigned n = owner.n_exits;

    if (owner.process.state == DM_PROCESS_RUNNING) {
        dm_process_signal(&owner.process, SIGKILL);
        owner.stops_on_exit = true;
        wait_for_exits(n + 1);
    }
    dm_process_stop(&owner.process);
    assert_int_equal(owner.process.state, DM_PROCESS_IDLE);
    dm_loop_free(loop);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    return 0;
}

static void wait_until_ready(void)
{
    char c;

    assert_int_equal(read(pipe_fds[0], &c, 1), 1);
    assert_int_equal(c, 'r');
}

static void a_child_gets_its_descriptors_and_no_others(void **state)
{
    char text[8];

    owner.mode = "say";
    owner.stops_on_exit = true;
    dm_process_start(&owner.process);
    assert_int_equal(owner.process.state, DM_PROCESS_RUNNING);
    wait_for_exits(1);
    assert_int_equal(owner.status, 0);
    assert_int_equal(read(pipe_fds[0], text, sizeof(text)), 6);
    assert_memory_equal(text, "hello!", 6);
    assert_int_equal(owner.process.state, DM_PROCESS_IDLE);
}

static void early_deaths_wait_longer_each_time(void **state)
{
    char text[DM_PROCESS_STATUS_MAX];

    owner.mode = "exit3";
    dm_process_start(&owner.process);
    for (uint32_t wait_ms = 100, n = 1; n <= 9; n++) {
        wait_for_exits(n);
        assert_int_equal(owner.process.state, DM_PROCESS_WAITING);
        assert_int_equal(WEXITSTATUS(owner.status), 3);
        assert_string_equal(dm_process_status_text(owner.status, text), "exit 3");
        fake_clock_advance_ms(&fake, wait_ms - 1);
        dm_loop_turn(loop, 0);
        assert_int_equal(owner.n_spawned, n);
        fake_clock_advance_ms(&fake, 1);
        dm_loop_turn(loop, 0);
        assert_int_equal(owner.n_spawned, n + 1);
        wait_ms = DM_MIN(wait_ms * 2, 10000u);
    }
}

static void a_long_life_resets_the_wait(void **state)
{
    dm_process_start(&owner.process);
    wait_until_ready();
    owner.process.backoff_ms = 6400;
    fake_clock_advance_ms(&fake, 10000);
    assert_int_equal(dm_process_signal(&owner.process, SIGKILL), 0);
    wait_for_exits(1);
    assert_int_equal(WTERMSIG(owner.status), SIGKILL);
    fake_clock_advance_ms(&fake, 100);
    dm_loop_turn(loop, 0);
    assert_int_equal(owner.n_spawned, 2);
    wait_until_ready();
}

static void stop_asks_first(void **state)
{
    dm_process_start(&owner.process);
    wait_until_ready();
    dm_process_stop(&owner.process);
    assert_int_equal(owner.process.state, DM_PROCESS_STOPPING);
    wait_for_exits(1);
    assert_int_equal(WTERMSIG(owner.status), SIGTERM);
    assert_int_equal(owner.process.state, DM_PROCESS_IDLE);
    assert_int_equal(dm_process_signal(&owner.process, SIGTERM), -ESRCH);
    fake_clock_advance_ms(&fake, 60000);
    dm_loop_turn(loop, 0);
    assert_int_equal(owner.n_spawned, 1);
}

static void stop_kills_what_does_not_listen(void **state)
{
    owner.mode = "stubborn";
    dm_process_start(&owner.process);
    wait_until_ready();
    dm_process_stop(&owner.process);
    fake_clock_advance_ms(&fake, 999);
    dm_loop_turn(loop, 0);
    assert_int_equal(owner.n_exits, 0);
    fake_clock_advance_ms(&fake, 2);
    wait_for_exits(1);
    assert_int_equal(WTERMSIG(owner.status), SIGKILL);
    assert_int_equal(owner.process.state, DM_PROCESS_IDLE);
}

static void restart_does_not_wait(void **state)
{
    dm_process_start(&owner.process);
    wait_until_ready();
    dm_process_restart(&owner.process);
    wait_for_exits(1);
    fake_clock_advance_ms(&fake, 1);
    dm_loop_turn(loop, 0);
    assert_int_equal(owner.n_spawned, 2);
    wait_until_ready();
}

static void a_program_that_is_missing_is_tried_again(void **state)
{
    owner.mode = "missing";
    dm_process_start(&owner.process);
    assert_int_equal(owner.n_spawned, 1);
    assert_int_equal(owner.process.state, DM_PROCESS_WAITING);
    owner.mode = "wait";
    fake_clock_advance_ms(&fake, 100);
    dm_loop_turn(loop, 0);
    assert_int_equal(owner.process.state, DM_PROCESS_RUNNING);
    wait_until_ready();
}

/* A process that is not ours: the child of a child that has gone. */
static pid_t start_stranger(void)
{
    pid_t pid = 0;
    int fds[2];

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid_t middle = fork();
    if (middle == 0) {
        pid = fork();
        if (pid == 0)
            for (;;)
                pause();
        _exit(write(fds[1], &pid, sizeof(pid)) == sizeof(pid) ? 0 : 1);
    }
    assert_int_equal(read(fds[0], &pid, sizeof(pid)), sizeof(pid));
    assert_int_equal(waitpid(middle, NULL, 0), middle);
    close(fds[0]);
    close(fds[1]);
    return pid;
}

static void an_adopted_process_is_replaced_when_it_ends(void **state)
{
    pid_t stranger = start_stranger();

    assert_int_equal(dm_process_adopt(&owner.process, stranger), 0);
    assert_int_equal(owner.process.pid, stranger);
    assert_int_equal(dm_process_signal(&owner.process, SIGKILL), 0);
    wait_for_exits(1);
    assert_int_equal(owner.status, -1);
    fake_clock_advance_ms(&fake, 100);
    dm_loop_turn(loop, 0);
    assert_int_equal(owner.process.state, DM_PROCESS_RUNNING);
    assert_true(owner.process.pid != stranger);
    wait_until_ready();
}

static void an_adopted_process_is_looked_after_without_pidfd(void **state)
{
    pid_t stranger = start_stranger();

    assert_int_equal(dm_process_adopt(&owner.process, stranger), 0);
    dm_process_stop(&owner.process);
    owner.stops_on_exit = true;
    while (owner.n_exits == 0) {
        fake_clock_advance_ms(&fake, 100);
        assert_true(dm_loop_turn(loop, 1) >= 0);
    }
    assert_int_equal(owner.status, -1);
    assert_int_equal(owner.process.state, DM_PROCESS_IDLE);
}

/* Of a program that became another one: it has children that it never started. */
static void an_adopted_child_is_reaped(void **state)
{
    pid_t child = fork();

    if (child == 0)
        for (;;)
            pause();
    assert_int_equal(dm_process_adopt(&owner.process, child), 0);
    owner.stops_on_exit = true;
    assert_int_equal(dm_process_signal(&owner.process, SIGKILL), 0);
    while (owner.n_exits == 0) {
        fake_clock_advance_ms(&fake, 100);
        assert_true(dm_loop_turn(loop, 1) >= 0);
    }
    assert_true(WIFSIGNALED(owner.status) && WTERMSIG(owner.status) == SIGKILL);
    assert_int_equal(waitpid(child, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void nobody_is_not_adopted(void **state)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(dm_process_adopt(&owner.process, pid), DM_ENOENT);
}

static void a_released_process_lives_on(void **state)
{
    dm_process_start(&owner.process);
    wait_until_ready();
    pid_t pid = owner.process.pid;
    dm_process_release(&owner.process);
    assert_int_equal(kill(pid, 0), 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    dm_loop_turn(loop, 0);
    assert_int_equal(owner.n_exits, 0);
}

static int seen[8];
static unsigned n_seen;

static void on_signal(struct dm_signals *signals, int signo)
{
    seen[n_seen++] = signo;
    if (signo == SIGUSR2)
        dm_signals_close(signals);
}

static void signals_come_through_the_loop(void **state)
{
    static const int wanted[] = {SIGHUP, SIGUSR1, SIGUSR2};
    struct dm_signals signals;
    sigset_t now;

    n_seen = 0;
    assert_int_equal(dm_signals_open(&signals, loop, wanted, 3, on_signal), 0);
    kill(getpid(), SIGUSR1);
    kill(getpid(), SIGHUP);
    dm_loop_turn(loop, -1);
    assert_int_equal(n_seen, 2);
    assert_int_equal(seen[0] + seen[1], SIGUSR1 + SIGHUP);
    kill(getpid(), SIGUSR2);
    dm_loop_turn(loop, -1);
    assert_int_equal(n_seen, 3);
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    assert_false(sigismember(&now, SIGUSR1));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_BOTH(name) TEST(name), {#name " (SIGCHLD)", name, setup_without_pidfd, teardown, NULL}
        TEST_BOTH(a_child_gets_its_descriptors_and_no_others),
        TEST_BOTH(early_deaths_wait_longer_each_time),
        TEST_BOTH(a_long_life_resets_the_wait),
        TEST_BOTH(stop_asks_first),
        TEST_BOTH(stop_kills_what_does_not_listen),
        TEST_BOTH(restart_does_not_wait),
        TEST_BOTH(a_program_that_is_missing_is_tried_again),
        TEST(an_adopted_process_is_replaced_when_it_ends),
        cmocka_unit_test_setup_teardown(an_adopted_process_is_looked_after_without_pidfd, setup_without_pidfd,
                                        teardown),
        TEST(an_adopted_child_is_reaped),
        cmocka_unit_test_setup_teardown(an_adopted_child_is_reaped, setup_without_pidfd, teardown),
        TEST(nobody_is_not_adopted),
        TEST(a_released_process_lives_on),
        TEST(signals_come_through_the_loop),
    };

    if (argc == 2)
        return child_main(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
