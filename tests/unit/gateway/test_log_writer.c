/* Access log lines from a pipe to the disk. */
#include <fcntl.h>
#include <unistd.h>

#include "keeper_fixture.h"

#include "gateway/observe/log_writer.h"

static struct {
    struct keeper_fixture *f;
    struct dm_loop *loop;
    struct dm_log_writer writer;
    int fd;
} t;

static int setup(void **state)
{
    keeper_fixture_setup(state);
    t.f = *state;
    t.loop = dm_loop_new(dm_sys_real());
    dm_log_writer_init(&t.writer, t.loop, t.f->options.data_dir, 4, "");
    t.fd = dm_log_writer_pipe(&t.writer);
    assert_true(t.fd >= 0);
    return 0;
}

static int teardown(void **state)
{
    if (t.fd >= 0)
        close(t.fd);
    dm_log_writer_done(&t.writer);
    dm_loop_free(t.loop);
    return keeper_fixture_teardown(state);
}

static void say(const char *text)
{
    assert_int_equal(write(t.fd, text, strlen(text)), strlen(text));
    while (dm_loop_turn(t.loop, 0) > 0)
        ;
}

static void assert_file(const char *name, const char *content)
{
    char path[DM_GATEWAY_PATH_MAX];
    struct dm_err err = {0};
    struct dm_buf text;

    dm_gateway_path(&t.f->options, path, "%s", name);
    assert_int_equal(dm_sys_read_file(dm_sys_real(), path, 1 << 24, &text, &err), 0);
    dm_buf_add_char(&text, '\0');
    assert_string_equal(text.ptr, content);
    dm_buf_done(&text);
}

static void test_whole_lines(void **state)
{
    say("one\ntw");
    assert_file("access-4.jsonl", "one\n");
    say("o\nthree");
    assert_file("access-4.jsonl", "one\ntwo\n");
    say("\n");
    assert_file("access-4.jsonl", "one\ntwo\nthree\n");
    assert_int_equal(t.writer.n_lines, 3);
    assert_int_equal(t.writer.n_dropped, 0);
}

static void test_unfinished_line_of_a_dead_worker(void **state)
{
    say("one\ntw");
    close(t.fd);
    t.fd = dm_log_writer_pipe(&t.writer);
    say("three\n");
    assert_file("access-4.jsonl", "one\nthree\n");
    assert_int_equal(t.writer.n_dropped, 1);
}

static void test_new_pipe_loses_nothing(void **state)
{
    int before = t.fd;

    assert_int_equal(write(before, "one\n", 4), 4);
    t.fd = dm_log_writer_pipe(&t.writer);
    close(before);
    say("two\n");
    assert_file("access-4.jsonl", "one\ntwo\n");
}

static void test_turns_over(void **state)
{
    t.writer.rotate_bytes = 8;
    t.writer.keep = 2;
    say("first--\n");
    say("second-\n");
    say("third--\n");
    say("4\n");
    assert_file("access-4.jsonl", "4\n");
    assert_file("access-4.jsonl.1", "third--\n");
    assert_file("access-4.jsonl.2", "second-\n");
    assert_false(keeper_fixture_exists(t.f, "access-4.jsonl.3"));
}

static void test_reopen(void **state)
{
    char from[DM_GATEWAY_PATH_MAX], to[DM_GATEWAY_PATH_MAX];

    say("one\n");
    dm_gateway_path(&t.f->options, from, "access-4.jsonl");
    dm_gateway_path(&t.f->options, to, "moved");
    assert_int_equal(rename(from, to), 0);
    say("two\n");
    assert_file("moved", "one\ntwo\n");
    dm_log_writer_reopen(&t.writer);
    say("three\n");
    assert_file("access-4.jsonl", "three\n");
}

static void test_line_without_end(void **state)
{
    static char part[32 << 10];

    memset(part, 'x', sizeof(part) - 1);
    say("one\n");
    for (int i = 0; i < 5; i++)
        say(part);
    say("end\ntwo\n");
    assert_file("access-4.jsonl", "one\ntwo\n");
    assert_int_equal(t.writer.n_dropped, 1);
}

static void test_file_that_can_not_be_written(void **state)
{
    snprintf(t.writer.path, sizeof(t.writer.path), "%s/none/access.jsonl", t.f->options.data_dir);
    say("one\ntwo\n");
    assert_int_equal(t.writer.n_dropped, 2);
    assert_int_equal(t.writer.n_lines, 0);
}

static void test_what_is_left_at_the_end(void **state)
{
    assert_int_equal(write(t.fd, "last\n", 5), 5);
    dm_log_writer_done(&t.writer);
    assert_file("access-4.jsonl", "last\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_whole_lines),
        TEST(test_unfinished_line_of_a_dead_worker),
        TEST(test_new_pipe_loses_nothing),
        TEST(test_turns_over),
        TEST(test_reopen),
        TEST(test_line_without_end),
        TEST(test_file_that_can_not_be_written),
        TEST(test_what_is_left_at_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
