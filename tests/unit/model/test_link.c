/* Link frames: each message there and back, cut at every byte, changed at random. */
#include "fixture.h"

#include "base/buf.h"
#include "model/link.h"

static struct dm_arena arena;

static int set_up(void **state)
{
    dm_arena_init(&arena, NULL, DM_LINK_ARENA_BYTES);
    return 0;
}

static int tear_down(void **state)
{
    dm_arena_done(&arena);
    return 0;
}

static const struct dm_link_held held[] = {
    {DM_STR("orders"), DM_UNIT_RELEASE, {1, 12}},
    {DM_STR("catalog"), DM_UNIT_GRANTS, {UINT64_MAX, 1}},
};
static const struct dm_link_usage_item items[] = {
    {7, DM_STR("orders"), DM_STR("hits"), 100},
    {8, DM_STR("orders"), DM_STR("list"), UINT64_MAX},
};
static const struct dm_link_message messages[] = {
    {DM_LINK_HELLO, {.hello = {DM_LINK_VERSION, DM_STR("gw-1"), DM_STR("0.1.0"), 4, {9, 8}, held, 2}}},
    {DM_LINK_HELLO, {.hello = {DM_LINK_VERSION, DM_STR("gw-1"), DM_STR("0.1.0"), 1, {0}, held, 0}}},
    {DM_LINK_WELCOME, {.welcome = {DM_LINK_VERSION, DM_STR("main"), 0x0102030405060708, {1, 2, 3}}}},
    {DM_LINK_UNIT, {.unit = DM_STR("DMDOC1 and so on")}},
    {DM_LINK_GONE, {.gone = {DM_STR("orders"), DM_UNIT_APPLICATIONS, {1, 13}}}},
    {DM_LINK_ACK, {.ack = {DM_STR("orders"), DM_UNIT_RELEASE, {1, 12}, DM_LINK_LIVE, 4, 4, DM_STR(""), DM_STR("")}}},
    {DM_LINK_ACK,
     {.ack =
          {DM_STR("orders"), DM_UNIT_RELEASE, {1, 12}, DM_LINK_REFUSED, 0, 4, DM_STR("/body/x"), DM_STR("must be y")}}},
    {DM_LINK_SYNCED, {.number = 0}},
    {DM_LINK_USAGE, {.usage = {3, 1000, 1010, DM_STR("orders"), items, 2}}},
    {DM_LINK_USED, {.number = 3}},
    {DM_LINK_PING, {.number = 42}},
    {DM_LINK_PONG, {.number = 42}},
    {DM_LINK_TENANT_KEY, {.tenant_key = {DM_STR("orders"), 7, 1, DM_STR("sealed")}}},
    {DM_LINK_CIRCUIT, {.circuit = {7, DM_STR("orders"), DM_STR("service"), DM_BREAKER_CLOSED}}},
    {DM_LINK_CIRCUIT,
     {.circuit = {7,
                  DM_STR("orders"),
                  DM_STR("service"),
                  DM_BREAKER_OPEN,
                  true,
                  2,
                  1764000000000,
                  UINT32_MAX,
                  2,
                  {{UINT32_MAX - 1, 1764000000000, DM_BREAKER_CLOSED, DM_BREAKER_OPEN, DM_BREAKER_RUN, 10, 9, 8, 7,
                    1000, 60000, 3, 2},
                   {UINT32_MAX, 1764000000001, DM_BREAKER_HALF_OPEN, DM_BREAKER_OPEN, DM_BREAKER_HAND, 0, 0, 0, 0,
                    DM_CIRCUIT_FOREVER, 1, 64, 0}}}}},
    {DM_LINK_HOLD, {.hold = {7, DM_STR("orders"), DM_STR("service"), 1, 1764000000000}}},
};

static void encode(const struct dm_link_message *message, struct dm_buf *buf)
{
    dm_buf_init(buf, 1 << 20);
    dm_link_encode(message, buf);
    assert_false(buf->failed);
}

/* There, back, and there again gives the same bytes. */
static void carries_each_message(void **state)
{
    for (size_t i = 0; i < DM_COUNT(messages); i++) {
        struct dm_link_message message;
        struct dm_buf first, again;
        struct dm_err err = {0};

        encode(&messages[i], &first);
        if (dm_link_decode(dm_buf_str(&first), &arena, &message, &err) != (ssize_t)first.len)
            fail_msg("message %zu: %s", i, err.message);
        assert_int_equal(message.type, messages[i].type);
        encode(&message, &again);
        assert_true(dm_str_eq(dm_buf_str(&first), dm_buf_str(&again)));
        dm_buf_done(&first);
        dm_buf_done(&again);
    }
}

static void fills_every_member(void **state)
{
    struct dm_link_message message;
    struct dm_buf buf;

    encode(&messages[0], &buf);
    assert_true(dm_link_decode(dm_buf_str(&buf), &arena, &message, NULL) > 0);
    assert_true(dm_str_eq(message.hello.gateway, DM_STR("gw-1")));
    assert_int_equal(message.hello.n_workers, 4);
    assert_int_equal(message.hello.n_held, 2);
    assert_true(message.hello.held[1].mark.epoch == UINT64_MAX);
    assert_int_equal(message.hello.held[1].kind, DM_UNIT_GRANTS);
    dm_buf_done(&buf);
    encode(&messages[6], &buf);
    assert_true(dm_link_decode(dm_buf_str(&buf), &arena, &message, NULL) > 0);
    assert_int_equal(message.ack.status, DM_LINK_REFUSED);
    assert_int_equal(message.ack.workers, 4);
    assert_true(dm_str_eq(message.ack.message, DM_STR("must be y")));
    dm_buf_done(&buf);
    encode(&messages[8], &buf);
    assert_true(dm_link_decode(dm_buf_str(&buf), &arena, &message, NULL) > 0);
    assert_true(message.usage.items[1].delta == UINT64_MAX);
    assert_true(dm_str_eq(message.usage.items[1].metric, DM_STR("list")));
    dm_buf_done(&buf);
}

static void waits_for_the_whole_frame(void **state)
{
    for (size_t i = 0; i < DM_COUNT(messages); i++) {
        struct dm_link_message message;
        struct dm_buf buf;

        encode(&messages[i], &buf);
        for (size_t len = 0; len < buf.len; len++)
            assert_int_equal(dm_link_decode(dm_str_n(buf.ptr, len), &arena, &message, NULL), 0);
        assert_int_equal(dm_link_frame_bytes(dm_buf_str(&buf)), buf.len);
        dm_buf_add_lit(&buf, "next frame");
        assert_int_equal(dm_link_decode(dm_buf_str(&buf), &arena, &message, NULL), buf.len - 10);
        dm_buf_done(&buf);
    }
}

/* A payload with one byte less or more than its parts is refused, however its head counts. */
static void refuses_wrong_lengths(void **state)
{
    for (size_t i = 0; i < DM_COUNT(messages); i++) {
        struct dm_link_message message;
        struct dm_buf buf;
        size_t len;

        if (messages[i].type == DM_LINK_UNIT)
            continue;
        encode(&messages[i], &buf);
        len = buf.len;
        dm_buf_add_char(&buf, 'x');
        buf.ptr[3]++;
        assert_int_equal(dm_link_decode(dm_buf_str(&buf), &arena, &message, NULL), DM_EINVAL);
        if (len > DM_LINK_HEAD_BYTES) {
            buf.ptr[3] = (char)(buf.ptr[3] - 2);
            assert_int_equal(dm_link_decode(dm_buf_str(&buf), &arena, &message, NULL), DM_EINVAL);
        }
        dm_buf_done(&buf);
    }
}

static void refuses_what_cannot_be(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } cases[] = {
        {"\0\0\0\0\0", 5},                                               /* type 0 */
        {"\0\0\0\0\x0E", 5},                                             /* type 14 */
        {"\0\0\0\x15\x0B\0\1t\0\0\0\0\0\0\0\7\0\0\0\0\0\0\0\1\0\0", 26}, /* no key */
        {"\xFF\xFF\xFF\xFF\3", 5},                                       /* longer than a document */
        {"\0\0\x10\0\x09", 5},                                           /* a long ping */
        {"\0\0\0\0\3", 5},                                               /* empty document */
        {"\0\0\0\x14\4\0\1t\5\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 25},     /* kind 5 */
        {"\0\0\0\x14\4\0\1t\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 25},     /* kind 0 */
        {"\0\0\0\x13\4\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 24},      /* no tenant */
        {"\0\0\0\x0E\1\0\0\0\1\0\0\0\0\0\1\xFF\xFF\xFF\xFF", 19},        /* four billion held */
    };
    struct dm_link_message message;

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        if (dm_link_decode(dm_str_n(cases[i].bytes, cases[i].len), &arena, &message, NULL) != DM_EINVAL)
            fail_msg("case %zu", i);
    }
}

static void refuses_more_live_than_there_are(void **state)
{
    struct dm_link_message message = messages[5];
    struct dm_buf buf;

    message.ack.workers_live = 5;
    encode(&message, &buf);
    assert_int_equal(dm_link_decode(dm_buf_str(&buf), &arena, &message, NULL), DM_EINVAL);
    dm_buf_done(&buf);
}

/* Each byte that says which of several, above what there is. */
static void refuses_circuits_of_no_kind(void **state)
{
    static const struct {
        size_t from_end; /* of the frame without changes, or of the last change */
        char value;
        size_t message;
    } cases[] = {
        {16, 3, 13},  /* state */
        {15, 2, 13},  /* held */
        {14, 3, 13},  /* hold */
        {1, 9, 13},   /* changes */
        {27, 3, 14},  /* from */
        {26, 3, 14},  /* to */
        {25, 15, 14}, /* cause */
        {9, 3, 15},   /* mode */
    };

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        struct dm_link_message message;
        struct dm_buf buf;

        encode(&messages[cases[i].message], &buf);
        buf.ptr[buf.len - cases[i].from_end] = cases[i].value;
        if (dm_link_decode(dm_buf_str(&buf), &arena, &message, NULL) != DM_EINVAL)
            fail_msg("case %zu", i);
        dm_buf_done(&buf);
    }
}

static void stops_at_the_arena(void **state)
{
    struct dm_link_message message;
    struct dm_arena small;
    struct dm_buf buf;

    dm_arena_init(&small, NULL, 16);
    encode(&messages[0], &buf);
    assert_int_equal(dm_link_decode(dm_buf_str(&buf), &small, &message, NULL), DM_EBUDGET);
    dm_buf_done(&buf);
    dm_arena_done(&small);
}

/* SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Whatever decodes encodes to what was decoded. */
static void survives_changes(void **state)
{
    uint64_t seed = 20261101;

    for (size_t round = 0; round < 20000; round++) {
        const struct dm_link_message *message = &messages[next_random(&seed) % DM_COUNT(messages)];
        struct dm_link_message decoded;
        struct dm_buf buf, again;
        ssize_t n;

        dm_arena_reset(&arena);
        encode(message, &buf);
        for (uint64_t i = next_random(&seed) % 4; i > 0; i--)
            buf.ptr[next_random(&seed) % buf.len] = (char)next_random(&seed);
        n = dm_link_decode(dm_buf_str(&buf), &arena, &decoded, NULL);
        if (n > 0) {
            encode(&decoded, &again);
            assert_true(dm_str_eq(dm_str_n(buf.ptr, (size_t)n), dm_buf_str(&again)));
            dm_buf_done(&again);
        }
        dm_buf_done(&buf);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(carries_each_message),        T(fills_every_member),     T(waits_for_the_whole_frame),
        T(refuses_wrong_lengths),       T(refuses_what_cannot_be), T(refuses_more_live_than_there_are),
        T(refuses_circuits_of_no_kind), T(stops_at_the_arena),     T(survives_changes),
    };

    return cmocka_run_group_tests_name("model/link", tests, NULL, NULL);
}
