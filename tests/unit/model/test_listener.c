/* Listeners as words: what is read, what is refused and how it says so, what holds where nothing is said. */
#include "fixture.h"

#include "model/listener.h"

static struct dm_listener_spec specs[DM_LISTENERS_MAX];
static size_t n_specs;
static struct dm_err err;

static int parse(const char *text)
{
    n_specs = 0;
    memset(&err, 0, sizeof(err));
    return dm_listener_parse(dm_str_of(text), specs, &n_specs, &err);
}

static struct dm_addr addr_of(const char *text)
{
    struct dm_addr addr;

    assert_int_equal(dm_addr_parse(dm_str_of(text), &addr, NULL), 0);
    return addr;
}

static void reads_addresses(void **state)
{
    static const char *const texts[] = {"192.0.2.1:80", "[2001:db8::1]:8443", "0.0.0.0:1", "[::]:65535",
                                        "unix:/run/gate"};

    for (size_t i = 0; i < DM_COUNT(texts); i++) {
        struct dm_addr addr = addr_of(texts[i]);

        assert_int_equal(parse(texts[i]), 0);
        assert_int_equal(n_specs, 1);
        assert_true(dm_addr_eq(&specs[0].addr, &addr));
        assert_string_equal(specs[0].name, texts[i]);
        assert_false(specs[0].is_optional || specs[0].is_tls);
        assert_true(specs[0].has_http2);
        assert_int_equal(specs[0].given, 0);
    }
}

static void reads_a_star_as_both_families(void **state)
{
    assert_int_equal(parse("*:80 body-max=7"), 0);
    assert_int_equal(n_specs, 2);
    assert_string_equal(specs[0].name, "0.0.0.0:80");
    assert_string_equal(specs[1].name, "[::]:80");
    assert_false(specs[0].is_optional);
    assert_true(specs[1].is_optional);
    assert_int_equal(specs[1].limits.body_max, 7);
}

static void reads_words(void **state)
{
    assert_int_equal(parse("  0.0.0.0:443  tls http2=off proxy-protocol=10.0.0.0/8,unix: trusted-fronts=2001:db8::/32 "
                           "connections=10 header-bytes=2048 headers=20 url-bytes=1000 body-max=5000000000 streams=3 "
                           "head-timeout-ms=1 idle-timeout-ms=0 body-timeout-ms=3 body-rate=4 half-closed-timeout-ms=6 "
                           "lobby-connections=7 lobby-ipv4-bits=24 lobby-ipv6-bits=56 "),
                     0);
    assert_true(specs[0].is_tls);
    assert_false(specs[0].has_http2);
    assert_true(specs[0].proxy_protocol.has_unix);
    assert_int_equal(specs[0].proxy_protocol.n, 1);
    assert_int_equal(specs[0].trusted_fronts.n, 1);
    assert_false(specs[0].trusted_fronts.has_unix);
    assert_int_equal(specs[0].limits.connections, 10);
    assert_int_equal(specs[0].limits.header_bytes, 2048);
    assert_int_equal(specs[0].limits.headers, 20);
    assert_int_equal(specs[0].limits.url_bytes, 1000);
    assert_int_equal(specs[0].limits.body_max, 5000000000);
    assert_int_equal(specs[0].limits.streams, 3);
    assert_int_equal(specs[0].limits.head_timeout_ms, 1);
    assert_int_equal(specs[0].limits.idle_timeout_ms, 0);
    assert_int_equal(specs[0].limits.body_timeout_ms, 3);
    assert_int_equal(specs[0].limits.body_rate, 4);
    assert_int_equal(specs[0].limits.half_closed_timeout_ms, 6);
    assert_int_equal(specs[0].limits.lobby_connections, 7);
    assert_int_equal(specs[0].limits.lobby_ipv4_bits, 24);
    assert_int_equal(specs[0].limits.lobby_ipv6_bits, 56);
}

static void refuses(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "expected an address"},
        {"tls", "found 'tls'"},
        {"localhost:80", "expected an address"},
        {"127.0.0.1", "expected an address"},
        {"127.0.0.1:0", "port from 1 to 65535"},
        {"127.0.0.1:65536", "expected an address"},
        {"::1:80", "expected an address"},
        {"*:0", "port from 1 to 65535"},
        {"*:http", "expected an address"},
        {"1.2.3.4:80 tsl", "there is no word 'tsl' (did you mean 'tls'?)"},
        {"1.2.3.4:80 conections=1", "did you mean 'connections'?"},
        {"1.2.3.4:80 something-else=1", "there is no word 'something-else'"},
        {"1.2.3.4:80 =", "there is no word ''"},
        {"1.2.3.4:80 tls=on", "1.2.3.4:80: tls: expected no value, found 'on'"},
        {"*", "such as *:80, 127.0.0.1:80, "},
        {"unix:gate", "expected an absolute path of 1 to 107 bytes behind 'unix:', found 'gate'"},
        {"1.2.3.4:80 trusted-fronts", "trusted-fronts: expected blocks of addresses such as 10.0.0.0/8 behind '='"},
        {"1.2.3.4:80 http2", "http2: expected on or off, found ''"},
        {"1.2.3.4:80 http2=yes", "http2: expected on or off, found 'yes'"},
        {"1.2.3.4:80 body-max", "body-max: expected a number from 0"},
        {"1.2.3.4:80 body-max=1M", "body-max: expected a number from 0 to 9223372036854775807, found '1M'"},
        {"1.2.3.4:80 body-max=9223372036854775808", "body-max"},
        {"1.2.3.4:80 connections=0", "connections: expected a number from 1"},
        {"1.2.3.4:80 headers=129", "headers: expected a number from 8 to 128"},
        {"1.2.3.4:80 headers=9 headers=9", "headers: expected once, found twice"},
        {"1.2.3.4:80 proxy-protocol=", "proxy-protocol: expected blocks"},
        {"1.2.3.4:80 proxy-protocol", "proxy-protocol: expected blocks"},
        {"1.2.3.4:80 proxy-protocol=10.0.0.1/8", "did you mean 10.0.0.0/8?"},
        {"1.2.3.4:80 trusted-fronts=unix", "'unix' must be an address"},
    };

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        assert_int_equal(parse(cases[i].text), DM_EINVAL);
        assert_int_equal(n_specs, 0);
        if (!strstr(err.message, cases[i].says))
            fail_msg("'%s' for '%s' does not say '%s'", err.message, cases[i].text, cases[i].says);
    }
}

static void refuses_an_address_twice_and_too_many(void **state)
{
    char text[32];

    assert_int_equal(parse("*:80"), 0);
    assert_int_equal(dm_listener_parse(DM_STR("[::]:80"), specs, &n_specs, &err), DM_EINVAL);
    assert_non_null(strstr(err.message, "found [::]:80 twice"));
    while (n_specs < DM_LISTENERS_MAX) {
        snprintf(text, sizeof(text), "127.0.0.1:%zu", 1000 + n_specs);
        assert_int_equal(dm_listener_parse(dm_str_of(text), specs, &n_specs, &err), 0);
    }
    assert_int_equal(dm_listener_parse(DM_STR("127.0.0.1:1"), specs, &n_specs, &err), DM_EINVAL);
    assert_non_null(strstr(err.message, "at most 16"));
}

static void refuses_a_text_without_end(void **state)
{
    char text[DM_LISTENER_TEXT_MAX + 2];

    memset(text, ' ', sizeof(text));
    memcpy(text, "127.0.0.1:80", 12);
    n_specs = 0;
    assert_int_equal(dm_listener_parse(dm_str_n(text, DM_LISTENER_TEXT_MAX), specs, &n_specs, &err), 0);
    assert_int_equal(dm_listener_parse(dm_str_n(text, DM_LISTENER_TEXT_MAX + 1), specs, &n_specs, &err), DM_EINVAL);
}

static void fills_what_was_not_said(void **state)
{
    struct dm_listener_spec defaults;

    dm_listener_defaults(&defaults);
    defaults.limits.body_max = 11;
    defaults.limits.body_rate = 12;
    assert_int_equal(dm_listener_parse_sources(DM_STR("10.0.0.0/8"), &defaults.trusted_fronts, &err), 0);
    assert_int_equal(parse("1.2.3.4:80 body-max=256 trusted-fronts="), 0);
    dm_listener_fill(&specs[0], &defaults);
    assert_int_equal(specs[0].limits.body_max, 256);
    assert_int_equal(specs[0].limits.body_rate, 12);
    assert_int_equal(specs[0].trusted_fronts.n, 0);
    assert_int_equal(parse("1.2.3.4:80"), 0);
    dm_listener_fill(&specs[0], &defaults);
    assert_int_equal(specs[0].limits.body_max, 11);
    assert_int_equal(specs[0].trusted_fronts.n, 1);
}

static void knows_sources(void **state)
{
    struct dm_listener_sources sources = {.n = 0};
    static const struct {
        const char *addr;
        bool is_in;
    } cases[] = {
        {"10.1.2.3:1", true},           {"[::ffff:10.1.2.3]:1", true},
        {"11.0.0.1:1", false},          {"[2001:db8::9]:1", true},
        {"[2001:db9::9]:1", false},     {"[fe80::1]:1", false},
        {"[2001:db8:ffff::1]:1", true}, {"unix:/x", true},
    };

    assert_int_equal(dm_listener_parse_sources(DM_STR("10.0.0.0/8, 2001:db8::/32,unix:"), &sources, &err), 0);
    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        struct dm_addr addr = addr_of(cases[i].addr);
        assert_int_equal(dm_listener_sources_hold(&sources, &addr), cases[i].is_in);
    }
    sources.has_unix = false;
    struct dm_addr addr = addr_of("unix:/x");
    assert_false(dm_listener_sources_hold(&sources, &addr));
    assert_int_equal(dm_listener_parse_sources(DM_STR("192.0.2.1,nonsense"), &sources, &err), DM_EINVAL);
    assert_int_equal(sources.n, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_addresses),
        cmocka_unit_test(reads_a_star_as_both_families),
        cmocka_unit_test(reads_words),
        cmocka_unit_test(refuses),
        cmocka_unit_test(refuses_an_address_twice_and_too_many),
        cmocka_unit_test(refuses_a_text_without_end),
        cmocka_unit_test(fills_what_was_not_said),
        cmocka_unit_test(knows_sources),
    };

    return cmocka_run_group_tests_name("model/listener", tests, NULL, NULL);
}
