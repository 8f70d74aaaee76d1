#include "keeper_rig.h"

#include <poll.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "gateway/keeper/keeper.h"
#include "gateway/process/loader.h"
#include "gateway/worker.h"
#include "io/lockfile.h"

/* --- the controller ---------------------------------------------------------------------------------------------- */

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

void await(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    if (poll(&p, 1, WAIT_MS) != 1)
        fail_msg("nothing came");
}

void say(struct controller *c, const struct dm_link_message *message)
{
    struct dm_buf out;

    dm_buf_init(&out, DM_LINK_PAYLOAD_MAX);
    dm_link_encode(message, &out);
    assert_int_equal(write(c->fd, out.ptr, out.len), out.len);
    dm_buf_done(&out);
}

bool hear(struct controller *c)
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

void drop_link(struct controller *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    dm_buf_reset(&c->in);
}

void greet(struct controller *c)
{
    drop_link(c);
    await(c->listener);
    c->fd = accept(c->listener, NULL, NULL);
    assert_true(c->fd >= 0);
    assert_true(hear(c));
    assert_int_equal(c->last.type, DM_LINK_HELLO);
    memcpy(c->box_key, c->last.hello.box_public_key, sizeof(c->box_key));
}

void welcome(struct controller *c, const uint8_t key[DM_SIGN_PUBLIC_BYTES])
{
    struct dm_link_message message = {.type = DM_LINK_WELCOME,
                                      .welcome = {.version = DM_LINK_VERSION, .cluster = DM_STR("here")}};

    message.welcome.key_id = dm_document_key_id(key);
    memcpy(message.welcome.public_key, key, DM_SIGN_PUBLIC_BYTES);
    say(c, &message);
}

void send_document(struct controller *c, struct dm_buf *document)
{
    say(c, &(struct dm_link_message){.type = DM_LINK_UNIT, .unit = dm_buf_str(document)});
    dm_buf_done(document);
}

void send_release(struct controller *c, const char *tenant, uint64_t sequence)
{
    struct dm_buf document;

    keeper_fixture_document(c->f, tenant, 1, sequence, &document);
    send_document(c, &document);
}

void await_ack(struct controller *c, const char *tenant, uint64_t sequence, enum dm_link_status status)
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

void await_live(struct controller *c, const char *tenant, uint64_t sequence)
{
    await_ack(c, tenant, sequence, DM_LINK_LIVE);
    assert_int_equal(c->last.ack.workers_live, WORKERS);
    assert_int_equal(c->last.ack.workers, WORKERS);
}

/* --- the gateway ------------------------------------------------------------------------------------------------- */

void start_keeper(struct controller *c)
{
    fflush(NULL);
    c->keeper = fork();
    assert_true(c->keeper >= 0);
    if (c->keeper == 0) {
        close(c->listener);
        exit(dm_keeper_main(&c->f->options));
    }
}

int end_keeper(struct controller *c, int signo)
{
    int status;

    assert_int_equal(kill(c->keeper, signo), 0);
    assert_int_equal(waitpid(c->keeper, &status, 0), c->keeper);
    c->keeper = 0;
    return status;
}

void next_keeper(struct controller *c, int signo)
{
    int status = end_keeper(c, signo);

    if (signo == SIGUSR1)
        assert_int_equal(status, 0);
    start_keeper(c);
    greet(c);
    welcome(c, c->f->public_key);
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

void listen_on_free_port(struct dm_gateway_options *options, char *text)
{
    struct dm_addr addr;

    choose_port(&addr);
    dm_addr_format(&addr, true, text);
    options->n_listen = 0;
    assert_int_equal(dm_listener_parse(dm_str_of(text), options->listen, &options->n_listen, NULL), 0);
    options->listen_text[0] = text;
    options->n_listen_text = 1;
}

int keeper_setup(void **state)
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

int seat_pid(const struct controller *c, unsigned slot, unsigned bank)
{
    char path[DM_GATEWAY_PATH_MAX];

    dm_gateway_path(&c->f->options, path, DM_GATEWAY_WORKER_LOCK, slot, dm_gateway_bank_suffix[bank]);
    return dm_lockfile_holder(path);
}

int worker_pid(const struct controller *c, unsigned slot)
{
    return seat_pid(c, slot, 0);
}

void kill_worker(const struct controller *c, unsigned slot)
{
    int pid = worker_pid(c, slot);

    assert_true(pid > 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
}

void signal_workers(const struct controller *c, int signo)
{
    for (unsigned slot = 0; slot < WORKERS; slot++)
        for (unsigned bank = 0; bank < DM_GATEWAY_BANKS; bank++)
            if (seat_pid(c, slot, bank) > 0)
                assert_int_equal(kill(seat_pid(c, slot, bank), signo), 0);
}

int keeper_teardown(void **state)
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

/* --- callers ------------------------------------------------------------------------------------------------------ */

void knock(const struct controller *c, size_t listener, int ret_fds[CLIENTS])
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n";
    const struct dm_addr *addr = &c->f->options.listen[listener].addr;

    for (int i = 0; i < CLIENTS; i++) {
        ret_fds[i] = socket(addr->ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(ret_fds[i], (const struct sockaddr *)&addr->ss, addr->len), 0);
        assert_int_equal(write(ret_fds[i], request, sizeof(request) - 1), sizeof(request) - 1);
    }
}

void assert_answered(int fd)
{
    char bytes[4096] = "";
    ssize_t n;

    await(fd);
    n = read(fd, bytes, sizeof(bytes) - 1);
    assert_true(n > 0);
    assert_true(strncmp(bytes, "HTTP/1.1 404 ", 13) == 0);
}

void assert_all_answered(int fds[CLIENTS])
{
    for (int i = 0; i < CLIENTS; i++) {
        assert_answered(fds[i]);
        close(fds[i]);
    }
}

void await_service(struct controller *c, uint64_t sequence)
{
    send_release(c, "orders", sequence);
    await_live(c, "orders", sequence);
    send_release(c, "orders", sequence + 1);
    await_live(c, "orders", sequence + 1);
}

void await_end(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);

    if (fd < 0)
        return;
    await(fd);
    close(fd);
}

void replace_workers(struct controller *c, uint64_t sequence)
{
    int former[WORKERS];

    for (unsigned i = 0; i < WORKERS; i++)
        former[i] = worker_pid(c, i);
    next_keeper(c, SIGUSR1);
    await_service(c, sequence);
    for (unsigned i = 0; i < WORKERS; i++)
        await_end(former[i]);
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

bool keeper_role(int argc, char **argv, int *ret)
{
    if (argc < 2 || strncmp(argv[1], "--role", 6) != 0) {
        signal(SIGPIPE, SIG_IGN);
        return false;
    }
    *ret = run_role(argc, argv);
    return true;
}
