/* The loader as a process: this program starts itself in that role. */
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keeper_fixture.h"

#include "gateway/process/loader.h"
#include "io/channel.h"
#include "io/process.h"
#include "snapshot/unit.h"

static struct {
    struct dm_loop *loop;
    struct dm_process process;
    struct dm_channel channel;
    struct dm_gateway_args args;
    int child_fd;
    struct dm_loader_done done;
    unsigned n_done, n_exits, n_closed;
    int status;
} t;

static int on_spawn(struct dm_process *process, struct dm_spawn *spawn)
{
    dm_spawn_arg(spawn, "test_loader");
    for (size_t i = 0; i < t.args.count; i++)
        dm_spawn_arg(spawn, t.args.items[i]);
    dm_spawn_fd(spawn, t.child_fd, DM_LOADER_FD);
    return 0;
}

static void on_exit_of_loader(struct dm_process *process, int status)
{
    t.n_exits++;
    t.status = status;
    dm_process_stop(process);
}

static void on_message(struct dm_channel *channel, uint32_t type, struct dm_str payload, int fd)
{
    assert_int_equal(type, DM_LOADER_DONE);
    assert_int_equal(payload.len, sizeof(t.done));
    memcpy(&t.done, payload.ptr, sizeof(t.done));
    t.n_done++;
}

static void on_closed(struct dm_channel *channel, int code)
{
    t.n_closed++;
}

static const struct dm_process_type process_type = {.on_spawn = on_spawn, .on_exit = on_exit_of_loader};

static void start_loader(const struct keeper_fixture *f)
{
    int fds[2];

    memset(&t, 0, sizeof(t));
    t.loop = dm_loop_new(dm_sys_real());
    dm_gateway_options_args(&f->options, DM_ROLE_LOADER, 0, 0, &t.args);
    assert_int_equal(dm_channel_pair(fds), 0);
    t.child_fd = fds[1];
    t.channel.on_message = on_message;
    t.channel.on_closed = on_closed;
    assert_int_equal(dm_channel_open(&t.channel, t.loop, fds[0], 0), 0);
    dm_process_init(&t.process, t.loop, &process_type);
    dm_process_start(&t.process);
    close(fds[1]);
}

static void turn(void)
{
    assert_true(dm_loop_turn(t.loop, 30000) > 0);
}

/* It ends with its channel. */
static void end_loader(void)
{
    if (t.n_closed == 0)
        dm_channel_close(&t.channel);
    while (t.n_exits == 0 || t.n_closed == 0)
        turn();
    dm_loop_free(t.loop);
}

static void submit(const struct keeper_fixture *f, uint64_t id, struct dm_str document, const char *unit)
{
    struct dm_loader_compile job = {.id = id};
    FILE *file = tmpfile();

    assert_non_null(file);
    assert_int_equal(write(fileno(file), document.ptr, document.len), document.len);
    memcpy(job.public_key, f->public_key, sizeof(job.public_key));
    dm_gateway_path(&f->options, job.path, "%s", unit);
    assert_int_equal(
        dm_channel_send(&t.channel, DM_LOADER_COMPILE, dm_str_n((const char *)&job, sizeof(job)), fileno(file)), 0);
    fclose(file);
}

static void wait_done(unsigned n)
{
    while (t.n_done < n)
        turn();
}

static void test_good_document(void **state)
{
    struct keeper_fixture *f = *state;
    char path[DM_GATEWAY_PATH_MAX];
    struct dm_err err = {0};
    struct dm_unit *unit;
    struct dm_buf document;

    start_loader(f);
    keeper_fixture_document(f, "orders", 2, 9, &document);
    submit(f, 41, dm_buf_str(&document), "unit");
    wait_done(1);
    assert_int_equal(t.done.id, 41);
    assert_int_equal(t.done.code, 0);
    assert_int_equal(t.done.mark.epoch, 2);
    assert_int_equal(t.done.mark.sequence, 9);
    dm_gateway_path(&f->options, path, "unit");
    assert_int_equal(dm_unit_open(path, &unit, &err), 0);
    assert_string_equal(dm_unit_header(unit)->tenant, "orders");
    dm_unit_unref(unit);
    end_loader();
    assert_int_equal(t.status, 0);
    dm_buf_done(&document);
}

static void test_bad_documents_leave_it_alive(void **state)
{
    struct keeper_fixture *f = *state;
    struct dm_buf document;

    start_loader(f);
    keeper_fixture_bad_document(f, "orders", 1, 1, &document);
    submit(f, 1, dm_buf_str(&document), "unit");
    wait_done(1);
    assert_int_equal(t.done.code, DM_EINVAL);
    assert_string_equal(t.done.pointer, "/body/backends/0/endpoints");
    assert_false(keeper_fixture_exists(f, "unit"));
    document.ptr[document.len - 3] ^= 1;
    submit(f, 2, dm_buf_str(&document), "unit");
    wait_done(2);
    assert_int_equal(t.done.code, DM_ECORRUPT);
    submit(f, 3, DM_STR(""), "unit");
    wait_done(3);
    assert_int_equal(t.done.code, DM_ECORRUPT);
    dm_buf_done(&document);
    keeper_fixture_document(f, "orders", 1, 2, &document);
    submit(f, 4, dm_buf_str(&document), "unit");
    wait_done(4);
    assert_int_equal(t.done.code, 0);
    end_loader();
    dm_buf_done(&document);
}

#define NO_CERTIFICATE "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"

static void refused_at(const struct keeper_fixture *f, const struct dm_document *document, const char *pointer)
{
    struct dm_err err = {0};
    struct dm_buf bytes;

    dm_buf_init(&bytes, DM_DOCUMENT_MAX);
    assert_int_equal(dm_document_seal(f->secret, document, &bytes, &err), 0);
    submit(f, 1, dm_buf_str(&bytes), "unit");
    wait_done(t.n_done + 1);
    assert_int_equal(t.done.code, DM_EINVAL);
    assert_string_equal(t.done.pointer, pointer);
    dm_buf_done(&bytes);
}

/* The form is right: only who reads certificates sees that they are none. */
static void test_certificates_that_are_none(void **state)
{
    struct keeper_fixture *f = *state;
    struct dm_endpoint endpoint;
    struct dm_backend_tls tls;
    struct dm_backend backend;
    struct dm_domain domain;
    struct dm_certificate certificate = {
        .name = DM_STR("main"), .chain = DM_STR(NO_CERTIFICATE), .key_sealed = DM_STR("AAAA")};
    struct dm_document document = {.format = DM_DOCUMENT_FORMAT,
                                   .kind = DM_UNIT_RELEASE,
                                   .tenant = DM_STR("orders"),
                                   .tenant_id = 7,
                                   .epoch = 1,
                                   .sequence = 1,
                                   .compat_date = DM_STR("2026-11-01")};

    dm_model_default(&dm_schema_endpoint, &endpoint);
    dm_model_default(&dm_schema_backend_tls, &tls);
    dm_model_default(&dm_schema_backend, &backend);
    dm_model_default(&dm_schema_domain, &domain);
    endpoint.host = DM_STR("127.0.0.1");
    endpoint.port = 443;
    tls.ca = DM_STR(NO_CERTIFICATE);
    backend.name = DM_STR("service");
    backend.endpoints = &endpoint;
    backend.n_endpoints = 1;
    backend.tls = &tls;
    domain.name = DM_STR("orders.test");
    start_loader(f);
    document.release = (struct dm_release_body){.backends = &backend, .n_backends = 1};
    refused_at(f, &document, "/body/backends/0/tls/ca");
    document.kind = DM_UNIT_DOMAINS;
    document.domains = (struct dm_domains_body){
        .key_id = 1, .domains = &domain, .n_domains = 1, .certificates = &certificate, .n_certificates = 1};
    refused_at(f, &document, "/body/certificates/0/chain");
    domain.certificate = certificate.name;
    domain.client_certificate = DM_CLIENT_CERTIFICATE_REQUIRED;
    domain.client_ca = DM_STR(NO_CERTIFICATE);
    refused_at(f, &document, "/body/domains/0/client_ca");
    end_loader();
}

static void test_document_of_another_key(void **state)
{
    struct keeper_fixture *f = *state, other = *f;
    struct dm_buf document;

    dm_sign_keypair(other.public_key, other.secret);
    start_loader(f);
    keeper_fixture_document(&other, "orders", 1, 1, &document);
    submit(f, 1, dm_buf_str(&document), "unit");
    wait_done(1);
    assert_int_equal(t.done.code, DM_EPERM);
    end_loader();
    dm_buf_done(&document);
}

static void test_answers_come_in_order(void **state)
{
    struct keeper_fixture *f = *state;
    struct dm_buf document;

    start_loader(f);
    keeper_fixture_document(f, "orders", 1, 1, &document);
    for (uint64_t id = 1; id <= 50; id++)
        submit(f, id, dm_buf_str(&document), "unit");
    wait_done(50);
    assert_int_equal(t.done.id, 50);
    end_loader();
    dm_buf_done(&document);
}

/* A bound is passed: the kernel ends it, and the channel tells. */
static void test_rlimit_kills_it(void **state)
{
    struct keeper_fixture *f = *state;
    struct rlimit before, small = {64, 64};
    struct dm_buf document;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    start_loader(f);
    assert_int_equal(prlimit(t.process.pid, RLIMIT_FSIZE, &small, NULL), 0);
    keeper_fixture_document(f, "orders", 1, 1, &document);
    submit(f, 1, dm_buf_str(&document), "unit");
    while (t.n_exits == 0 || t.n_closed == 0)
        turn();
    assert_int_equal(t.n_done, 0);
    assert_true(WIFSIGNALED(t.status));
    assert_int_equal(WTERMSIG(t.status), SIGXFSZ);
    assert_false(keeper_fixture_exists(f, "unit"));
    end_loader();
    dm_buf_done(&document);
}

static int run_loader(int argc, char **argv)
{
    struct dm_gateway_options options;
    struct dm_err err = {0};

    if (dm_gateway_options_read(&options, argc - 1, (const char *const *)argv + 1, &err) < 0 ||
        options.role != DM_ROLE_LOADER)
        return 2;
    return dm_loader_main(&options);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, keeper_fixture_setup, keeper_fixture_teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_good_document),         TEST(test_bad_documents_leave_it_alive), TEST(test_document_of_another_key),
        TEST(test_answers_come_in_order), TEST(test_certificates_that_are_none),   TEST(test_rlimit_kills_it),
    };

    if (argc > 1 && strncmp(argv[1], "--role", 6) == 0)
        return run_loader(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
