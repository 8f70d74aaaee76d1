#include "gateway/process/loader.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/seccomp.h>

#include "base/arena.h"
#include "base/encode.h"
#include "gateway/process/cell_process.h"
#include "io/certificate.h"
#include "io/channel.h"
#include "snapshot/compile.h"

/* Memory for the largest document: its tree, what is read from it, and the unit. */
#define MEMORY_BYTES (UINT64_C(2) << 30)
enum { CPU_SECONDS = 20 };

struct loader {
    struct dm_loop *loop;
    struct dm_channel channel;
};

/* --- bounds (D2) ------------------------------------------------------------------------------------------------- */

static void limit(int resource, rlim_t value)
{
    struct rlimit now;

    if (getrlimit(resource, &now) < 0)
        return;
    now.rlim_cur = DM_MIN(value, now.rlim_max);
    if (setrlimit(resource, &now) < 0)
        dm_log(DM_LOG_WARN, "loader_unbounded", "can't set a resource limit: %s", strerror(errno));
}

/* From here to CPU_SECONDS more; the kernel ends the process with SIGXCPU. */
static void limit_cpu(void)
{
    struct rusage used;

    if (getrusage(RUSAGE_SELF, &used) == 0)
        limit(RLIMIT_CPU, (rlim_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + CPU_SECONDS);
}

#define REFUSE(call)                                                                                                   \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1),                                                             \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (EPERM & SECCOMP_RET_DATA))

static void refuse_network(void)
{
    static struct sock_filter code[] = {
        /* clang-format off */
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        REFUSE(socket), REFUSE(connect), REFUSE(bind), REFUSE(listen), REFUSE(execve),
#if !DM_ASAN /* which looks for leaks with it */
        REFUSE(ptrace),
#endif
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        /* clang-format on */
    };
    const struct sock_fprog program = {.len = DM_COUNT(code), .filter = code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        dm_log(DM_LOG_WARN, "loader_unbounded", "can't give up the network: %s", strerror(errno));
}

static void set_bounds(void)
{
    if (!DM_ASAN) /* whose shadow alone is larger */
        limit(RLIMIT_AS, MEMORY_BYTES);
    limit(RLIMIT_FSIZE, DM_UNIT_BYTES_MAX + (1 << 20));
    limit(RLIMIT_CORE, 0);
    refuse_network();
}

/* --- a document -------------------------------------------------------------------------------------------------- */

/* What is no certificate would fail in the workers, with all of the tenant's domains, once the former document is given up. */
static int check_certificate(const struct dm_certificate *certificate, struct dm_err *err)
{
    uint8_t der[DM_CERTIFICATE_OCSP_MAX];
    struct dm_certificate_info info;
    int64_t stale_at_s;
    ssize_t n;
    int rc;

    if ((rc = dm_certificate_read(certificate->chain, &info, err)) < 0)
        return dm_err_prefix(err, "/chain");
    if (certificate->ocsp_response.len == 0)
        return 0;
    if ((n = dm_unbase64(certificate->ocsp_response, der, sizeof(der))) < 0)
        return dm_fail(err, DM_EINVAL, "/ocsp_response", "must be base64 of at most %zu bytes", sizeof(der));
    rc = dm_certificate_ocsp_check(certificate->chain, dm_str_n((const char *)der, (size_t)n), &stale_at_s, err);
    return rc < 0 ? dm_err_prefix(err, "/ocsp_response") : 0;
}

/* Each that is like an earlier one was looked at with that; how many differ, the controller bounds. */
static int check_domains(const struct dm_domains_body *body, struct dm_err *err)
{
    const struct dm_domain *domains = body->domains;
    int rc;

    for (size_t i = 0; i < body->n_domains; i++) {
        size_t like = 0;
        while (!dm_str_eq(domains[like].client_ca, domains[i].client_ca))
            like++;
        if (like == i && domains[i].client_ca.len > 0 &&
            (rc = dm_certificate_ca_bundle_check(domains[i].client_ca, err)) < 0)
            return dm_err_prefix(err, "/body/domains/%zu/client_ca", i);
    }
    for (size_t i = 0; i < body->n_certificates; i++)
        if ((rc = check_certificate(&body->certificates[i], err)) < 0)
            return dm_err_prefix(err, "/body/certificates/%zu", i);
    return 0;
}

static struct dm_str authorities_of(const struct dm_backend *backend)
{
    return backend->tls ? backend->tls->ca : DM_STR("");
}

static int check_backends(const struct dm_release_body *body, struct dm_err *err)
{
    int rc;

    for (size_t i = 0; i < body->n_backends; i++) {
        struct dm_str bundle = authorities_of(&body->backends[i]);
        size_t like = 0;
        while (!dm_str_eq(authorities_of(&body->backends[like]), bundle))
            like++;
        if (like == i && bundle.len > 0 && (rc = dm_certificate_ca_bundle_check(bundle, err)) < 0)
            return dm_err_prefix(err, "/body/backends/%zu/tls/ca", i);
    }
    return 0;
}

static int check_certificates(const struct dm_document *document, struct dm_err *err)
{
    if (document->kind == DM_UNIT_DOMAINS)
        return check_domains(&document->domains, err);
    return document->kind == DM_UNIT_RELEASE ? check_backends(&document->release, err) : 0;
}

static int fail_first(const struct dm_errs *errs, int code, struct dm_err *err)
{
    if (errs->n == 0)
        return dm_fail(err, code, "", "document can't be read: %s", dm_err_name(code));
    *err = errs->items[0];
    return err->code;
}

int dm_loader_compile(const uint8_t public_key[DM_SIGN_PUBLIC_BYTES], struct dm_str bytes, struct dm_builder *b,
                      struct dm_mark *ret_mark, struct dm_err *err)
{
    struct dm_document_head head;
    struct dm_document document;
    struct dm_errs errs = {0};
    struct dm_arena arena;
    int rc;

    if ((rc = dm_document_open(public_key, bytes, &head, err)) < 0)
        return rc;
    *ret_mark = head.mark;
    dm_arena_init(&arena, NULL, DM_DOCUMENT_ARENA_BYTES);
    if ((rc = dm_document_read(&head, &arena, &document, &errs)) < 0)
        rc = fail_first(&errs, rc, err);
    else if ((rc = check_certificates(&document, err)) == 0)
        rc = dm_compile(&document, head.body_hash, b, err);
    dm_arena_done(&arena);
    return rc;
}

static int map_document(int fd, struct dm_str *ret, struct dm_err *err)
{
    struct stat st;
    void *ptr;

    if (fstat(fd, &st) < 0)
        return dm_fail(err, DM_EIO, "", "can't read the document: %s", strerror(errno));
    if (st.st_size <= 0 || (uint64_t)st.st_size > DM_DOCUMENT_MAX)
        return dm_fail(err, DM_ECORRUPT, "", "document has %lld bytes", (long long)st.st_size);
    ptr = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (ptr == MAP_FAILED)
        return dm_fail(err, DM_EIO, "", "can't map the document: %s", strerror(errno));
    *ret = dm_str_n(ptr, (size_t)st.st_size);
    return 0;
}

static int compile_to_file(const struct dm_loader_compile *job, struct dm_str bytes, struct dm_loader_done *done,
                           struct dm_err *err)
{
    struct dm_builder b;
    int rc;

    dm_builder_init(&b);
    if ((rc = dm_loader_compile(job->public_key, bytes, &b, &done->mark, err)) == 0)
        rc = dm_sys_write_file(dm_sys_real(), job->path, dm_buf_str(&b.buf), 0600, false, err);
    done->unit_bytes = b.buf.len;
    dm_builder_done(&b);
    return rc;
}

static void run_job(const struct dm_loader_compile *job, int fd, struct dm_loader_done *done)
{
    struct dm_err err = {0};
    struct dm_str bytes;

    limit_cpu();
    done->code = map_document(fd, &bytes, &err);
    if (done->code == 0) {
        done->code = compile_to_file(job, bytes, done, &err);
        munmap((void *)bytes.ptr, bytes.len);
    }
    memcpy(done->pointer, err.pointer, sizeof(done->pointer));
    memcpy(done->message, err.message, sizeof(done->message));
}

/* --- the channel ------------------------------------------------------------------------------------------------- */

static void answer(struct loader *loader, const struct dm_loader_done *done)
{
    int rc = dm_channel_send(&loader->channel, DM_LOADER_DONE, dm_str_n((const char *)done, sizeof(*done)), -1);

    if (rc < 0) {
        dm_log(DM_LOG_ERROR, "loader_answer_lost", "can't answer the keeper: %s", dm_err_name(rc));
        dm_channel_close(&loader->channel);
    }
}

static void on_message(struct dm_channel *channel, uint32_t type, struct dm_str payload, int fd)
{
    struct loader *loader = DM_CONTAINER_OF(channel, struct loader, channel);
    struct dm_sys *sys = dm_sys_real();
    struct dm_loader_compile job;
    struct dm_loader_done done = {0};
    uint64_t began_ns = sys->ops->mono_ns(sys);

    if (type != DM_LOADER_COMPILE || payload.len != sizeof(job) || fd < 0) {
        dm_log(DM_LOG_ERROR, "loader_message", "unknown message %u of %zu bytes", type, payload.len);
        if (fd >= 0)
            close(fd);
        dm_channel_close(channel);
        return;
    }
    memcpy(&job, payload.ptr, sizeof(job));
    done.id = job.id;
    run_job(&job, fd, &done);
    close(fd);
    done.spent_ns = sys->ops->mono_ns(sys) - began_ns;
    answer(loader, &done);
}

static void on_closed(struct dm_channel *channel, int code)
{
    dm_loop_stop(DM_CONTAINER_OF(channel, struct loader, channel)->loop);
}

int dm_loader_main(const struct dm_gateway_options *options)
{
    struct loader loader = {.channel = {.on_message = on_message, .on_closed = on_closed}};
    int rc;

    dm_log_init("daemun-gateway", "loader", STDERR_FILENO, false, options->log_level);
    dm_log_set_text(options->log_is_text);
    dm_cell_process_disarm();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN); /* a terminal sends it to all; the keeper decides when we end */
    fcntl(DM_LOADER_FD, F_SETFD, FD_CLOEXEC);
    if (dm_crypto_init() < 0)
        return 1;
    loader.loop = dm_loop_new(dm_sys_real());
    set_bounds();
    if ((rc = dm_channel_open(&loader.channel, loader.loop, DM_LOADER_FD, 0)) < 0) {
        dm_log(DM_LOG_ERROR, "loader_start", "is started by the keeper only: %s", strerror(-rc));
        dm_log_drain(1000);
        return 1;
    }
    rc = dm_loop_run(loader.loop);
    dm_loop_free(loader.loop);
    dm_log_drain(1000);
    return rc < 0;
}
