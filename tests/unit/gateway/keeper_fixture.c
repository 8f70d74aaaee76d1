#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keeper_fixture.h"

#include "base/mem.h"

int keeper_fixture_setup(void **state)
{
    struct keeper_fixture *f = dm_calloc(1, sizeof(*f));
    char dir[] = "/tmp/daemun-test-XXXXXX";

    assert_int_equal(dm_crypto_init(), 0);
    dm_log_init("test", "test", STDERR_FILENO, false, DM_LOG_ERROR + 1);
    assert_non_null(mkdtemp(dir));
    dm_gateway_options_defaults(&f->options);
    f->options.access_log = f->options.log_is_text = false;
    snprintf(f->options.data_dir, sizeof(f->options.data_dir), "%s", dir);
    f->options.n_workers = 1;
    f->options.log_level = DM_LOG_ERROR;
    f->options.drain_ms = 1000;
    f->options.controller_uid = geteuid();
    dm_sign_keypair(f->public_key, f->secret);
    *state = f;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

int keeper_fixture_teardown(void **state)
{
    struct keeper_fixture *f = *state;

    nftw(f->options.data_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    dm_free(f);
    return 0;
}

static void seal(const struct keeper_fixture *f, const char *tenant, uint64_t epoch, uint64_t sequence,
                 const struct dm_release_body *body, struct dm_buf *ret)
{
    struct dm_err err = {0};
    struct dm_document document = {.format = DM_DOCUMENT_FORMAT,
                                   .kind = DM_UNIT_RELEASE,
                                   .tenant = dm_str_of(tenant),
                                   .tenant_id = 7,
                                   .epoch = (int64_t)epoch,
                                   .sequence = (int64_t)sequence,
                                   .compat_date = DM_STR("2026-11-01"),
                                   .release = *body};

    dm_buf_init(ret, DM_DOCUMENT_MAX);
    assert_int_equal(dm_document_seal(f->secret, &document, ret, &err), 0);
}

void keeper_fixture_document(const struct keeper_fixture *f, const char *tenant, uint64_t epoch, uint64_t sequence,
                             struct dm_buf *ret)
{
    seal(f, tenant, epoch, sequence, &(struct dm_release_body){0}, ret);
}

void keeper_fixture_grants(const struct keeper_fixture *f, const char *tenant, uint64_t epoch, uint64_t sequence,
                           unsigned n_workers, struct dm_buf *ret)
{
    struct dm_err err = {0};
    struct dm_domain_grant domain = {.name = DM_STR("orders.test")};
    struct dm_document document = {.format = DM_DOCUMENT_FORMAT,
                                   .kind = DM_UNIT_GRANTS,
                                   .tenant = dm_str_of(tenant),
                                   .tenant_id = 7,
                                   .epoch = (int64_t)epoch,
                                   .sequence = (int64_t)sequence,
                                   .compat_date = DM_STR("2026-11-01")};

    document.grants = (struct dm_grants_body){.state = DM_STATE_ACTIVE,
                                              .weight = DM_WEIGHT_DEFAULT,
                                              .tenancy = n_workers > 0 ? DM_TENANCY_DEDICATED : DM_TENANCY_SHARED,
                                              .cell = {.workers = DM_MAX(n_workers, 1u), .cpu_weight = 100},
                                              .domains = &domain,
                                              .n_domains = 1};
    dm_buf_init(ret, DM_DOCUMENT_MAX);
    assert_int_equal(dm_document_seal(f->secret, &document, ret, &err), 0);
}

void keeper_fixture_bad_document(const struct keeper_fixture *f, const char *tenant, uint64_t epoch, uint64_t sequence,
                                 struct dm_buf *ret)
{
    struct dm_backend backend;

    dm_model_default(&dm_schema_backend, &backend);
    backend.name = DM_STR("service");
    seal(f, tenant, epoch, sequence, &(struct dm_release_body){.backends = &backend, .n_backends = 1}, ret);
}

static void path_of(const struct keeper_fixture *f, const char *name, char ret[DM_GATEWAY_PATH_MAX])
{
    dm_gateway_path(&f->options, ret, "%s", name);
}

void keeper_fixture_damage(const struct keeper_fixture *f, const char *name)
{
    char path[DM_GATEWAY_PATH_MAX], byte;
    struct stat st;
    int fd;

    path_of(f, name, path);
    fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(pread(fd, &byte, 1, st.st_size / 2), 1);
    byte = (char)(byte ^ 0x5a);
    assert_int_equal(pwrite(fd, &byte, 1, st.st_size / 2), 1);
    close(fd);
}

void keeper_fixture_replace(const struct keeper_fixture *f, const char *name)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf bytes = {0};
    char path[DM_GATEWAY_PATH_MAX];

    path_of(f, name, path);
    assert_int_equal(dm_sys_read_file(dm_sys_real(), path, DM_DOCUMENT_MAX, &bytes, NULL), 0);
    bytes.ptr[bytes.len / 2] ^= 0x5a;
    assert_int_equal(dm_sys_write_file(dm_sys_real(), path, dm_buf_str(&bytes), 0600, false, NULL), 0);
}

bool keeper_fixture_exists(const struct keeper_fixture *f, const char *name)
{
    char path[DM_GATEWAY_PATH_MAX];

    path_of(f, name, path);
    return access(path, F_OK) == 0;
}
