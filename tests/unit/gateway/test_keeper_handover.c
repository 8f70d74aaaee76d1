/* What a keeper hands on: to workers of an older program, and the keys of tickets to the keeper after it, by way of its workers. */
#include "keeper_rig.h"

#include <poll.h>
#include <sys/un.h>

#include "gateway/keeper/secrets.h"
#include "gateway/process/worker_link.h"
#include "io/lockfile.h"
#include "snapshot/unit.h"

/* --- a worker by hand --------------------------------------------------------------------------------------------- */

static void write_frame(int fd, uint32_t type, const void *payload, uint32_t len)
{
    uint32_t head[2] = {len, type};

    if (write(fd, head, sizeof(head)) != sizeof(head) || write(fd, payload, len) != (ssize_t)len)
        _exit(2);
}

/* The type of the next frame; its payload must fit. */
static uint32_t read_frame(int fd, void *ret, size_t max, uint32_t *ret_len)
{
    uint32_t head[2];

    if (recv(fd, head, sizeof(head), MSG_WAITALL) != sizeof(head) || head[0] > max)
        _exit(3);
    if (head[0] > 0 && recv(fd, ret, head[0], MSG_WAITALL) != (ssize_t)head[0])
        _exit(4);
    *ret_len = head[0];
    return head[1] & ~(UINT32_C(1) << 31); /* a descriptor may come along */
}

static int connect_to_keeper(const struct controller *c)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if ((size_t)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/" DM_GATEWAY_KEEPER_SOCKET,
                         c->f->options.data_dir) >= sizeof(addr.sun_path))
        _exit(5);
    while (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        poll(NULL, 0, 10); /* W1: it tries again until there is a keeper */
    return fd;
}

/* --- of the first version: its HELLO is shorter, it gives no sockets, and DRAIN is one number --------------------------- */

/* Tells through `ready` that it holds the lock. Exits with 0 when it was told to drain, and nothing that it does not know. */
static void be_first_version(const struct controller *c, int ready)
{
    struct dm_worker_hello hello = {.version = "0.0.1", .slot = 0, .pid = (int32_t)getpid()};
    char path[DM_GATEWAY_PATH_MAX], payload[1024];
    struct dm_lockfile lock;
    uint32_t type, len, ms;
    int fd;

    dm_gateway_path(&c->f->options, path, DM_GATEWAY_WORKER_LOCK, 0u, "");
    if (dm_lockfile_take(&lock, path, NULL) < 0 || write(ready, "r", 1) != 1)
        _exit(5);
    fd = connect_to_keeper(c);
    write_frame(fd, DM_WORKER_HELLO, &hello, DM_WORKER_HELLO_MIN);
    while ((type = read_frame(fd, payload, sizeof(payload), &len)) != DM_WORKER_DRAIN)
        if (type != DM_WORKER_LOG)
            _exit(6);
    if (len != sizeof(ms))
        _exit(7);
    memcpy(&ms, payload, sizeof(ms));
    _exit(ms == c->f->options.drain_ms ? 0 : 8);
}

static void test_worker_of_the_first_version_is_replaced(void **state)
{
    struct controller *c = *state;
    int fds[2], status;
    pid_t former;
    char byte;

    await_service(c, 1);
    assert_int_equal(end_keeper(c, SIGTERM), 0);
    assert_int_equal(pipe(fds), 0);
    fflush(NULL);
    if ((former = fork()) == 0)
        be_first_version(c, fds[1]);
    assert_int_equal(read(fds[0], &byte, 1), 1);
    start_keeper(c);
    greet(c);
    welcome(c, c->f->public_key);
    assert_int_equal(waitpid(former, &status, 0), former);
    assert_int_equal(status, 0);
    await_service(c, 3);
    assert_true(seat_pid(c, 0, 1) > 0);
    assert_int_equal(worker_pid(c, 0), 0);
    close(fds[0]);
    close(fds[1]);
}

/* --- ticket keys: handed on from keeper to worker to keeper -------------------------------------------------------------- */

#define TICKETS_NS (12 * 3600 * UINT64_C(1000000000))

/* A survivor of a slot that is given up, with these. Exits when it is told to drain: with 0 when it was told `wanted` before. */
static void be_survivor(const struct controller *c, const struct dm_worker_tickets *brought,
                        const struct dm_worker_tickets *wanted)
{
    static char payload[1 << 16];
    struct dm_worker_hello hello = {.slot = WORKERS + c->n_survivors,
                                    .pid = (int32_t)getpid(),
                                    .link_version = DM_WORKER_LINK_VERSION,
                                    .unit_format = DM_UNIT_FORMAT,
                                    .tickets = *brought};
    struct dm_worker_tickets told = {0};
    uint32_t type, len;
    int fd = connect_to_keeper(c);

    write_frame(fd, DM_WORKER_HELLO, &hello, sizeof(hello));
    while ((type = read_frame(fd, payload, sizeof(payload), &len)) != DM_WORKER_DRAIN)
        if (type == DM_WORKER_TICKET_KEYS && len == sizeof(told))
            memcpy(&told, payload, sizeof(told));
    _exit(memcmp(&told, wanted, sizeof(told)) == 0 ? 0 : 9);
}

static void assert_told(struct controller *c, const struct dm_worker_tickets *brought,
                        const struct dm_worker_tickets *wanted)
{
    pid_t pid;
    int status;

    fflush(NULL);
    if ((pid = fork()) == 0)
        be_survivor(c, brought, wanted);
    c->n_survivors++;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static struct dm_worker_tickets tickets_of(uint8_t byte, uint64_t due_ns)
{
    struct dm_worker_tickets tickets = {.due_ns = due_ns};

    memset(&tickets.keys, byte, sizeof(tickets.keys));
    return tickets;
}

static void test_ticket_keys_outlive_keepers(void **state)
{
    struct controller *c = *state;
    uint64_t now_ns = dm_sys_real()->ops->mono_ns(dm_sys_real());
    const struct dm_worker_tickets none = {0}, former = tickets_of(1, now_ns + TICKETS_NS / 4),
                                   older = tickets_of(2, now_ns + TICKETS_NS / 8),
                                   newer = tickets_of(3, now_ns + TICKETS_NS / 2),
                                   absurd = tickets_of(4, now_ns + 3 * TICKETS_NS);

    /* The keeper has drawn its own, and lets go of them. */
    await_service(c, 1);
    assert_told(c, &former, &former);
    assert_told(c, &none, &former);
    assert_told(c, &older, &former);

    /* The next ones have them from the workers, other workers of other options too. */
    next_keeper(c, SIGKILL);
    await_service(c, 3);
    assert_told(c, &none, &former);
    c->f->options.drain_ms += 1000;
    next_keeper(c, SIGUSR1);
    await_service(c, 5);
    assert_told(c, &none, &former);

    /* Who has heard of a rotation that others did not hear of knows better. */
    assert_told(c, &newer, &newer);
    assert_told(c, &absurd, &newer);

    /* They end with the last that has them. */
    assert_int_equal(end_keeper(c, SIGTERM), 0);
    start_keeper(c);
    greet(c);
    welcome(c, c->f->public_key);
    await_service(c, 7);
    assert_told(c, &former, &former);
}

/* Nobody kept the time meanwhile. */
static void test_overdue_ticket_keys_are_rotated(void **state)
{
    struct controller *c = *state;
    uint64_t now_ns = dm_sys_real()->ops->mono_ns(dm_sys_real());
    struct dm_secrets secrets = {.sys = dm_sys_real()};
    struct dm_worker_tickets late = tickets_of(1, now_ns);

    memset(late.keys.next, 2, sizeof(late.keys.next));
    assert_true(dm_secrets_take_tickets(&secrets, &late));
    assert_memory_equal(secrets.tickets.keys.current, late.keys.next, sizeof(late.keys.next));
    assert_memory_equal(secrets.tickets.keys.previous, late.keys.current, sizeof(late.keys.current));
    assert_memory_not_equal(secrets.tickets.keys.next, late.keys.next, sizeof(late.keys.next));
    assert_int_equal(secrets.tickets.due_ns, late.due_ns + TICKETS_NS);
    assert_false(dm_secrets_take_tickets(&secrets, &late));
    await_service(c, 1);
    assert_told(c, &secrets.tickets, &secrets.tickets);
}

int main(int argc, char **argv)
{
    int ret;
    const struct CMUnitTest tests[] = {
        TEST(test_worker_of_the_first_version_is_replaced),
        TEST(test_ticket_keys_outlive_keepers),
        TEST(test_overdue_ticket_keys_are_rotated),
    };

    if (keeper_role(argc, argv, &ret))
        return ret;
    return cmocka_run_group_tests_name("keeper handover", tests, NULL, NULL);
}
