/* What a keeper does with documents, with workers that die, and when it can not start. */
#include "keeper_rig.h"

#include <sys/resource.h>

#include "gateway/keeper/keeper.h"
#include "model/tenant_key.h"
#include "pki/pki.h"

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

/* Told to the gateway, with whose key a document is sealed. */
static void send_data_key(struct controller *c)
{
    struct dm_tenant_key key = {.tenant_id = 7, .key_id = 1};
    uint8_t sealed[DM_TENANT_KEY_SEALED_BYTES];

    assert_int_equal(dm_tenant_key_seal(c->box_key, &key, sealed), 0);
    say(c, &(struct dm_link_message){.type = DM_LINK_TENANT_KEY,
                                     .tenant_key = {.tenant = DM_STR("orders"),
                                                    .tenant_id = 7,
                                                    .key_id = 1,
                                                    .sealed = dm_str_n((const char *)sealed, sizeof(sealed))}});
}

/* Only workers open keys: the loader and the keeper took it. */
static void test_document_whose_key_does_not_open(void **state)
{
    struct controller *c = *state;
    struct pki_identity *leaf = pki_make(&(struct pki_spec){.subject = "Leaf", .names = "DNS:orders.test"}, NULL);
    struct dm_certificate certificate = {
        .name = DM_STR("main"), .chain = leaf->chain_pem, .key_sealed = DM_STR("AAAA")};
    struct dm_domain domain;
    struct dm_document document = {.format = DM_DOCUMENT_FORMAT,
                                   .kind = DM_UNIT_DOMAINS,
                                   .tenant = DM_STR("orders"),
                                   .tenant_id = 7,
                                   .epoch = 1,
                                   .sequence = 1,
                                   .compat_date = DM_STR("2026-11-01")};
    struct dm_err err = {0};
    struct dm_buf bytes;

    dm_model_default(&dm_schema_domain, &domain);
    domain.name = DM_STR("orders.test");
    domain.certificate = certificate.name;
    document.domains = (struct dm_domains_body){
        .key_id = 1, .domains = &domain, .n_domains = 1, .certificates = &certificate, .n_certificates = 1};
    dm_buf_init(&bytes, DM_DOCUMENT_MAX);
    assert_int_equal(dm_document_seal(c->f->secret, &document, &bytes, &err), 0);
    send_data_key(c);
    send_document(c, &bytes);
    await_ack(c, "orders", 1, DM_LINK_REFUSED);
    assert_true(dm_str_eq(c->last.ack.message, DM_STR("the key of certificate main does not open")));
    pki_free(leaf);
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

int main(int argc, char **argv)
{
    int ret;
    const struct CMUnitTest tests[] = {
        TEST(test_change_becomes_live),
        TEST(test_burst_of_many_tenants),
        TEST(test_document_whose_key_does_not_open),
        TEST(test_refused_document_leaves_the_former),
        TEST(test_forged_document_stops_nobody),
        TEST(test_marks_do_not_go_back),
        TEST(test_killed_keeper_adopts_its_workers),
        TEST(test_killed_worker_is_replaced),
        TEST(test_worker_that_hangs_is_replaced),
        TEST(test_worker_without_descriptors_gets_the_unit_later),
        TEST(test_another_controller_is_refused),
        TEST(test_frame_that_does_not_decode),
        TEST(test_document_that_kills_the_loader),
        TEST(test_second_keeper),
        TEST(test_port_in_use),
        TEST(test_data_dir_below_a_file),
    };

    if (keeper_role(argc, argv, &ret))
        return ret;
    return cmocka_run_group_tests_name("keeper", tests, NULL, NULL);
}
