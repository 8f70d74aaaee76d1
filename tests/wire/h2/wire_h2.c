/* wire_h2 FILE...   runs cases of HTTP/2 through a whole worker on loopback sockets. The format is in README.md. */
#include "rig/stage.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"
#include "case_file.h"
#include "h2/frame.h"
#include "h2_case.h"

#define TEXT_MAX (1u << 20)
#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
enum { HEAD_BYTES = 9, PIECE = 5, WAIT_MS = 20, TURNS_MAX = 100, CASES_MIN = 150 };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };

static char **files;
static int n_files;

struct play {
    const struct h2_case *c;
    struct stage *stage;
    struct rig_socket *client;
    nghttp2_hd_inflater *inflater;
    struct dm_buf out, seen, expected; /* the latter two: an event a line */
    size_t parsed, n_seen, n_expected, piece;
    bool is_ended;
};

/* --- what came ---------------------------------------------------------------------------------------------------- */

static void see(struct play *p, const char *fmt, ...) DM_PRINTF(2, 3);
static void see(struct play *p, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    dm_buf_vprintf(&p->seen, fmt, args);
    va_end(args);
    dm_buf_add_char(&p->seen, '\n');
    p->n_seen++;
}

static void take_status(void *arg, struct dm_str name, struct dm_str value)
{
    if (dm_str_eq(name, DM_STR(":status")) && value.len == 3)
        memcpy(arg, value.ptr, 3);
}

static void see_head(struct play *p, uint32_t id, const uint8_t *ptr, size_t len, const char *end)
{
    char status[4] = "-";

    assert_true(inflate_block(p->inflater, ptr, len, take_status, status));
    if (!p->c->is_quiet)
        see(p, "HEADERS %u %s%s", id, status, end);
}

static void see_frame(struct play *p, const uint8_t *frame, size_t len)
{
    const uint8_t *payload = frame + HEAD_BYTES;
    uint32_t id = u32_at(frame + 5) & 0x7fffffff;
    const char *end = frame[4] & END_STREAM ? " end" : "", *ack = frame[4] & ACK ? " ack" : "";

    switch (frame[3]) {
    case NGHTTP2_DATA:
        if (!p->c->is_quiet)
            see(p, "DATA %u %zu%s", id, len, end);
        break;
    case NGHTTP2_HEADERS:
        assert_true(frame[4] & END_HEADERS);
        see_head(p, id, payload, len, end);
        break;
    case NGHTTP2_RST_STREAM: see(p, "RST_STREAM %u %s", id, h2_code_name(u32_at(payload))); break;
    case NGHTTP2_SETTINGS: see(p, "SETTINGS%s", ack); break;
    case NGHTTP2_PING: see(p, "PING%s %.8s", ack, (const char *)payload); break;
    case NGHTTP2_GOAWAY: see(p, "GOAWAY %s", h2_code_name(u32_at(payload + 4))); break;
    case NGHTTP2_WINDOW_UPDATE: break; /* credit is given when it is due; that it comes is another test's */
    default: see(p, "type %u", frame[3]);
    }
}

static void look(struct play *p)
{
    const struct dm_buf *got = &p->client->received;

    while (got->len >= p->parsed + HEAD_BYTES) {
        const uint8_t *frame = (const uint8_t *)got->ptr + p->parsed;
        size_t len = u32_at(frame) >> 8;
        if (got->len < p->parsed + HEAD_BYTES + len)
            break;
        see_frame(p, frame, len);
        p->parsed += HEAD_BYTES + len;
    }
    if ((p->client->has_eof || p->client->is_failed) && !p->is_ended) {
        p->is_ended = true;
        see(p, "closed");
    }
}

static void settle(struct play *p)
{
    rig_settle(&p->stage->rig);
    look(p);
}

static void await(struct play *p, size_t n)
{
    settle(p);
    for (int i = 0; i < TURNS_MAX && p->n_seen < n && !p->is_ended; i++) {
        assert_true(dm_loop_turn(p->stage->rig.worker.loop, WAIT_MS) >= 0);
        look(p);
    }
    settle(p);
}

/* --- what is sent ------------------------------------------------------------------------------------------------- */

static void flush(struct play *p)
{
    struct dm_str rest = dm_buf_str(&p->out);
    size_t n = p->piece ? p->piece : rest.len;

    for (; rest.len > 0 && !p->is_ended; rest = dm_str_skip(rest, n)) {
        rig_send(p->client, dm_str_n(rest.ptr, DM_MIN(n, rest.len)));
        if (p->piece)
            settle(p);
    }
    dm_buf_reset(&p->out);
}

static void forget(struct play *p)
{
    dm_buf_reset(&p->seen);
    p->n_seen = 0;
}

static void shake_hands(struct play *p)
{
    size_t piece = p->piece;

    p->piece = 0;
    dm_buf_add_lit(&p->out, PREFACE);
    assert_true(h2_line_bytes(DM_STR("SETTINGS 0"), &p->out));
    assert_true(h2_line_bytes(DM_STR("SETTINGS 0 ack"), &p->out));
    flush(p);
    await(p, 2);
    p->piece = piece;
    forget(p);
}

/* --- comparing ---------------------------------------------------------------------------------------------------- */

/* In pieces, answers may come before what ends their connection. */
static bool counts_in_pieces(struct dm_str line)
{
    return dm_str_starts(line, DM_STR("GOAWAY")) || dm_str_starts(line, DM_STR("RST_STREAM")) ||
           dm_str_starts(line, DM_STR("closed")) || dm_str_starts(line, DM_STR("PING"));
}

static void lines_of(const struct play *p, const struct dm_buf *text, struct dm_buf *ret)
{
    struct dm_str rest = dm_buf_str(text), line;

    dm_buf_init(ret, TEXT_MAX);
    while (dm_str_cut(&rest, '\n', &line))
        if (line.len > 0 && (!p->piece || counts_in_pieces(line))) {
            dm_buf_add(ret, line);
            dm_buf_add_char(ret, '\n');
        }
}

static bool is_as_expected(const struct play *p)
{
    struct dm_buf seen DM_CLEANUP(dm_buf_done), expected DM_CLEANUP(dm_buf_done);
    bool ok;

    lines_of(p, &p->seen, &seen);
    lines_of(p, &p->expected, &expected);
    ok = dm_str_eq(dm_buf_str(&seen), dm_buf_str(&expected));
    if (!ok)
        printf("not ok %.*s%s: came\n%.*s-- expected\n%.*s", DM_STR_ARG(p->c->name), p->piece ? " (in pieces)" : "",
               DM_STR_ARG(dm_buf_str(&seen)), DM_STR_ARG(dm_buf_str(&expected)));
    return ok;
}

/* Whole: what came between two sendings is what was expected there. */
static bool check_so_far(struct play *p)
{
    bool ok;

    if (p->n_expected == 0)
        return true;
    await(p, p->n_expected);
    ok = is_as_expected(p);
    forget(p);
    dm_buf_reset(&p->expected);
    p->n_expected = 0;
    return ok;
}

static bool play_steps(struct play *p)
{
    for (size_t i = 0; i < p->c->n_steps; i++) {
        const struct h2_step *step = &p->c->steps[i];
        if (step->is_expected) {
            flush(p);
            dm_buf_add(&p->expected, step->text);
            dm_buf_add_char(&p->expected, '\n');
            p->n_expected++;
        } else if ((!p->piece && !check_so_far(p)) || !h2_line_bytes(step->text, &p->out)) {
            return false;
        } else if (p->piece && i > 0 && p->c->steps[i - 1].is_expected) {
            settle(p);
        }
    }
    flush(p);
    await(p, p->n_expected);
    return is_as_expected(p);
}

static bool has_expected(const struct play *p, const char *word, unsigned code, size_t *ret_times)
{
    *ret_times = 0;
    for (size_t i = 0; i < p->c->n_steps; i++) {
        struct dm_str text = p->c->steps[i].text;
        if (p->c->steps[i].is_expected && dm_str_starts(text, dm_str_of(word)) &&
            dm_str_ends(text, dm_str_of(h2_code_name(code))))
            ++*ret_times;
    }
    return *ret_times > 0;
}

/* Each GOAWAY and each reset stands in the counters by its code; the end of a connection has a name there besides. */
static bool is_counted(const struct play *p)
{
    const struct dm_http2_counters *c = dm_http_server_http2_counters(p->stage->rig.worker.listeners[0].server);
    const uint64_t *named = (const uint64_t *)(const void *)c;
    size_t n_ends = 0, n = 0, n_named = 0;
    bool ok = true;

    for (unsigned code = 0; code < DM_HTTP2_CODE_COUNT; code++) {
        (void)has_expected(p, "RST_STREAM", code, &n);
        ok = ok && c->resets[code] == n;
        n_ends += has_expected(p, "GOAWAY", code, &n) && code > 0;
        ok = ok && c->goaways[code] == n;
    }
    for (size_t i = 0; i < DM_HTTP2_COUNTER_COUNT; i++)
        n_named += named[i];
    ok = ok && n_named >= n_ends;
    if (!ok)
        printf("not ok %.*s: it is not counted so\n", DM_STR_ARG(p->c->name));
    return ok;
}

/* --- one case ----------------------------------------------------------------------------------------------------- */

static void begin(struct play *p, void **stage)
{
    assert_int_equal(stage_setup(stage), 0);
    p->stage = *stage;
    stage_apply(p->stage, &(struct stage_release){0});
    dm_buf_init(&p->out, TEXT_MAX);
    dm_buf_init(&p->seen, TEXT_MAX);
    dm_buf_init(&p->expected, TEXT_MAX);
    assert_int_equal(nghttp2_hd_inflate_new(&p->inflater), 0);
    p->client = rig_connect(&p->stage->rig);
    settle(p);
}

static void end(struct play *p, void **stage)
{
    rig_close(&p->stage->rig, p->client);
    rig_settle(&p->stage->rig);
    assert_int_equal(stage_teardown(stage), 0);
    nghttp2_hd_inflate_del(p->inflater);
    dm_buf_done(&p->out);
    dm_buf_done(&p->seen);
    dm_buf_done(&p->expected);
}

/* piece 0: whole. */
static bool run(const struct h2_case *c, size_t piece)
{
    struct play p = {.c = c, .piece = piece};
    void *stage = NULL;
    bool ok;

    begin(&p, &stage);
    if (!c->is_bare)
        shake_hands(&p);
    ok = play_steps(&p) && is_counted(&p);
    end(&p, &stage);
    return ok;
}

static void test_cases(void **state)
{
    unsigned ran = 0, failed = 0;
    struct h2_case c;
    int rc = 0;

    for (int i = 0; i < n_files; i++) {
        struct dm_str file = case_file(files[i]), text = file;
        for (; (rc = h2_case_next(&text, &c)) > 0; ran++)
            failed += !run(&c, 0) || (!c.is_whole && !run(&c, PIECE));
        assert_int_equal(rc, 0);
        dm_free((void *)(uintptr_t)file.ptr);
    }
    printf("%u cases, %u failed\n", ran, failed);
    assert_true(ran >= CASES_MIN);
    assert_int_equal(failed, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases)};

    files = argv + 1;
    n_files = argc - 1;
    return cmocka_run_group_tests_name("wire_h2", tests, NULL, NULL);
}
