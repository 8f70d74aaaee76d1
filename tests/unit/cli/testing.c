#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "testing.h"

#include "cli/cli.h"
#include "base/buf.h"
#include "base/mem.h"

#define ENV_MAX 16
#define ARGS_MAX 32
#define REQUESTS_MAX (1u << 20)

static char dir[64];
static struct {
    const char *name;
    char value[512];
} env_entries[ENV_MAX];

/* --- the world ---------------------------------------------------------------------------------------------------- */

static const char *env(const char *name)
{
    for (size_t i = 0; i < ENV_MAX; i++)
        if (env_entries[i].name && strcmp(env_entries[i].name, name) == 0)
            return env_entries[i].value;
    return NULL;
}

void set_env(const char *name, const char *value)
{
    size_t at = 0;

    for (size_t i = 0; i < ENV_MAX; i++)
        if (env_entries[i].name && strcmp(env_entries[i].name, name) == 0)
            env_entries[i].name = NULL;
    while (env_entries[at].name)
        at++;
    assert_true(at < ENV_MAX);
    env_entries[at].name = value ? name : NULL;
    snprintf(env_entries[at].value, sizeof(env_entries[at].value), "%s", value ? value : "");
}

static int run_streams(const char *in, int n_args, const char *const *args, struct result *ret)
{
    size_t out_len, err_len;
    struct dm_cli_world world = {.env = env};
    int code;

    world.in = fmemopen((void *)(uintptr_t)(in[0] ? in : "\n"), in[0] ? strlen(in) : 1, "r");
    world.out = open_memstream(&ret->out, &out_len);
    world.err = open_memstream(&ret->err, &err_len);
    code = dm_cli_run(&world, n_args, args);
    fclose(world.in);
    fclose(world.out);
    fclose(world.err);
    return code;
}

const struct result *run_with(const char *in, ...)
{
    static struct result result;
    const char *args[ARGS_MAX];
    int n = 0;
    va_list list;

    free(result.out);
    free(result.err);
    va_start(list, in);
    while ((args[n] = va_arg(list, const char *)) && n < ARGS_MAX - 1)
        n++;
    va_end(list);
    result.code = run_streams(in, n, args, &result);
    return &result;
}

void assert_has_at(const char *text, const char *part, const char *file, int line)
{
    if (strstr(text, part))
        return;
    print_error("expected \"%s\" in:\n%s\n", part, text);
    _fail(file, line);
}

/* --- files -------------------------------------------------------------------------------------------------------- */

int set_up(void **state)
{
    snprintf(dir, sizeof(dir), "/tmp/dm-cli-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    set_env("HOME", dir);
    return 0;
}

int tear_down(void **state)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    return system(command);
}

const char *in_dir(const char *name)
{
    static char paths[8][256];
    static unsigned at;
    char *ret = paths[at++ % DM_COUNT(paths)];

    snprintf(ret, sizeof(paths[0]), "%s/%s", dir, name);
    return ret;
}

void write_file(const char *name, const char *text)
{
    FILE *file = fopen(in_dir(name), "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

void read_file(const char *path, char *ret, size_t max)
{
    FILE *file = fopen(path, "r");
    size_t n;

    assert_non_null(file);
    n = fread(ret, 1, max - 1, file);
    ret[n] = '\0';
    fclose(file);
}

/* --- the script --------------------------------------------------------------------------------------------------- */

static struct {
    const struct exchange *exchanges;
    size_t n, n_done;
    int fd;
    pthread_t thread;
    struct dm_buf requests;
    char failure[4096];
} stage;

static size_t content_length(const char *head)
{
    const char *field = strcasestr(head, "\ncontent-length:");

    return field ? strtoul(field + 16, NULL, 10) : 0;
}

/* Head and body, NUL-terminated. */
static void receive(int fd, struct dm_buf *ret)
{
    char bytes[4096], *end;
    ssize_t n;

    dm_buf_init(ret, REQUESTS_MAX);
    while ((n = read(fd, bytes, sizeof(bytes))) > 0) {
        dm_buf_add_n(ret, bytes, (size_t)n);
        dm_buf_add_char(ret, '\0');
        ret->len--;
        end = strstr(ret->ptr, "\r\n\r\n");
        if (end && ret->len - (size_t)(end + 4 - ret->ptr) >= content_length(ret->ptr))
            return;
    }
}

static void answer(int fd, const struct exchange *exchange)
{
    dprintf(fd, "HTTP/1.1 %d Scripted\r\nContent-Length: %zu\r\nConnection: close\r\nContent-Type: %s\r\n\r\n%s",
            exchange->status, strlen(exchange->body),
            exchange->status < 400 ? "application/json" : "application/problem+json", exchange->body);
}

static void *play(void *arg)
{
    for (; stage.n_done < stage.n; stage.n_done++) {
        const struct exchange *exchange = &stage.exchanges[stage.n_done];
        struct dm_buf request;
        int fd = accept(stage.fd, NULL, NULL);

        if (fd < 0)
            return NULL;
        receive(fd, &request);
        dm_buf_add(&stage.requests, dm_buf_str(&request));
        if (!stage.failure[0] && (request.len == 0 || !strstr(request.ptr, exchange->request)))
            snprintf(stage.failure, sizeof(stage.failure), "expected \"%s\" in:\n%.*s", exchange->request,
                     DM_STR_ARG(dm_buf_str(&request)));
        answer(fd, exchange);
        close(fd);
        dm_buf_done(&request);
    }
    return NULL;
}

const char *script_begin(const struct exchange *exchanges, size_t n)
{
    static struct exchange kept[16];
    static char url[64];
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);

    assert_true(n <= DM_COUNT(kept));
    memcpy(kept, exchanges, n * sizeof(kept[0]));
    stage.exchanges = kept;
    stage.n = n;
    stage.n_done = 0;
    stage.failure[0] = '\0';
    dm_buf_done(&stage.requests);
    dm_buf_init(&stage.requests, REQUESTS_MAX);
    stage.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(stage.fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(stage.fd, 8), 0);
    assert_int_equal(getsockname(stage.fd, (struct sockaddr *)&addr, &len), 0);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", ntohs(addr.sin_port));
    set_env("DAEMUN_SERVER", url);
    set_env("DAEMUN_TOKEN", "dmt_test");
    assert_int_equal(pthread_create(&stage.thread, NULL, play, NULL), 0);
    return url;
}

const char *script_end(void)
{
    shutdown(stage.fd, SHUT_RDWR);
    pthread_join(stage.thread, NULL);
    close(stage.fd);
    dm_buf_add_char(&stage.requests, '\0');
    if (stage.failure[0])
        fail_msg("%s", stage.failure);
    if (stage.n_done != stage.n)
        fail_msg("%zu of %zu exchanges came; the next was \"%s\"", stage.n_done, stage.n,
                 stage.exchanges[stage.n_done].request);
    return stage.requests.ptr;
}
