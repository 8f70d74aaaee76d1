/* The keeper whole: a real keeper with its loader and workers (this program in those roles), and a controller played by the
 * test on the link socket. Every wait is for a frame, the end of a process or of a connection; what does not come in
 * WAIT_MS fails the test. */
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper_fixture.h"

#include "base/mem.h"
#include "gateway/keeper/keeper.h"
#include "gateway/keeper/secrets.h"
#include "gateway/process/loader.h"
#include "gateway/worker.h"
#include "gateway/process/worker_link.h"
#include "io/lockfile.h"
#include "model/link.h"
#include "snapshot/unit.h"

enum { WAIT_MS = 30000, WORKERS = 2 };

/* --- the controller ---------------------------------------------------------------------------------------------- */

struct controller {
    struct keeper_fixture *f;
    int listener, fd;
    char listen[DM_ADDR_TEXT_MAX];
    struct dm_buf in;
    struct dm_arena arena;
    struct dm_link_message last;
    pid_t keeper;
    unsigned n_survivors; /* each in a slot of its own */
};

static int open_listener(const struct keeper_fixture *f)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/link", f->options.data_dir);
    unlink(addr.sun_path);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static void await(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    if (poll(&p, 1, WAIT_MS) != 1)
        fail_msg("nothing came");
}

static void say(struct controller *c, const struct dm_link_message *message)
{
    struct dm_buf out;

    dm_buf_init(&out, DM_LINK_PAYLOAD_MAX);
    dm_link_encode(message, &out);
    assert_int_equal(write(c->fd, out.ptr, out.len), out.len);
    dm_buf_done(&out);
}

/* The next frame but pings into c->last; false at the end of the connection. */
static bool hear(struct controller *c)
{
    static char consumed[1 << 16];

    for (;;) {
        char bytes[4096];
        ssize_t n;
        dm_arena_reset(&c->arena);
        /* Strings of the frame must outlive its bytes. */
        if (c->in.len <= sizeof(consumed) && c->in.len > 0) {
            memcpy(consumed, c->in.ptr, c->in.len);
            n = dm_link_decode(dm_str_n(consumed, c->in.len), &c->arena, &c->last, NULL);
            assert_true(n >= 0);
            dm_buf_consume(&c->in, (size_t)n);
            if (n > 0 && c->last.type != DM_LINK_PING)
                return true;
            if (n > 0)
                continue;
        }
        await(c->fd);
        n = read(c->fd, bytes, sizeof(bytes));
        if (n <= 0)
            return false;
        dm_buf_add_n(&c->in, bytes, (size_t)n);
    }
}

static void drop_link(struct controller *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    dm_buf_reset(&c->in);
}

/* Takes a connection up to its HELLO. */
static void greet(struct controller *c)
{
    drop_link(c);
    await(c->listener);
    c->fd = accept(c->listener, NULL, NULL);
    assert_true(c->fd >= 0);
    assert_true(hear(c));
    assert_int_equal(c->last.type, DM_LINK_HELLO);
}

static void welcome(struct controller *c, const uint8_t key[DM_SIGN_PUBLIC_BYTES])
{
    struct dm_link_message message = {.type = DM_LINK_WELCOME,
                                      .welcome = {.version = DM_LINK_VERSION, .cluster = DM_STR("here")}};

    message.welcome.key_id = dm_document_key_id(key);
    memcpy(message.welcome.public_key, key, DM_SIGN_PUBLIC_BYTES);
    say(c, &message);
}

static void send_document(struct controller *c, struct dm_buf *document)
{
    say(c, &(struct dm_link_message){.type = DM_LINK_UNIT, .unit = dm_buf_str(document)});
    dm_buf_done(document);
}

static void send_release(struct controller *c, const char *tenant, uint64_t sequence)
{
    struct dm_buf document;

    keeper_fixture_document(c->f, tenant, 1, sequence, &document);
    send_document(c, &document);
}

/* Hears until an ACK of this tenant, mark and status is there. */
static void await_ack(struct controller *c, const char *tenant, uint64_t sequence, enum dm_link_status status)
{
    for (;;) {
        assert_true(hear(c));
        if (c->last.type != DM_LINK_ACK || !dm_str_eq(c->last.ack.tenant, dm_str_of(tenant)) ||
            c->last.ack.mark.sequence != sequence)
            continue;
        if (c->last.ack.status == status)
            return;
        assert_int_equal(c->last.ack.status, DM_LINK_PARTLY);
    }
}

static void await_live(struct controller *c, const char *tenant, uint64_t sequence)
{
    await_ack(c, tenant, sequence, DM_LINK_LIVE);
    assert_int_equal(c->last.ack.workers_live, WORKERS);
    assert_int_equal(c->last.ack.workers, WORKERS);
}

/* --- the gateway ------------------------------------------------------------------------------------------------- */

static void start_keeper(struct controller *c)
{
    fflush(NULL);
    c->keeper = fork();
    assert_true(c->keeper >= 0);
    if (c->keeper == 0) {
        close(c->listener);
        exit(dm_keeper_main(&c->f->options));
    }
}

static int end_keeper(struct controller *c, int signo)
{
    int status;

    assert_int_equal(kill(c->keeper, signo), 0);
    assert_int_equal(waitpid(c->keeper, &status, 0), c->keeper);
    c->keeper = 0;
    return status;
}

/* A port that nobody has now, of an address that is this process's alone: it stays free, whoever else connects meanwhile. */
static void choose_port(struct dm_addr *ret)
{
    unsigned pid = (unsigned)getpid();
    char text[DM_ADDR_TEXT_MAX];
    int fd, n = snprintf(text, sizeof(text), "127.%u.%u.%u:0", 64 + (pid >> 16) % 64, (pid >> 8) % 256, pid % 256);

    assert_int_equal(dm_addr_parse(dm_str_n(text, (size_t)n), ret, NULL), 0);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&ret->ss, ret->len), 0);
    assert_int_equal(dm_sys_real()->ops->local_addr(dm_sys_real(), fd, ret), 0);
    close(fd);
}

/* text: the option as it is passed on, of at least DM_ADDR_TEXT_MAX bytes; it outlives the options. */
static void listen_on_free_port(struct dm_gateway_options *options, char *text)
{
    struct dm_addr addr;

    choose_port(&addr);
    dm_addr_format(&addr, true, text);
    options->n_listen = 0;
    assert_int_equal(dm_listener_parse(dm_str_of(text), options->listen, &options->n_listen, NULL), 0);
    options->listen_text[0] = text;
    options->n_listen_text = 1;
}

static int setup(void **state)
{
    struct controller *c = dm_calloc(1, sizeof(*c));
    struct dm_gateway_options *options;
    char text[DM_GATEWAY_PATH_MAX];
    int n;

    keeper_fixture_setup(state);
    c->f = *state;
    options = &c->f->options;
    options->n_workers = WORKERS;
    options->access_log = true;
    listen_on_free_port(options, c->listen);
    assert_int_equal(dm_addr_parse(DM_STR("127.0.0.1:0"), &options->admin, NULL), 0);
    n = snprintf(text, sizeof(text), "unix:%s/link", options->data_dir);
    assert_int_equal(dm_addr_parse(dm_str_n(text, (size_t)n), &options->controller, NULL), 0);
    options->has_controller = true;
    snprintf(options->id, sizeof(options->id), "gw-test");
    c->listener = open_listener(c->f);
    c->fd = -1;
    dm_buf_init(&c->in, DM_LINK_PAYLOAD_MAX);
    dm_arena_init(&c->arena, NULL, DM_LINK_ARENA_BYTES);
    *state = c;
    start_keeper(c);
    greet(c);
    welcome(c, c->f->public_key);
    return 0;
}

static int seat_pid(const struct controller *c, unsigned slot, unsigned bank)
{
    char path[DM_GATEWAY_PATH_MAX];

    dm_gateway_path(&c->f->options, path, DM_GATEWAY_WORKER_LOCK, slot, dm_gateway_bank_suffix[bank]);
    return dm_lockfile_holder(path);
}

static int worker_pid(const struct controller *c, unsigned slot)
{
    return seat_pid(c, slot, 0);
}

static int teardown(void **state)
{
    struct controller *c = *state;
    void *f = c->f;

    if (c->keeper > 0)
        assert_int_equal(end_keeper(c, SIGTERM), 0);
    for (unsigned i = 0; i < DM_GATEWAY_BANKS * DM_GATEWAY_WORKERS_MAX; i++)
        assert_int_equal(seat_pid(c, i / DM_GATEWAY_BANKS, i % DM_GATEWAY_BANKS), 0);
    drop_link(c);
    close(c->listener);
    dm_buf_done(&c->in);
    dm_arena_done(&c->arena);
    dm_free(c);
    return keeper_fixture_teardown(&f);
}

/* --- tests ------------------------------------------------------------------------------------------------------- */

static void test_change_becomes_live(void **state)
{
    struct controller *c = *state;

    for (uint64_t sequence = 1; sequence <= 20; sequence++) {
        send_release(c, "orders", sequence);
        await_live(c, "orders", sequence);
    }
    assert_true(keeper_fixture_exists(c->f, "documents/orders.release"));
    assert_true(keeper_fixture_exists(c->f, "units/orders.release"));
}

static void test_burst_of_many_tenants(void **state)
{
    struct controller *c = *state;
    char name[32];

    for (unsigned i = 0; i < 200; i++) {
        snprintf(name, sizeof(name), "tenant-%u", i);
        send_release(c, name, 1);
    }
    await_live(c, "tenant-199", 1);
}

static void test_refused_document_leaves_the_former(void **state)
{
    struct controller *c = *state;
    struct dm_buf document;

    send_release(c, "orders", 1);
    await_live(c, "orders", 1);
    keeper_fixture_bad_document(c->f, "orders", 1, 2, &document);
    send_document(c, &document);
    await_ack(c, "orders", 2, DM_LINK_REFUSED);
    assert_true(dm_str_eq(c->last.ack.pointer, DM_STR("/body/backends/0/endpoints")));
    /* Again: known, without the loader. */
    keeper_fixture_bad_document(c->f, "orders", 1, 2, &document);
    send_document(c, &document);
    await_ack(c, "orders", 2, DM_LINK_REFUSED);
    send_release(c, "orders", 3);
    await_live(c, "orders", 3);
}

static void test_forged_document_stops_nobody(void **state)
{
    struct controller *c = *state;
    struct dm_buf document;

    keeper_fixture_document(c->f, "orders", 1, 1, &document);
    document.ptr[document.len - 2] ^= 1;
    send_document(c, &document);
    send_release(c, "catalog", 1);
    await_live(c, "catalog", 1);
    assert_false(keeper_fixture_exists(c->f, "documents/orders.release"));
}

static void test_marks_do_not_go_back(void **state)
{
    struct controller *c = *state;

    send_release(c, "orders", 5);
    await_live(c, "orders", 5);
    send_release(c, "orders", 4);
    await_ack(c, "orders", 4, DM_LINK_REFUSED);
    send_release(c, "orders", 5);
    await_live(c, "orders", 5);
    say(c, &(struct dm_link_message){.type = DM_LINK_GONE, .gone = {DM_STR("orders"), DM_UNIT_RELEASE, {1, 6}}});
    await_live(c, "orders", 6);
    assert_false(keeper_fixture_exists(c->f, "units/orders.release"));
    send_release(c, "orders", 6);
    await_live(c, "orders", 6);
    send_release(c, "orders", 5);
    await_ack(c, "orders", 5, DM_LINK_REFUSED);
    end_keeper(c, SIGTERM);
    start_keeper(c);
    greet(c);
    assert_int_equal(c->last.hello.n_held, 1);
    assert_int_equal(c->last.hello.held[0].mark.sequence, 6);
    welcome(c, c->f->public_key);
    send_release(c, "orders", 5);
    await_ack(c, "orders", 5, DM_LINK_REFUSED);
    send_release(c, "orders", 7);
    await_live(c, "orders", 7);
}

static void test_killed_keeper_adopts_its_workers(void **state)
{
    struct controller *c = *state;
    int pids[WORKERS];

    send_release(c, "orders", 1);
    await_live(c, "orders", 1);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_true((pids[i] = worker_pid(c, i)) > 0);
    end_keeper(c, SIGKILL);
    start_keeper(c);
    greet(c);
    assert_true(dm_str_eq(c->last.hello.gateway, DM_STR("gw-test")));
    assert_int_equal(c->last.hello.n_held, 1);
    assert_int_equal(c->last.hello.held[0].mark.sequence, 1);
    welcome(c, c->f->public_key);
    await_live(c, "orders", 1);
    send_release(c, "orders", 2);
    await_live(c, "orders", 2);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(worker_pid(c, i), pids[i]);
}

static void test_killed_worker_is_replaced(void **state)
{
    struct controller *c = *state;
    int pid;

    send_release(c, "orders", 1);
    await_live(c, "orders", 1);
    pid = worker_pid(c, 1);
    assert_int_equal(kill(pid, SIGKILL), 0);
    send_release(c, "orders", 2);
    await_live(c, "orders", 2);
    assert_true(worker_pid(c, 1) > 0);
    assert_int_not_equal(worker_pid(c, 1), pid);
}

/* Its share of new connections would wait for ever, and so would every change. */
static void test_worker_that_hangs_is_replaced(void **state)
{
    struct controller *c = *state;
    int pid;

    send_release(c, "orders", 1);
    await_live(c, "orders", 1);
    pid = worker_pid(c, 1);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    send_release(c, "orders", 2);
    await_live(c, "orders", 2);
    assert_true(worker_pid(c, 1) > 0);
    assert_int_not_equal(worker_pid(c, 1), pid);
}

/* A flood of connections may leave a worker without a descriptor for the moment. */
static void test_worker_without_descriptors_gets_the_unit_later(void **state)
{
    struct controller *c = *state;
    struct rlimit before, few;
    int pid;

    /* Behind the first one, a late worker listens; with the second one it has done so. */
    for (uint64_t sequence = 1; sequence <= 2; sequence++) {
        send_release(c, "orders", sequence);
        await_live(c, "orders", sequence);
    }
    pid = worker_pid(c, 1);
    assert_int_equal(prlimit(pid, RLIMIT_NOFILE, NULL, &before), 0);
    few = (struct rlimit){3, before.rlim_max};
    assert_int_equal(prlimit(pid, RLIMIT_NOFILE, &few, NULL), 0);
    send_release(c, "orders", 3);
    await_ack(c, "orders", 3, DM_LINK_PARTLY);
    assert_int_equal(prlimit(pid, RLIMIT_NOFILE, &before, NULL), 0);
    await_live(c, "orders", 3);
    assert_int_equal(worker_pid(c, 1), pid);
}

/* --- sockets ----------------------------------------------------------------------------------------------------- */

enum { CLIENTS = 30 };

static void knock(const struct controller *c, size_t listener, int ret_fds[CLIENTS])
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n";
    const struct dm_addr *addr = &c->f->options.listen[listener].addr;

    for (int i = 0; i < CLIENTS; i++) {
        ret_fds[i] = socket(addr->ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(ret_fds[i], (const struct sockaddr *)&addr->ss, addr->len), 0);
        assert_int_equal(write(ret_fds[i], request, sizeof(request) - 1), sizeof(request) - 1);
    }
}

static void assert_answered(int fd)
{
    char bytes[4096] = "";
    ssize_t n;

    await(fd);
    n = read(fd, bytes, sizeof(bytes) - 1);
    assert_true(n > 0);
    assert_true(strncmp(bytes, "HTTP/1.1 404 ", 13) == 0);
}

static void assert_all_answered(int fds[CLIENTS])
{
    for (int i = 0; i < CLIENTS; i++) {
        assert_answered(fds[i]);
        close(fds[i]);
    }
}

/* A change that is live on all shows that they are connected; the second, that they serve. */
static void await_service(struct controller *c, uint64_t sequence)
{
    send_release(c, "orders", sequence);
    await_live(c, "orders", sequence);
    send_release(c, "orders", sequence + 1);
    await_live(c, "orders", sequence + 1);
}

static void signal_workers(const struct controller *c, int signo)
{
    for (unsigned slot = 0; slot < WORKERS; slot++)
        for (unsigned bank = 0; bank < DM_GATEWAY_BANKS; bank++)
            if (seat_pid(c, slot, bank) > 0)
                assert_int_equal(kill(seat_pid(c, slot, bank), signo), 0);
}

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

static void next_keeper(struct controller *c, int signo)
{
    int status = end_keeper(c, signo);

    if (signo == SIGUSR1)
        assert_int_equal(status, 0);
    start_keeper(c);
    greet(c);
    welcome(c, c->f->public_key);
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

static void await_end(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);

    if (fd < 0)
        return;
    await(fd);
    close(fd);
}

/* With other options, others take the workers' place; what is live is so on the former ones too, so their end is what shows it. */
static void replace_workers(struct controller *c, uint64_t sequence)
{
    int former[WORKERS];

    for (unsigned i = 0; i < WORKERS; i++)
        former[i] = worker_pid(c, i);
    next_keeper(c, SIGUSR1);
    await_service(c, sequence);
    for (unsigned i = 0; i < WORKERS; i++)
        await_end(former[i]);
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

/* --- a worker of the first version: its HELLO is shorter, it gives no sockets, and DRAIN is one number ------------------ */

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

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/" DM_GATEWAY_KEEPER_SOCKET, c->f->options.data_dir);
    while (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        poll(NULL, 0, 10); /* W1: it tries again until there is a keeper */
    return fd;
}

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

static void assert_unit_is_sound(const struct controller *c)
{
    char path[DM_GATEWAY_PATH_MAX];
    struct dm_err err = {0};
    struct dm_unit *unit;

    dm_gateway_path(&c->f->options, path, "units/orders.release");
    assert_int_equal(dm_unit_open(path, &unit, &err), 0);
    dm_unit_unref(unit);
}

static void test_units_survive_everything(void **state)
{
    struct controller *c = *state;

    send_release(c, "orders", 1);
    await_live(c, "orders", 1);
    send_release(c, "catalog", 1);
    await_live(c, "catalog", 1);
    assert_int_equal(end_keeper(c, SIGTERM), 0);
    keeper_fixture_damage(c->f, "units/orders.release");
    start_keeper(c);
    greet(c);
    assert_int_equal(c->last.hello.n_held, 2);
    welcome(c, c->f->public_key);
    await_live(c, "orders", 1);
    assert_unit_is_sound(c);
}

static void kill_worker(const struct controller *c, unsigned slot)
{
    int pid = worker_pid(c, slot);

    assert_true(pid > 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
}

/* The second time at once is put off, and done. */
static void test_unit_that_is_damaged_while_it_is_served(void **state)
{
    struct controller *c = *state;
    int pid;

    send_release(c, "orders", 1);
    await_live(c, "orders", 1);
    pid = worker_pid(c, 0);
    for (int round = 0; round < 2; round++) {
        keeper_fixture_replace(c->f, "units/orders.release");
        kill_worker(c, 1);
        await_ack(c, "orders", 1, DM_LINK_PARTLY);
        assert_int_equal(c->last.ack.workers_live, WORKERS - 1);
        await_live(c, "orders", 1);
        assert_unit_is_sound(c);
    }
    assert_int_equal(worker_pid(c, 0), pid);
}

static void test_unit_that_is_removed_while_it_is_served(void **state)
{
    struct controller *c = *state;
    char path[DM_GATEWAY_PATH_MAX];

    send_release(c, "orders", 1);
    await_live(c, "orders", 1);
    dm_gateway_path(&c->f->options, path, "units/orders.release");
    assert_int_equal(unlink(path), 0);
    kill_worker(c, 1);
    await_ack(c, "orders", 1, DM_LINK_PARTLY);
    await_live(c, "orders", 1);
    assert_unit_is_sound(c);
}

static void test_unit_of_an_older_state_while_it_is_served(void **state)
{
    struct controller *c = *state;
    char path[DM_GATEWAY_PATH_MAX], kept[DM_GATEWAY_PATH_MAX];

    send_release(c, "orders", 1);
    await_live(c, "orders", 1);
    dm_gateway_path(&c->f->options, path, "units/orders.release");
    dm_gateway_path(&c->f->options, kept, "kept");
    assert_int_equal(link(path, kept), 0);
    send_release(c, "orders", 2);
    await_live(c, "orders", 2);
    assert_int_equal(rename(kept, path), 0);
    kill_worker(c, 1);
    await_ack(c, "orders", 2, DM_LINK_PARTLY);
    await_live(c, "orders", 2);
}

static void test_unit_and_document_that_are_damaged_while_served(void **state)
{
    struct controller *c = *state;
    int pid;

    send_release(c, "orders", 1);
    await_live(c, "orders", 1);
    pid = worker_pid(c, 0);
    keeper_fixture_replace(c->f, "units/orders.release");
    keeper_fixture_replace(c->f, "documents/orders.release");
    kill_worker(c, 1);
    await_ack(c, "orders", 1, DM_LINK_PARTLY);
    assert_false(hear(c));
    greet(c);
    assert_int_equal(c->last.hello.n_held, 0);
    assert_int_equal(worker_pid(c, 0), pid);
    welcome(c, c->f->public_key);
    await_ack(c, "orders", 1, DM_LINK_PARTLY);
    assert_int_equal(c->last.ack.workers_live, WORKERS - 1);
    send_release(c, "orders", 1);
    await_live(c, "orders", 1);
}

static void test_damaged_document_is_asked_for_again(void **state)
{
    struct controller *c = *state;

    send_release(c, "orders", 3);
    await_live(c, "orders", 3);
    assert_int_equal(end_keeper(c, SIGTERM), 0);
    keeper_fixture_damage(c->f, "documents/orders.release");
    start_keeper(c);
    greet(c);
    assert_int_equal(c->last.hello.n_held, 0);
    welcome(c, c->f->public_key);
    await_live(c, "orders", 3); /* the unit is sound */
    send_release(c, "orders", 2);
    await_ack(c, "orders", 2, DM_LINK_REFUSED);
    send_release(c, "orders", 3);
    await_live(c, "orders", 3);
    assert_int_equal(end_keeper(c, SIGTERM), 0);
    start_keeper(c);
    greet(c);
    assert_int_equal(c->last.hello.n_held, 1);
}

static void test_another_controller_is_refused(void **state)
{
    struct controller *c = *state;
    uint8_t public_key[DM_SIGN_PUBLIC_BYTES], secret[DM_SIGN_SECRET_BYTES];

    send_release(c, "orders", 1);
    await_live(c, "orders", 1);
    dm_sign_keypair(public_key, secret);
    drop_link(c);
    greet(c);
    welcome(c, public_key);
    assert_false(hear(c));
    greet(c);
    welcome(c, c->f->public_key);
    send_release(c, "orders", 2);
    await_live(c, "orders", 2);
}

static void test_frame_that_does_not_decode(void **state)
{
    struct controller *c = *state;

    assert_int_equal(write(c->fd, "\377\377\377\377\377\377\377\377", 8), 8);
    while (hear(c))
        ;
    greet(c);
    welcome(c, c->f->public_key);
    send_release(c, "orders", 1);
    await_live(c, "orders", 1);
}

/* The loader below dies with documents of this tenant, if they are its first. */
static void test_document_that_kills_the_loader(void **state)
{
    struct controller *c = *state;

    send_release(c, "crash", 1);
    await_ack(c, "crash", 1, DM_LINK_REFUSED);
    assert_true(dm_str_starts(c->last.ack.message, DM_STR("loader_crashed")));
    send_release(c, "orders", 1);
    await_live(c, "orders", 1);
}

static int run_keeper_with(const struct dm_gateway_options *options, char *ret_said, size_t size)
{
    int fds[2], status;
    ssize_t n, len = 0;
    pid_t pid;

    assert_int_equal(pipe(fds), 0);
    if ((pid = fork()) == 0) {
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        close(fds[1]);
        exit(dm_keeper_main(options));
    }
    close(fds[1]);
    while ((n = read(fds[0], ret_said + len, size - 1 - (size_t)len)) > 0)
        len += n;
    ret_said[len] = '\0';
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_second_keeper(void **state)
{
    struct controller *c = *state;
    char said[4096];

    assert_int_equal(run_keeper_with(&c->f->options, said, sizeof(said)), 1);
    assert_non_null(strstr(said, "is the keeper of"));
}

static void test_port_in_use(void **state)
{
    struct controller *c = *state;
    struct dm_gateway_options options = c->f->options;
    char said[4096], listens[DM_ADDR_TEXT_MAX];
    const struct dm_addr *addr = &options.listen[0].addr;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    listen_on_free_port(&options, listens);
    assert_int_equal(bind(fd, (const struct sockaddr *)&addr->ss, addr->len), 0);
    assert_int_equal(listen(fd, 1), 0);
    snprintf(options.data_dir, sizeof(options.data_dir), "%.60s/other", c->f->options.data_dir);
    assert_int_equal(run_keeper_with(&options, said, sizeof(said)), 1);
    assert_non_null(strstr(said, "--listen 127."));
    assert_non_null(strstr(said, "in use"));
    close(fd);
}

static void test_data_dir_below_a_file(void **state)
{
    struct controller *c = *state;
    struct dm_gateway_options options = c->f->options;
    char said[4096];

    snprintf(options.data_dir, sizeof(options.data_dir), "%.60s/link/data", c->f->options.data_dir);
    assert_int_equal(run_keeper_with(&options, said, sizeof(said)), 1);
    assert_non_null(strstr(said, "daemun-gateway: --data: "));
}

/* --- roles ------------------------------------------------------------------------------------------------------- */

static void die_of_crash_documents(void)
{
    static char bytes[sizeof(struct dm_loader_compile) + 64];
    ssize_t n;

    await(DM_LOADER_FD);
    n = recv(DM_LOADER_FD, bytes, sizeof(bytes), MSG_PEEK);
    if (n > 0 && memmem(bytes, (size_t)n, "/crash.", 7))
        raise(SIGKILL);
}

static int run_role(int argc, char **argv)
{
    struct dm_gateway_options options;
    struct dm_err err = {0};

    if (dm_gateway_options_read(&options, argc - 1, (const char *const *)argv + 1, &err) < 0)
        return 2;
    dm_log_init("test", "worker", STDERR_FILENO, false, DM_LOG_ERROR + 1);
    if (options.role == DM_ROLE_WORKER)
        return dm_worker_main(&options);
    die_of_crash_documents();
    return dm_loader_main(&options);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_change_becomes_live),
        TEST(test_burst_of_many_tenants),
        TEST(test_refused_document_leaves_the_former),
        TEST(test_forged_document_stops_nobody),
        TEST(test_marks_do_not_go_back),
        TEST(test_killed_keeper_adopts_its_workers),
        TEST(test_killed_worker_is_replaced),
        TEST(test_worker_that_hangs_is_replaced),
        TEST(test_worker_without_descriptors_gets_the_unit_later),
        TEST(test_units_survive_everything),
        TEST(test_unit_that_is_damaged_while_it_is_served),
        TEST(test_unit_that_is_removed_while_it_is_served),
        TEST(test_unit_of_an_older_state_while_it_is_served),
        TEST(test_unit_and_document_that_are_damaged_while_served),
        TEST(test_damaged_document_is_asked_for_again),
        TEST(test_another_controller_is_refused),
        TEST(test_frame_that_does_not_decode),
        TEST(test_document_that_kills_the_loader),
        TEST(test_connections_outlive_the_workers_they_wait_for),
        TEST(test_next_keeper_has_the_sockets),
        TEST(test_waiting_connections_are_served_at_the_end),
        TEST(test_other_options_replace_the_workers),
        TEST(test_worker_of_the_first_version_is_replaced),
        TEST(test_ticket_keys_outlive_keepers),
        TEST(test_overdue_ticket_keys_are_rotated),
        TEST(test_unix_listener_is_handed_over),
        TEST(test_second_keeper),
        TEST(test_port_in_use),
        TEST(test_data_dir_below_a_file),
    };

    if (argc > 1 && strncmp(argv[1], "--role", 6) == 0)
        return run_role(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
