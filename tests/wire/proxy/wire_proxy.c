/* wire_proxy FILE...   runs the cases of the files through a whole worker on loopback sockets. The format is in README.md. */
#include "rig/rig.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"
#include "http_case.h"

#define TEXT_MAX (1u << 20)
#define DEFAULT_ANSWER "HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nhello"
#define DEFAULT_POLICIES                                                                                               \
    "{\"type\":\"api_key\",\"in\":[\"header\",\"query\",\"basic\"],\"header\":\"X-Key\",\"query\":\"key\"}"

static char **files;
static int n_files;

struct play {
    const struct http_case *c;
    struct rig rig;
    struct rig_origin origin;
    struct rig_socket *client;
    struct dm_buf answer, up, down; /* up, down: what came, as lines */
    char port[8], id_prefix[17];
};

/* --- reading the case --------------------------------------------------------------------------------------------- */

static bool word_is(struct dm_str line, const char *word, struct dm_str *ret_rest)
{
    struct dm_str w = dm_str_of(word);

    if (!dm_str_starts(line, w) || (line.len > w.len && line.ptr[w.len] != ' '))
        return false;
    *ret_rest = dm_str_skip(line, w.len + 1);
    return true;
}

static bool find_word(const struct http_case *c, const char *word, struct dm_str *ret)
{
    for (unsigned i = 0; i < c->expect_count; i++)
        if (word_is(c->expect[i], word, ret))
            return true;
    return false;
}

static void unescape(struct dm_str s, struct dm_buf *out)
{
    for (size_t i = 0; i < s.len; i++) {
        char next = i + 1 < s.len ? s.ptr[i + 1] : 0;
        if (s.ptr[i] != '\\' || (next != 'r' && next != 'n' && next != 's')) {
            dm_buf_add_char(out, s.ptr[i]);
            continue;
        }
        dm_buf_add_char(out, next == 'r' ? '\r' : next == 'n' ? '\n' : ' ');
        i++;
    }
}

static void read_answer(struct play *p)
{
    bool is_given = false;
    struct dm_str text;

    for (unsigned i = 0; i < p->c->expect_count; i++)
        if (word_is(p->c->expect[i], "answer", &text)) {
            unescape(text, &p->answer);
            is_given = true;
        }
    if (!is_given)
        unescape(DM_STR(DEFAULT_ANSWER), &p->answer);
    p->origin.answer = dm_buf_str(&p->answer);
    p->origin.closes = find_word(p->c, "closes", &text);
    p->origin.answers_early = find_word(p->c, "early", &text);
}

/* --- the worker's side -------------------------------------------------------------------------------------------- */

static void apply_units(struct play *p)
{
    struct dm_buf body DM_CLEANUP(dm_buf_done);
    struct dm_str policies = DM_STR(DEFAULT_POLICIES), version = DM_STR("/"), base = DM_STR("/"), host = DM_STR("");
    char digest[65];

    (void)find_word(p->c, "policies", &policies);
    (void)find_word(p->c, "version-path", &version);
    (void)find_word(p->c, "base-path", &base);
    (void)find_word(p->c, "host-header", &host);
    dm_buf_init(&body, TEXT_MAX);
    rig_apply(&p->rig, "team", 1, DM_UNIT_GRANTS,
              "{\"state\":\"active\",\"weight\":100,\"domains\":[{\"name\":\"api.test\"}],"
              "\"endpoints\":[{\"address\":\"127.0.0.1\",\"port\":0}]}");
    dm_buf_printf(
        &body,
        "{\"backends\":[{\"name\":\"b\",\"base_path\":\"%.*s\",\"host_header\":\"%.*s\",\"endpoints\":[{\"host\":"
        "\"127.0.0.1\",\"port\":%s}]}],\"products\":[{\"name\":\"p\",\"domains\":[\"api.test\"],\"versions\":[{\"name\":"
        "\"v1\",\"path\":\"%.*s\",\"policies\":[%.*s],\"mapping_rules\":[{\"method\":\"ANY\",\"pattern\":\"/\","
        "\"metric\":\"hits\"}],\"backends\":[{\"path\":\"/\",\"backend\":\"b\"}]}],\"plans\":[{\"name\":\"basic\"}]}]}%c",
        DM_STR_ARG(base), DM_STR_ARG(host), p->port, DM_STR_ARG(version), DM_STR_ARG(policies), 0);
    rig_apply(&p->rig, "team", 1, DM_UNIT_RELEASE, body.ptr);
    rig_digest("good", digest);
    dm_buf_reset(&body);
    dm_buf_printf(
        &body,
        "{\"digest_key_id\":1,\"digest_key\":\"%s\",\"applications\":[{\"id\":1,\"name\":\"app\",\"subscriptions\":[{"
        "\"product\":\"p\",\"plan\":\"basic\"}],\"credentials\":[{\"id\":1,\"name\":\"k\",\"type\":\"api_key\","
        "\"digest\":\"%s\"}]}]}%c",
        "1111111111111111111111111111111111111111111111111111111111111111", digest, 0);
    rig_apply(&p->rig, "team", 1, DM_UNIT_APPLICATIONS, body.ptr);
}

static void set_up(struct play *p)
{
    struct dm_str word;

    rig_init(&p->rig);
    if (find_word(p->c, "trusted", &word)) {
        assert_int_equal(dm_cidr_parse(DM_STR("127.0.0.0/8"), &p->rig.options.listen[0].trusted_fronts.blocks[0], NULL),
                         0);
        p->rig.options.listen[0].trusted_fronts.n = 1;
    }
    dm_buf_init(&p->answer, TEXT_MAX);
    dm_buf_init(&p->up, TEXT_MAX);
    dm_buf_init(&p->down, TEXT_MAX);
    rig_origin_init(&p->rig, &p->origin, DM_STR_NULL);
    read_answer(p);
    snprintf(p->port, sizeof(p->port), "%u", rig_origin_port(&p->origin));
    memcpy(p->id_prefix, p->rig.worker.id_prefix, 16);
    apply_units(p);
}

static void tear_down(struct play *p)
{
    rig_close(&p->rig, p->client);
    rig_settle(&p->rig);
    assert_int_equal(p->rig.worker.n_exchanges, 0);
    rig_origin_done(&p->origin);
    rig_done(&p->rig);
    dm_buf_done(&p->answer);
    dm_buf_done(&p->up);
    dm_buf_done(&p->down);
}

/* --- comparing ---------------------------------------------------------------------------------------------------- */

/* What differs from run to run gets a name. Returns the bytes that it stands for. */
static size_t name_volatile(const struct play *p, struct dm_str at, struct dm_buf *out)
{
    if (dm_str_starts(at, dm_str_of(p->id_prefix)) && at.len >= DM_REQUEST_ID_LEN) {
        dm_buf_add_lit(out, "<id>");
        return DM_REQUEST_ID_LEN;
    }
    if (dm_str_starts(at, DM_STR("127.0.0.1:")) && dm_str_starts(dm_str_skip(at, 10), dm_str_of(p->port))) {
        dm_buf_add_lit(out, "<backend>");
        return 10 + strlen(p->port);
    }
    if (dm_str_starts(at, DM_STR("\r\nDate: ")) && at.len > 8 + DM_HTTP_DATE_LEN) {
        dm_buf_add_lit(out, "\nDate: <date>");
        return 8 + DM_HTTP_DATE_LEN;
    }
    return 0;
}

static void as_lines(const struct play *p, struct dm_str bytes, struct dm_buf *out)
{
    for (size_t i = 0; i < bytes.len;) {
        size_t n = name_volatile(p, dm_str_skip(bytes, i), out);
        if (n == 0 && dm_str_starts(dm_str_skip(bytes, i), DM_STR("\r\n"))) {
            dm_buf_add_char(out, '\n');
            n = 2;
        } else if (n == 0) {
            dm_buf_add_char(out, bytes.ptr[i]);
            n = 1;
        }
        i += n;
    }
}

static bool same_lines(const struct http_case *c, const char *word, struct dm_str text)
{
    struct dm_buf expected DM_CLEANUP(dm_buf_done);
    struct dm_str line;
    bool is_same;

    dm_buf_init(&expected, TEXT_MAX);
    for (unsigned i = 0; i < c->expect_count; i++)
        if (word_is(c->expect[i], word, &line)) {
            if (expected.len > 0 || (i > 0 && word_is(c->expect[i - 1], word, &(struct dm_str){0})))
                dm_buf_add_char(&expected, '\n');
            dm_buf_add(&expected, line);
        }
    while (text.len > 0 && text.ptr[text.len - 1] == '\n')
        text.len--;
    while (expected.len > 0 && expected.ptr[expected.len - 1] == '\n')
        expected.len--;
    is_same = dm_str_eq(dm_buf_str(&expected), text);
    if (!is_same)
        printf("not ok %.*s: %s is\n%.*s\n-- expected\n%.*s\n", DM_STR_ARG(c->name), word, DM_STR_ARG(text),
               DM_STR_ARG(dm_buf_str(&expected)));
    return is_same;
}

/* "has TEXT", "has-not TEXT": somewhere in what the client got. */
static bool has_all(const struct play *p)
{
    struct dm_str text;
    bool ok = true;

    for (unsigned i = 0; i < p->c->expect_count; i++) {
        bool wants = word_is(p->c->expect[i], "has", &text);
        if (!wants && !word_is(p->c->expect[i], "has-not", &text))
            continue;
        if ((memmem(p->down.ptr ? p->down.ptr : "", p->down.len, text.ptr, text.len) != NULL) != wants) {
            printf("not ok %.*s: the client got\n%.*s\n-- expected it %s\n%.*s\n", DM_STR_ARG(p->c->name),
                   DM_STR_ARG(dm_buf_str(&p->down)), wants ? "to hold" : "not to hold", DM_STR_ARG(text));
            ok = false;
        }
    }
    return ok;
}

static bool matches(struct play *p)
{
    struct dm_str word;
    bool ok;

    as_lines(p, dm_buf_str(&p->origin.received), &p->up);
    as_lines(p, dm_buf_str(&p->client->received), &p->down);
    ok = has_all(p);
    if (find_word(p->c, "nothing-up", &word) && p->origin.received.len + p->origin.n_sockets > 0) {
        printf("not ok %.*s: the backend got\n%.*s\n", DM_STR_ARG(p->c->name), DM_STR_ARG(dm_buf_str(&p->up)));
        ok = false;
    }
    if (find_word(p->c, "up", &word))
        ok = same_lines(p->c, "up", dm_buf_str(&p->up)) && ok;
    if (find_word(p->c, "client", &word))
        ok = same_lines(p->c, "client", dm_buf_str(&p->down)) && ok;
    if (p->origin.n_bad > 0) {
        printf("not ok %.*s: the backend got what is no request\n%.*s\n", DM_STR_ARG(p->c->name),
               DM_STR_ARG(dm_buf_str(&p->up)));
        ok = false;
    }
    return ok && p->c->expect_count > 0;
}

/* piece 0: whole. */
static bool run(const struct http_case *c, size_t piece)
{
    struct play *p = dm_calloc(1, sizeof(*p));
    struct dm_str input = dm_buf_str(&c->input);
    bool ok;

    p->c = c;
    set_up(p);
    p->client = rig_connect(&p->rig);
    for (size_t n = piece ? piece : input.len; input.len > 0 && !p->client->has_eof; input = dm_str_skip(input, n)) {
        rig_send(p->client, dm_str_n(input.ptr, DM_MIN(n, input.len)));
        if (piece)
            rig_settle(&p->rig);
    }
    rig_settle(&p->rig);
    dm_stream_shutdown(&p->client->stream);
    rig_expect_end(&p->rig, p->client);
    rig_settle(&p->rig);
    ok = matches(p);
    tear_down(p);
    dm_free(p);
    return ok;
}

static void test_cases(void **state)
{
    unsigned ran = 0, failed = 0;
    struct http_case c;
    int rc = 0;

    (void)state;
    for (int i = 0; i < n_files; i++) {
        struct dm_str file = http_case_file(files[i]), text = file;
        for (; (rc = http_case_next(&text, &c)) > 0; ran++) {
            failed += !run(&c, 0) || (c.input.len < 1000 && !run(&c, 7));
            dm_buf_done(&c.input);
        }
        assert_int_equal(rc, 0);
        dm_free((void *)(uintptr_t)file.ptr);
    }
    printf("%u cases, %u failed\n", ran, failed);
    assert_true(ran >= 40);
    assert_int_equal(failed, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases)};

    files = argv + 1;
    n_files = argc - 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
