/* Compression through a whole worker: what was sent is what is read, at every level and however it comes in pieces; memory stays
 * within reservations and shares; slow readers, pauses, trailers, cuts. */
#include "rig/stage.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <brotli/decode.h>
#include <zlib.h>

#include "base/mem.h"

#define BODY_MAX (48u << 20)
#define KEY STAGE_KEY "Connection: close\r\n"

static uint64_t seed = 3;

static unsigned any(unsigned n)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (unsigned)(seed >> 33) % n;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* The body behind the head, chunks joined; is_complete: the last chunk came. */
static bool body_of(struct dm_str message, struct dm_buf *ret)
{
    const char *end = memmem(message.ptr, message.len, "\r\n\r\n", 4);
    struct dm_str rest;

    assert_non_null(end);
    rest = dm_str_skip(message, (size_t)(end + 4 - message.ptr));
    for (;;) {
        size_t line = dm_str_find(rest, '\n');
        unsigned long size = line < rest.len ? strtoul(rest.ptr, NULL, 16) : 0;
        if (line == rest.len)
            return false;
        rest = dm_str_skip(rest, line + 1);
        if (size == 0)
            return true;
        dm_buf_add(ret, dm_str_n(rest.ptr, DM_MIN(size, rest.len)));
        if (rest.len < size + 2)
            return false;
        rest = dm_str_skip(rest, size + 2);
    }
}

/* As far as it goes; true when the encoding is complete too. */
static bool gunzip(struct dm_str in, struct dm_buf *out)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)in.ptr, .avail_in = (uInt)in.len};
    static char room[65536];
    int rc;

    assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
    do {
        z.next_out = (Bytef *)room;
        z.avail_out = sizeof(room);
        rc = inflate(&z, Z_NO_FLUSH);
        assert_true(rc == Z_OK || rc == Z_STREAM_END || rc == Z_BUF_ERROR);
        dm_buf_add_n(out, room, sizeof(room) - z.avail_out);
    } while (rc == Z_OK);
    assert_true(rc != Z_STREAM_END || z.avail_in == 0);
    inflateEnd(&z);
    return rc == Z_STREAM_END;
}

static bool unbrotli(struct dm_str in, struct dm_buf *out)
{
    BrotliDecoderState *state = BrotliDecoderCreateInstance(NULL, NULL, NULL);
    const uint8_t *next = (const uint8_t *)in.ptr;
    size_t left = in.len;
    BrotliDecoderResult rc;
    static uint8_t room[65536];

    do {
        size_t space = sizeof(room);
        uint8_t *at = room;
        rc = BrotliDecoderDecompressStream(state, &left, &next, &space, &at, NULL);
        assert_int_not_equal(rc, BROTLI_DECODER_RESULT_ERROR);
        dm_buf_add_n(out, room, sizeof(room) - space);
    } while (rc == BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT);
    assert_int_equal(left, 0);
    BrotliDecoderDestroyInstance(state);
    return rc == BROTLI_DECODER_RESULT_SUCCESS;
}

/* What the client got, decoded; true when message and encoding are both complete. */
static bool decoded(const struct rig_socket *c, struct dm_buf *ret)
{
    struct dm_buf body DM_CLEANUP(dm_buf_done);
    bool is_whole, is_br = rig_count(dm_buf_str(&c->received), "Content-Encoding: br\r\n") == 1;

    dm_buf_init(&body, BODY_MAX);
    dm_buf_init(ret, BODY_MAX);
    is_whole = body_of(dm_buf_str(&c->received), &body);
    assert_true(is_br || rig_count(dm_buf_str(&c->received), "Content-Encoding: gzip\r\n") == 1);
    return (is_br ? unbrotli(dm_buf_str(&body), ret) : gunzip(dm_buf_str(&body), ret)) && is_whole;
}

static void assert_decoded(const struct rig_socket *c, struct dm_str wanted)
{
    struct dm_buf got DM_CLEANUP(dm_buf_done);

    assert_true(decoded(c, &got));
    assert_int_equal(got.len, wanted.len);
    assert_memory_equal(got.ptr, wanted.ptr, wanted.len);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void apply(struct stage *s, const char *members)
{
    char policies[200];
    struct stage_release r = {.policies = policies,
                              .backend = ",\"breaker\":{\"mode\":\"closed\"}"}; /* backends are cut off here */

    snprintf(policies, sizeof(policies), ",{\"type\":\"compression\"%s}", members);
    stage_apply(s, &r);
}

/* Half words that come again, half letters that do not. */
static void fill(struct dm_buf *body, size_t bytes, unsigned noise)
{
    static const char *const words[] = {"\"name\":", "\"value\":", "true,", "null,", "{\"id\":17},", "[1,2,3]"};

    while (body->len < bytes)
        if (any(100) < noise)
            dm_buf_add_char(body, (char)(' ' + any(95)));
        else
            dm_buf_add(body, dm_str_of(words[any(DM_COUNT(words))]));
    body->len = bytes;
}

static void set_answer(struct stage *s, struct dm_buf *answer, struct dm_str body)
{
    dm_buf_init(answer, BODY_MAX);
    dm_buf_printf(answer, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", body.len);
    dm_buf_add(answer, body);
    s->origin.answer = dm_buf_str(answer);
}

static void run_to_end(struct stage *s, struct rig_socket *c)
{
    rig_expect_end(&s->rig, c);
    rig_settle(&s->rig);
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

static void try_level(struct stage *s, const char *coding, enum dm_ucoding id, unsigned level, struct dm_str body)
{
    char members[64], request[200];
    struct dm_buf answer;
    struct rig_socket *c;

    snprintf(members, sizeof(members), ",\"level\":%u", level);
    apply(s, level > 0 ? members : "");
    set_answer(s, &answer, body);
    snprintf(request, sizeof(request), STAGE_GET("/", KEY "Accept-Encoding: %s\r\n"), coding);
    c = rig_connect(&s->rig);
    rig_send(c, dm_str_of(request));
    run_to_end(s, c);
    assert_decoded(c, body);
    assert_true(c->received.len < body.len);
    if (dm_encoders_used_max(s->rig.worker.encoders) > dm_encoder_bytes(id, level))
        fail_msg("%s %u used %zu", coding, level, dm_encoders_used_max(s->rig.worker.encoders));
    rig_close(&s->rig, c);
    dm_buf_done(&answer);
}

/* Reservations grow from case to case, so the most that was ever in use is this case's or below. */
static void test_every_level(void **state)
{
    static const struct {
        const char *coding;
        enum dm_ucoding id;
        unsigned level;
    } cases[] = {{"gzip", DM_UCODING_GZIP, 0}, {"gzip", DM_UCODING_GZIP, 1}, {"gzip", DM_UCODING_GZIP, 9},
                 {"br", DM_UCODING_BR, 1},     {"br", DM_UCODING_BR, 2},     {"br", DM_UCODING_BR, 0},
                 {"br", DM_UCODING_BR, 4},     {"br", DM_UCODING_BR, 5},     {"br", DM_UCODING_BR, 9}};
    static const unsigned noises[] = {2, 40, 80};
    struct stage *s = *state;

    for (size_t i = 0; i < DM_COUNT(cases); i++)
        for (size_t n = 0; n < DM_COUNT(noises); n++) {
            struct dm_buf body;
            dm_buf_init(&body, BODY_MAX);
            fill(&body, 700000, noises[n]);
            try_level(s, cases[i].coding, cases[i].id, cases[i].level, dm_buf_str(&body));
            dm_buf_done(&body);
        }
    assert_true(stage_counters(s)->compression_bytes_in == 700000 * DM_COUNT(cases) * DM_COUNT(noises));
    assert_true(stage_counters(s)->compression_bytes_out < stage_counters(s)->compression_bytes_in);
}

static struct rig_socket *begin_stream(struct stage *s, const char *coding)
{
    char request[200];
    struct rig_socket *c = rig_connect(&s->rig);
    size_t before = s->origin.n_requests;

    s->origin.answer = DM_STR_NULL;
    snprintf(request, sizeof(request), STAGE_GET("/", STAGE_KEY "Accept-Encoding: %s\r\n"), coding);
    rig_send(c, dm_str_of(request));
    while (s->origin.n_requests == before)
        assert_true(dm_loop_turn(s->rig.worker.loop, 1000) >= 0);
    return c;
}

static void origin_sends(struct stage *s, const char *text)
{
    rig_send(s->origin.sockets[s->origin.n_sockets - 1], dm_str_of(text));
    rig_settle(&s->rig);
}

#define STREAM_HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"

static void test_a_pause_brings_out_what_came(void **state)
{
    static const char *const codings[] = {"gzip", "br"};
    struct stage *s = *state;

    apply(s, "");
    for (size_t i = 0; i < DM_COUNT(codings); i++) {
        struct rig_socket *c = begin_stream(s, codings[i]);
        struct dm_buf got;

        origin_sends(s, STREAM_HEAD "6\r\n{\"a\":1\r\n");
        assert_false(decoded(c, &got));
        assert_true(dm_str_eq(dm_buf_str(&got), DM_STR("{\"a\":1")));
        dm_buf_done(&got);
        origin_sends(s, "2\r\n}\n\r\n");
        assert_false(decoded(c, &got));
        assert_true(dm_str_eq(dm_buf_str(&got), DM_STR("{\"a\":1}\n")));
        dm_buf_done(&got);
        origin_sends(s, "0\r\nX-Sum: 7\r\nContent-Digest: sha-256=:AA==:\r\nETag: \"a\"\r\n\r\n");
        assert_decoded(c, DM_STR("{\"a\":1}\n"));
        assert_int_equal(rig_count(dm_buf_str(&c->received), "X-Sum: 7\r\n"), 1);
        assert_int_equal(rig_count(dm_buf_str(&c->received), "Digest"), 0);
        assert_int_equal(rig_count(dm_buf_str(&c->received), "ETag"), 0);
        rig_close(&s->rig, c);
    }
}

/* A body that is there at once is one piece: no flush makes it longer. */
static void test_no_flush_in_a_body_at_once(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c;

    apply(s, ",\"min_bytes\":0");
    s->origin.answer = DM_STR(STREAM_HEAD "4\r\nabcd\r\n0\r\n\r\n");
    c = stage_ask(s, STAGE_GET("/", STAGE_KEY "Accept-Encoding: gzip\r\n"), "0\r\n\r\n");
    assert_decoded(c, DM_STR("abcd"));
    assert_null(memmem(c->received.ptr, c->received.len, "\0\0\377\377", 4));
    rig_close(&s->rig, c);
}

static void test_slow_reader(void **state)
{
    struct stage *s = *state;
    struct dm_buf body, answer;
    struct rig_socket *c;

    apply(s, ",\"level\":1");
    dm_buf_init(&body, BODY_MAX);
    fill(&body, BODY_MAX - 1000, 95);
    set_answer(s, &answer, dm_buf_str(&body));
    c = rig_connect(&s->rig);
    dm_stream_pause(&c->stream);
    rig_send(c, DM_STR(STAGE_GET("/", KEY "Accept-Encoding: br, gzip\r\n")));
    rig_settle(&s->rig);
    assert_true(dm_stream_unsent(&s->origin.sockets[0]->stream) > body.len / 4); /* it waits at the backend */
    dm_stream_resume(&c->stream);
    run_to_end(s, c);
    assert_decoded(c, dm_buf_str(&body));
    rig_close(&s->rig, c);
    dm_buf_done(&answer);
    dm_buf_done(&body);
}

static void test_cut_backend_is_a_cut(void **state)
{
    struct stage *s = *state;
    struct dm_buf got;
    struct rig_socket *c;

    apply(s, "");
    c = begin_stream(s, "gzip");
    origin_sends(s, STREAM_HEAD "6\r\n{\"a\":1\r\n");
    dm_stream_close(&s->origin.sockets[s->origin.n_sockets - 1]->stream);
    run_to_end(s, c);
    assert_false(decoded(c, &got));
    assert_true(dm_str_eq(dm_buf_str(&got), DM_STR("{\"a\":1")));
    assert_int_equal(rig_count(dm_buf_str(&c->received), "\r\n0\r\n"), 0);
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_BACKEND_CLOSED], 1);
    dm_buf_done(&got);
    rig_close(&s->rig, c);
}

static void origin_ends(struct stage *s, size_t i)
{
    dm_stream_close(&s->origin.sockets[i]->stream);
    rig_settle(&s->rig);
}

/* A tenant at its share sends as it is, and compresses again when something ended. */
static void test_memory_is_shared(void **state)
{
    enum { N = DM_ENCODERS_TENANT_BYTES_MAX / (5u << 19) };
    struct stage *s = *state;
    struct rig_socket *c[N + 1];
    struct dm_tenant_counters *counters;

    apply(s, ",\"level\":5");
    counters = stage_counters(s);
    assert_int_equal(dm_encoder_bytes(DM_UCODING_BR, 5), 5u << 19);
    for (unsigned i = 0; i < N + 1; i++) {
        c[i] = begin_stream(s, "br");
        origin_sends(s, STREAM_HEAD "3\r\nabc\r\n");
        assert_int_equal(rig_count(dm_buf_str(&c[i]->received), "Content-Encoding: br"), i < N);
        assert_int_equal(rig_count(dm_buf_str(&c[i]->received), "Vary: Accept-Encoding"), 1);
    }
    assert_int_equal(counters->compression_skipped, 1);
    for (unsigned i = 0; i < N + 1; i++)
        origin_ends(s, i);
    for (unsigned i = 0; i < N + 1; i++)
        rig_close(&s->rig, c[i]);
    c[0] = begin_stream(s, "br");
    origin_sends(s, STREAM_HEAD "3\r\nabc\r\n");
    assert_int_equal(rig_count(dm_buf_str(&c[0]->received), "Content-Encoding: br"), 1);
    origin_ends(s, s->origin.n_sockets - 1);
    rig_close(&s->rig, c[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_level, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_a_pause_brings_out_what_came, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_no_flush_in_a_body_at_once, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_slow_reader, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_cut_backend_is_a_cut, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_memory_is_shared, stage_setup, stage_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
