/* Cells as the keeper has them: started, told, ended; and what they can't do to it. */
#include "keeper_rig.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "gateway/process/worker_link.h"
#include "io/lockfile.h"

#define TENANT "orders"

/* Of the first tenant that the keeper met. */
static void cell_path(const struct controller *c, const char *name, char ret[DM_GATEWAY_PATH_MAX])
{
    dm_gateway_path(&c->f->options, ret, "cells/0/%s", name);
}

static int cell_pid(const struct controller *c, unsigned slot)
{
    char name[32], path[DM_GATEWAY_PATH_MAX];

    snprintf(name, sizeof(name), "run/worker-%u.lock", slot);
    cell_path(c, name, path);
    return dm_lockfile_holder(path);
}

static void send_grants(struct controller *c, uint64_t sequence, unsigned n_workers)
{
    struct dm_buf document;

    keeper_fixture_grants(c->f, TENANT, 1, sequence, n_workers, &document);
    send_document(c, &document);
}

/* Live on so many workers. */
static void await_live_on(struct controller *c, enum dm_unit_kind kind, uint64_t sequence, unsigned n)
{
    for (;;) {
        assert_true(hear(c));
        if (c->last.type == DM_LINK_ACK && c->last.ack.kind == kind && c->last.ack.mark.sequence == sequence &&
            c->last.ack.status == DM_LINK_LIVE && c->last.ack.workers == n)
            return;
    }
}

/* The cell serves, and shared workers keep the grants alone: a release is live on it alone. */
static void await_cell(struct controller *c, uint64_t sequence, unsigned n)
{
    send_grants(c, sequence, n);
    await_live_on(c, DM_UNIT_GRANTS, sequence, WORKERS + n);
    for (;;) {
        send_release(c, TENANT, ++sequence);
        for (;;) {
            assert_true(hear(c));
            if (c->last.type == DM_LINK_ACK && c->last.ack.kind == DM_UNIT_RELEASE &&
                c->last.ack.mark.sequence == sequence && c->last.ack.status == DM_LINK_LIVE)
                break;
        }
        if (c->last.ack.workers == n)
            return;
    }
}

static void starts_a_cell_and_ends_it(void **state)
{
    struct controller *c = *state;
    char path[DM_GATEWAY_PATH_MAX];
    int pid;

    await_cell(c, 1, 1);
    pid = cell_pid(c, 0);
    assert_true(pid > 0);
    assert_int_not_equal(pid, worker_pid(c, 0));
    send_grants(c, 1000, 0);
    await_live_on(c, DM_UNIT_GRANTS, 1000, WORKERS);
    await_end(pid);
    send_release(c, TENANT, 1001);
    await_live_on(c, DM_UNIT_RELEASE, 1001, WORKERS);
    cell_path(c, DM_GATEWAY_CELL_SOCKET, path);
    while (access(path, F_OK) == 0) /* the keeper has seen the end, too */
        await_live_on(c, DM_UNIT_RELEASE, (send_release(c, TENANT, 2000), 2000), WORKERS);
}

/* What lies in its directory it can write into, and nothing else; nobody else can get there. */
static void keeps_its_directory_closed(void **state)
{
    static const char *const names[] = {"", "run"};
    struct controller *c = *state;
    char path[DM_GATEWAY_PATH_MAX];
    struct stat st;

    await_cell(c, 1, 1);
    dm_gateway_path(&c->f->options, path, "cells");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    for (size_t i = 0; i < DM_COUNT(names); i++) {
        cell_path(c, names[i], path);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0711);
        assert_int_equal(st.st_uid, geteuid());
    }
}

/* A page that is cut is no page: the keeper, which reads it, lives, and makes another. */
static void survives_spoiled_pages(void **state)
{
    static const char *const names[] = {"run/counters-0", "pages/limits", "run/worker-0.lock"};
    struct controller *c = *state;
    char path[DM_GATEWAY_PATH_MAX];
    struct stat st;
    int pid;

    await_cell(c, 1, 1);
    pid = cell_pid(c, 0);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    for (size_t i = 0; i < DM_COUNT(names); i++) {
        cell_path(c, names[i], path);
        assert_int_equal(truncate(path, i == 2 ? 0 : 100), 0);
    }
    assert_int_equal(kill(pid, SIGKILL), 0);
    await_end(pid);
    send_grants(c, 1000, 1);
    await_live_on(c, DM_UNIT_GRANTS, 1000, WORKERS + 1);
    cell_path(c, "run/counters-0", path);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size > 100);
}

static int knock_at_cell(const struct controller *c)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    char path[DM_GATEWAY_PATH_MAX];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    cell_path(c, DM_GATEWAY_CELL_SOCKET, path);
    assert_true(strlen(path) < sizeof(addr.sun_path));
    memcpy(addr.sun_path, path, strlen(path));
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

static void say_frame(int fd, uint32_t type, const void *ptr, uint32_t len)
{
    const uint32_t head[2] = {len, type};

    assert_int_equal(write(fd, head, sizeof(head)), sizeof(head));
    if (len > 0)
        assert_int_equal(write(fd, ptr, len), len);
}

static void assert_hung_up(int fd)
{
    char bytes[4096];
    ssize_t n;

    do {
        await(fd);
        n = read(fd, bytes, sizeof(bytes));
    } while (n > 0);
    close(fd);
}

/* Whoever speaks for a cell loses its own channel at most. */
static void heeds_no_words_of_strangers(void **state)
{
    struct controller *c = *state;
    struct dm_worker_hello hello = {.link_version = DM_WORKER_LINK_VERSION, .unit_format = DM_UNIT_FORMAT};
    struct dm_worker_usage usage = {.tenant = "catalog"};
    const uint32_t too_long[2] = {UINT32_MAX, DM_WORKER_USAGE};
    int pid, fd;

    await_cell(c, 1, 1);
    pid = cell_pid(c, 0);
    fd = knock_at_cell(c); /* a seat that another process has, whatever pid it says */
    hello.pid = pid;
    say_frame(fd, DM_WORKER_HELLO, &hello, sizeof(hello));
    assert_hung_up(fd);
    fd = knock_at_cell(c); /* no seat */
    hello.slot = 77;
    say_frame(fd, DM_WORKER_HELLO, &hello, sizeof(hello));
    assert_hung_up(fd);
    fd = knock_at_cell(c);
    assert_int_equal(write(fd, too_long, sizeof(too_long)), sizeof(too_long));
    assert_hung_up(fd);
    fd = knock_at_cell(c); /* before HELLO nothing counts */
    say_frame(fd, DM_WORKER_USAGE, &usage, sizeof(usage));
    say_frame(fd, DM_WORKER_SERVING, NULL, 0);
    say_frame(fd, 0x7fffffff, "?", 1);
    send_release(c, TENANT, 1000);
    await_live_on(c, DM_UNIT_RELEASE, 1000, 1);
    assert_int_equal(cell_pid(c, 0), pid);
    close(fd);
}

/* The controller hears of a cell that does not come up, for its tenant alone. */
static void tells_of_a_cell_that_is_held_back(void **state)
{
    struct controller *c = *state;
    int last = 0, pid;

    await_cell(c, 1, 1);
    send_release(c, "catalog", 1);
    await_live(c, "catalog", 1);
    for (bool is_told = false; !is_told;) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        pid = cell_pid(c, 0);
        if (pid > 0 && pid != last)
            kill(last = pid, SIGKILL);
        while (poll(&p, 1, 5) == 1 && !is_told) {
            assert_true(hear(c));
            is_told = c->last.type == DM_LINK_ACK && c->last.ack.status == DM_LINK_PARTLY &&
                      c->last.ack.workers_live == 0 && c->last.ack.kind == DM_UNIT_RELEASE;
            if (c->last.type == DM_LINK_ACK)
                assert_true(dm_str_eq(c->last.ack.tenant, DM_STR(TENANT)));
        }
    }
    for (;;) { /* it is back */
        assert_true(hear(c));
        if (c->last.type == DM_LINK_ACK && c->last.ack.status == DM_LINK_LIVE && c->last.ack.kind == DM_UNIT_RELEASE)
            break;
    }
}

static void finds_cells_again(void **state)
{
    struct controller *c = *state;
    int pids[2];

    await_cell(c, 1, 2);
    for (unsigned i = 0; i < 2; i++)
        pids[i] = cell_pid(c, i);
    next_keeper(c, SIGKILL);
    send_grants(c, 1000, 2);
    await_live_on(c, DM_UNIT_GRANTS, 1000, WORKERS + 2);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(cell_pid(c, i), pids[i]);
    send_grants(c, 1001, 0);
    await_live_on(c, DM_UNIT_GRANTS, 1001, WORKERS);
    for (unsigned i = 0; i < 2; i++)
        await_end(pids[i]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(starts_a_cell_and_ends_it),   TEST(keeps_its_directory_closed),        TEST(survives_spoiled_pages),
        TEST(heeds_no_words_of_strangers), TEST(tells_of_a_cell_that_is_held_back), TEST(finds_cells_again),
    };
    int ret;

    if (keeper_role(argc, argv, &ret))
        return ret;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
