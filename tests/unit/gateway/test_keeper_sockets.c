/* The listening sockets are the keeper's: connections outlive the workers they wait for, and the keeper. */
#include "keeper_rig.h"

#include <sys/stat.h>

static void test_connections_outlive_the_workers_they_wait_for(void **state)
{
    struct controller *c = *state;
    int fds[CLIENTS];

    await_service(c, 1);
    signal_workers(c, SIGSTOP);
    knock(c, 0, fds);
    signal_workers(c, SIGKILL);
    assert_all_answered(fds);
}

static void test_next_keeper_has_the_sockets(void **state)
{
    struct controller *c = *state;
    int fds[CLIENTS];

    await_service(c, 1);
    next_keeper(c, SIGKILL);
    await_service(c, 3);
    signal_workers(c, SIGSTOP);
    knock(c, 0, fds);
    signal_workers(c, SIGKILL);
    assert_all_answered(fds);
}

static void test_waiting_connections_are_served_at_the_end(void **state)
{
    struct controller *c = *state;
    int fds[CLIENTS];

    await_service(c, 1);
    signal_workers(c, SIGSTOP);
    knock(c, 0, fds);
    assert_int_equal(kill(c->keeper, SIGTERM), 0);
    signal_workers(c, SIGCONT);
    assert_all_answered(fds);
    assert_int_equal(waitpid(c->keeper, NULL, 0), c->keeper);
    c->keeper = 0;
}

/* The former ones serve until the others do, and who is connected to them is not cut. */
static void test_other_options_replace_the_workers(void **state)
{
    static const char again[] = "GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n";
    struct controller *c = *state;
    int former[WORKERS], fds[CLIENTS], more[CLIENTS];

    await_service(c, 1);
    for (unsigned i = 0; i < WORKERS; i++)
        former[i] = worker_pid(c, i);
    knock(c, 0, fds);
    for (int i = 0; i < CLIENTS; i++)
        assert_answered(fds[i]);
    c->f->options.drain_ms += 1000;
    next_keeper(c, SIGUSR1);
    await_service(c, 3);
    for (int i = 0; i < CLIENTS; i++) {
        assert_true(write(fds[i], again, sizeof(again) - 1) > 0);
        assert_answered(fds[i]);
        close(fds[i]);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        await_end(former[i]);
    knock(c, 0, more);
    assert_all_answered(more);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_true(seat_pid(c, i, 1) > 0);
}

static void test_unix_listener_is_handed_over(void **state)
{
    struct controller *c = *state;
    struct dm_gateway_options *options = &c->f->options;
    char text[DM_GATEWAY_PATH_MAX];
    struct stat st;
    int fds[CLIENTS], n = snprintf(text, sizeof(text), "unix:%s/gate", options->data_dir);

    assert_int_equal(dm_listener_parse(dm_str_n(text, (size_t)n), options->listen, &options->n_listen, NULL), 0);
    options->listen_text[options->n_listen_text++] = text;
    await_service(c, 1);
    replace_workers(c, 3);
    next_keeper(c, SIGKILL);
    await_service(c, 5);
    signal_workers(c, SIGSTOP);
    knock(c, 1, fds);
    signal_workers(c, SIGKILL);
    assert_all_answered(fds);
    assert_int_equal(end_keeper(c, SIGTERM), 0);
    c->keeper = 0;
    assert_int_equal(stat(text + sizeof("unix:") - 1, &st), -1);
}

int main(int argc, char **argv)
{
    int ret;
    const struct CMUnitTest tests[] = {
        TEST(test_connections_outlive_the_workers_they_wait_for),
        TEST(test_next_keeper_has_the_sockets),
        TEST(test_waiting_connections_are_served_at_the_end),
        TEST(test_other_options_replace_the_workers),
        TEST(test_unix_listener_is_handed_over),
    };

    if (keeper_role(argc, argv, &ret))
        return ret;
    return cmocka_run_group_tests_name("keeper sockets", tests, NULL, NULL);
}
