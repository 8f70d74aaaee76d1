#include "play.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"

#define DEFAULT_ANSWER "HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nhello"
#define DEFAULT_FRAMES "headers $ :status: 200 | content-length: 5\ndata $ end hello\n"
#define CLEAN_ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nclean"
#define DEFAULT_POLICIES                                                                                               \
    "{\"type\":\"api_key\",\"in\":[\"header\",\"query\",\"basic\"],\"header\":\"X-Key\",\"query\":\"key\"}"
#define NEXT_STREAM 101

/* --- reading the case --------------------------------------------------------------------------------------------- */

bool play_word_is(struct dm_str line, const char *word, struct dm_str *ret_rest)
{
    struct dm_str w = dm_str_of(word);

    if (!dm_str_starts(line, w) || (line.len > w.len && line.ptr[w.len] != ' '))
        return false;
    *ret_rest = dm_str_skip(line, w.len + 1);
    return true;
}

bool play_find_word(const struct http_case *c, const char *word, struct dm_str *ret)
{
    for (unsigned i = 0; i < c->expect_count; i++)
        if (play_word_is(c->expect[i], word, ret))
            return true;
    return false;
}

static void read_answer(struct play *p)
{
    struct dm_buf *frames = &p->h2_backend.answer;
    struct dm_str text;

    for (unsigned i = 0; i < p->c->expect_count; i++) {
        if (play_word_is(p->c->expect[i], "answer", &text)) {
            case_unescape(text, &p->answer);
        } else if (p->has_h2_backend && play_word_is(p->c->expect[i], "frames", &text) && text.len > 0) {
            dm_buf_add(frames, text);
            dm_buf_add_char(frames, '\n');
        }
    }
    if (p->answer.len == 0 && !play_find_word(p->c, "answer", &text))
        case_unescape(DM_STR(DEFAULT_ANSWER), &p->answer);
    if (p->has_h2_backend && frames->len == 0)
        dm_buf_add_lit(frames, DEFAULT_FRAMES);
    p->origin.answer = dm_buf_str(&p->answer);
    p->origin.next_answer = DM_STR(CLEAN_ANSWER);
    p->origin.closes = play_find_word(p->c, "closes", &text);
    p->origin.answers_early = play_find_word(p->c, "early", &text);
    p->h2_backend.closes = p->origin.closes;
    p->h2_backend.answers_early = p->origin.answers_early;
}

static void read_input(struct play *p)
{
    struct dm_str lines = dm_buf_str(&p->c->input), line = DM_STR_NULL;

    if (p->c->kind != CASE_FRAMES) {
        dm_buf_add(&p->input, lines);
        return;
    }
    dm_buf_add_lit(&p->input, FRAMES_PREFACE);
    frames_write_settings(false, &p->input);
    while (lines.len > 0) {
        (void)dm_str_cut(&lines, '\n', &line);
        assert_true(frames_write(line, 1, &p->input));
    }
}

/* --- the worker's side -------------------------------------------------------------------------------------------- */

static void apply_release(struct play *p)
{
    struct dm_buf body DM_CLEANUP(dm_buf_done);
    struct dm_str policies = DM_STR(DEFAULT_POLICIES), version = DM_STR("/"), base = DM_STR("/"), host = DM_STR("");
    struct dm_str upgrades = DM_STR("\"websocket\"");

    (void)play_find_word(p->c, "policies", &policies);
    (void)play_find_word(p->c, "version-path", &version);
    (void)play_find_word(p->c, "base-path", &base);
    (void)play_find_word(p->c, "host-header", &host);
    (void)play_find_word(p->c, "upgrades", &upgrades);
    dm_buf_init(&body, PLAY_TEXT_MAX);
    dm_buf_printf(
        &body,
        "{\"backends\":[{\"name\":\"b\",\"base_path\":\"%.*s\",\"host_header\":\"%.*s\",%s\"endpoints\":[{\"host\":"
        "\"127.0.0.1\",\"port\":%s}]}],\"products\":[{\"name\":\"p\",\"domains\":[\"api.test\"],\"versions\":[{\"name\":"
        "\"v1\",\"path\":\"%.*s\",\"policies\":[%.*s],\"upgrades\":[%.*s],\"mapping_rules\":[{\"method\":\"ANY\","
        "\"pattern\":\"/\",\"metric\":\"hits\"}],\"backends\":[{\"path\":\"/\",\"backend\":\"b\"}]}],\"plans\":[{"
        "\"name\":\"basic\"}]}]}%c",
        DM_STR_ARG(base), DM_STR_ARG(host), p->has_h2_backend ? "\"protocol\":\"http2\"," : "", p->port,
        DM_STR_ARG(version), DM_STR_ARG(policies), DM_STR_ARG(upgrades), 0);
    rig_apply(&p->rig, "team", 1, DM_UNIT_RELEASE, body.ptr);
}

static void apply_applications(struct play *p)
{
    struct dm_buf body DM_CLEANUP(dm_buf_done);
    char digest[65];

    rig_digest("good", digest);
    dm_buf_init(&body, PLAY_TEXT_MAX);
    dm_buf_printf(
        &body,
        "{\"digest_key_id\":1,\"digest_key\":\"%s\",\"applications\":[{\"id\":1,\"name\":\"app\",\"subscriptions\":[{"
        "\"product\":\"p\",\"plan\":\"basic\"}],\"credentials\":[{\"id\":1,\"name\":\"k\",\"type\":\"api_key\","
        "\"digest\":\"%s\"}]}]}%c",
        "1111111111111111111111111111111111111111111111111111111111111111", digest, 0);
    rig_apply(&p->rig, "team", 1, DM_UNIT_APPLICATIONS, body.ptr);
}

static void trust_client(struct play *p)
{
    struct dm_listener_spec *listen = &p->rig.options.listen[0];

    assert_int_equal(dm_cidr_parse(DM_STR("127.0.0.0/8"), &listen->trusted_fronts.blocks[0], NULL), 0);
    listen->trusted_fronts.n = 1;
}

static void set_up(struct play *p)
{
    struct dm_buf *bufs[] = {&p->answer, &p->input, &p->up, &p->down, &p->asked, &p->answered, &p->other};
    struct dm_str word;

    rig_init(&p->rig);
    if (play_find_word(p->c, "trusted", &word))
        trust_client(p);
    for (size_t i = 0; i < DM_COUNT(bufs); i++)
        dm_buf_init(bufs[i], PLAY_TEXT_MAX);
    frames_reader_init(&p->reader);
    p->has_h2_backend = play_find_word(p->c, "frames", &word);
    rig_origin_init(&p->rig, &p->origin, DM_STR_NULL);
    h2_backend_init(&p->rig, &p->h2_backend);
    read_answer(p);
    read_input(p);
    snprintf(p->port, sizeof(p->port), "%u",
             p->has_h2_backend ? h2_backend_port(&p->h2_backend) : rig_origin_port(&p->origin));
    memcpy(p->id_prefix, p->rig.worker.id_prefix, 16);
    rig_apply(&p->rig, "team", 1, DM_UNIT_GRANTS,
              "{\"state\":\"active\",\"weight\":100,\"domains\":[{\"name\":\"api.test\"}],"
              "\"endpoints\":[{\"address\":\"127.0.0.1\",\"port\":0}]}");
    apply_release(p);
    apply_applications(p);
}

/* --- what came, in words ------------------------------------------------------------------------------------------ */

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

/* The methods of the input's requests, as far as it holds any. */
static unsigned read_methods(struct dm_str input, enum dm_http_method *ret, unsigned max)
{
    static struct dm_http_head head;
    struct dm_http_limits limits = dm_http_limits_default;
    struct dm_http_body body;
    struct dm_str data;
    size_t scan = 0, used;
    unsigned n = 0;
    int rc;

    while (n < max && (rc = dm_http_parse_request(input.ptr, input.len, &scan, &limits, &head)) > 0) {
        ret[n++] = head.method;
        input = dm_str_skip(input, (size_t)rc);
        if (dm_http_body_init(&body, &head, &limits, UINT64_MAX) < 0)
            break;
        while ((rc = dm_http_body_feed(&body, input, &used, &data)) == 0 && used > 0)
            input = dm_str_skip(input, used);
        input = dm_str_skip(input, used);
    }
    return n;
}

/* A body; returns whether it is whole, and moves *rest behind it. */
static bool skip_body(const struct dm_http_head *head, const struct dm_http_limits *limits, struct dm_str *rest)
{
    struct dm_http_body body;
    struct dm_str data;
    size_t used;
    int rc = dm_http_body_init(&body, head, limits, UINT64_MAX);

    while (rc == 0 && (rc = dm_http_body_feed(&body, *rest, &used, &data)) >= 0) {
        *rest = dm_str_skip(*rest, used);
        if (rc > 0 || used == 0)
            return rc > 0 || dm_http_body_end(&body) == 0;
        rc = 0;
    }
    return false;
}

/* "200 404": final statuses; "103,200" with those before; "200+" is cut in its body, "garbage" no response. */
static void read_statuses(struct play *p, struct dm_str rest, struct dm_buf *out)
{
    static struct dm_http_head head;
    struct dm_http_limits limits = {64u << 10, 16u << 10, DM_HTTP_FIELDS_MAX, 8u << 10, 4u << 10, true};
    enum dm_http_method methods[16];
    unsigned n_methods = read_methods(dm_buf_str(&p->input), methods, DM_COUNT(methods)), n = 0;
    size_t scan = 0;
    int rc;

    while (rest.len > 0) {
        enum dm_http_method method = n < n_methods ? methods[n] : DM_HTTP_METHOD_GET;
        if ((rc = dm_http_parse_response(rest.ptr, rest.len, &scan, &limits, method, &head)) <= 0) {
            dm_buf_add_lit(out, "garbage");
            return;
        }
        rest = dm_str_skip(rest, (size_t)rc);
        dm_buf_printf(out, "%u", head.status);
        if (head.status == 101)
            return;
        if (head.status < 200) {
            dm_buf_add_char(out, ',');
            continue;
        }
        n++;
        if (!skip_body(&head, &limits, &rest))
            dm_buf_add_char(out, '+');
        if (rest.len > 0)
            dm_buf_add_char(out, ' ');
    }
}

static void note_answers(struct play *p)
{
    struct dm_str bytes = dm_buf_str(&p->client->received);

    dm_buf_reset(&p->answered);
    if (p->c->kind == CASE_FRAMES && !dm_str_starts(bytes, DM_STR("HTTP/"))) {
        frames_read(&p->reader, bytes);
        frames_answers(&p->reader, &p->answered);
    } else {
        read_statuses(p, bytes, &p->answered);
    }
}

/* Frames as lines: for each stream its fields and body. */
static void add_streams(const struct play *p, struct dm_buf *out)
{
    for (unsigned i = 0; i < p->reader.n_streams; i++) {
        const struct frames_stream *stream = p->reader.streams[i];
        dm_buf_printf(out, "stream %u\n", stream->id);
        as_lines(p, dm_buf_str(&stream->fields), out);
        as_lines(p, dm_buf_str(&stream->body), out);
        dm_buf_add_char(out, '\n');
    }
}

static void note(struct play *p)
{
    note_answers(p);
    as_lines(p, dm_buf_str(&p->origin.received), &p->up);
    dm_buf_add(&p->asked, dm_buf_str(p->has_h2_backend ? &p->h2_backend.requests : &p->origin.requests));
    if (p->c->kind == CASE_FRAMES)
        add_streams(p, &p->down);
    else
        as_lines(p, dm_buf_str(&p->client->received), &p->down);
}

/* --- who comes next ----------------------------------------------------------------------------------------------- */

static void add_next(struct play *p, const char *fields, struct dm_buf *out)
{
    struct dm_str version = DM_STR("");

    (void)play_find_word(p->c, "version-path", &version);
    dm_buf_printf(out, "GET %.*s/next HTTP/1.1\r\nHost: api.test\r\nX-Key: good\r\n%s\r\n", DM_STR_ARG(version),
                  fields);
}

/* One whole response, with this body. */
static bool is_clean(struct dm_str got)
{
    return dm_str_starts(got, DM_STR("HTTP/1.1 200 ")) && rig_count(got, "HTTP/1.1 ") == 1 && got.len > 9 &&
           dm_str_eq(dm_str_skip(got, got.len - 9), DM_STR("\r\n\r\nclean"));
}

/* Another client, which gets the kept connection of the backend, if there is one. */
static void ask_next_of_another(struct play *p)
{
    struct rig_socket *other = rig_connect(&p->rig);
    struct dm_buf request DM_CLEANUP(dm_buf_done);

    dm_buf_init(&request, PLAY_TEXT_MAX);
    add_next(p, "Connection: close\r\n", &request);
    rig_send(other, dm_buf_str(&request));
    rig_expect_end(&p->rig, other);
    p->is_other_clean = is_clean(dm_buf_str(&other->received));
    dm_buf_add(&p->other, dm_buf_str(&other->received));
    rig_close(&p->rig, other);
}

static void ask_next_in_frames(struct play *p)
{
    struct dm_buf frame DM_CLEANUP(dm_buf_done);
    struct frames_stream *stream;

    dm_buf_init(&frame, PLAY_TEXT_MAX);
    assert_true(frames_write(DM_STR("headers $ end GET /next"), NEXT_STREAM, &frame));
    rig_send(p->client, dm_buf_str(&frame));
    rig_settle(&p->rig);
    frames_read(&p->reader, dm_buf_str(&p->client->received));
    if (p->reader.n_streams == 0)
        return;
    stream = p->reader.streams[p->reader.n_streams - 1];
    p->is_next_clean = stream->id == NEXT_STREAM && stream->is_ended && !stream->has_reset &&
                       dm_str_eq(dm_buf_str(&stream->statuses), DM_STR("200")) &&
                       dm_str_eq(dm_buf_str(&stream->body), DM_STR("clean"));
}

/* The same client, on the same connection. */
static void ask_next(struct play *p)
{
    struct dm_buf request DM_CLEANUP(dm_buf_done) = {0};
    size_t before = p->client->received.len;

    dm_buf_init(&request, PLAY_TEXT_MAX);
    if (p->client->has_eof || p->client->is_failed)
        return;
    if (p->c->kind == CASE_FRAMES) {
        ask_next_in_frames(p);
        return;
    }
    add_next(p, "", &request);
    rig_send(p->client, dm_buf_str(&request));
    rig_settle(&p->rig);
    p->is_next_clean = is_clean(dm_str_skip(dm_buf_str(&p->client->received), before));
}

/* What the backend says when nobody asked. */
static void speak_unasked(struct play *p)
{
    struct dm_buf bytes DM_CLEANUP(dm_buf_done);
    struct dm_str text;

    dm_buf_init(&bytes, PLAY_TEXT_MAX);
    if (!play_find_word(p->c, "later", &text))
        return;
    case_unescape(text, &bytes);
    for (size_t i = 0; i < p->origin.n_sockets; i++)
        if (!p->origin.sockets[i]->is_closed && dm_stream_is_open(&p->origin.sockets[i]->stream))
            rig_send(p->origin.sockets[i], dm_buf_str(&bytes));
    if (p->has_h2_backend)
        h2_backend_send(&p->h2_backend, text);
    rig_settle(&p->rig);
}

/* --- playing ------------------------------------------------------------------------------------------------------ */

static void send_input(struct play *p, size_t piece)
{
    struct dm_str input = dm_buf_str(&p->input);

    for (size_t n = piece ? piece : input.len; input.len > 0 && !p->client->has_eof && !p->client->is_failed;
         input = dm_str_skip(input, n)) {
        rig_send(p->client, dm_str_n(input.ptr, DM_MIN(n, input.len)));
        if (piece)
            rig_settle(&p->rig);
    }
    rig_settle(&p->rig);
}

/* Politely; from a tunnel, and with frames, it just goes. */
static void end_client(struct play *p)
{
    if (p->client->is_failed)
        return;
    dm_stream_shutdown(&p->client->stream);
    rig_settle(&p->rig);
    if (!p->client->has_eof && !p->client->is_failed)
        dm_stream_close(&p->client->stream);
    rig_settle(&p->rig);
}

void play_run(struct play *p, const struct http_case *c, size_t piece)
{
    struct dm_str word;

    p->c = c;
    set_up(p);
    p->client = rig_connect(&p->rig);
    send_input(p, piece);
    p->has_ended = p->client->has_eof || p->client->is_failed;
    if (!play_find_word(c, "next", &word) && c->kind != CASE_FRAMES)
        end_client(p);
    note(p);
    speak_unasked(p);
    if (play_find_word(c, "next", &word))
        ask_next(p);
    ask_next_of_another(p);
    if (!p->client->is_closed)
        end_client(p);
}

void play_done(struct play *p)
{
    struct dm_buf *bufs[] = {&p->answer, &p->input, &p->up, &p->down, &p->asked, &p->answered, &p->other};

    rig_close(&p->rig, p->client);
    rig_settle(&p->rig);
    if (!dm_str_starts(dm_buf_str(&p->answer), DM_STR("HTTP/1.1 101 "))) /* a tunnel may live on */
        assert_int_equal(p->rig.worker.n_exchanges, 0);
    rig_origin_done(&p->origin);
    h2_backend_done(&p->h2_backend);
    assert_int_equal(p->rig.worker.n_exchanges, 0);
    rig_done(&p->rig);
    frames_reader_done(&p->reader);
    for (size_t i = 0; i < DM_COUNT(bufs); i++)
        dm_buf_done(bufs[i]);
}
