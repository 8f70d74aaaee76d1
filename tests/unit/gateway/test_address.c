/* Addresses as text in headers and logs: as the system writes them (RFC 5952), an IPv4-mapped one as IPv4. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/sys.h"
#include "gateway/observe/address.h"

static const char *text_of(const struct dm_addr *addr)
{
    static char text[DM_ADDRESS_TEXT_MAX + 1];

    text[dm_address_text(addr, text)] = '\0';
    return text;
}

static const char *text_at(const char *address)
{
    struct dm_addr addr;

    assert_int_equal(dm_addr_parse(dm_str_of(address), &addr, NULL), 0);
    return text_of(&addr);
}

static void writes_what_people_know(void **state)
{
    assert_string_equal(text_at("192.0.2.255:80"), "192.0.2.255");
    assert_string_equal(text_at("[2001:DB8:0:0:1:0:0:1]:80"), "2001:db8::1:0:0:1");
    assert_string_equal(text_at("[2001:db8:0:1:1:1:1:1]:80"), "2001:db8:0:1:1:1:1:1");
    assert_string_equal(text_at("[::]:80"), "::");
    assert_string_equal(text_at("[1::]:80"), "1::");
    assert_string_equal(text_at("[::1]:80"), "::1");
    assert_string_equal(text_at("[::ffff:192.0.2.1]:80"), "192.0.2.1");
    assert_string_equal(text_at("unix:/run/x"), "unknown");
}

/* Few groups are set, so that runs of zeros of every length and place occur. */
static void writes_as_the_system_does(void **state)
{
    uint64_t seed = 42;

    for (int i = 0; i < 20000; i++) {
        struct dm_addr addr = {.len = sizeof(struct sockaddr_in6)};
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&addr.ss;
        char expected[INET6_ADDRSTRLEN];

        in6->sin6_family = AF_INET6;
        in6->sin6_addr.s6_addr[0] = 0x20; /* the system writes those below ::/96 with an IPv4 address in them */
        for (int group = 1; group < 8; group++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
            in6->sin6_addr.s6_addr[2 * group] = seed >> 60 < 4 ? (uint8_t)(seed >> 40) : 0;
            in6->sin6_addr.s6_addr[2 * group + 1] = seed >> 60 < 7 ? (uint8_t)(seed >> 32) : 0;
        }
        inet_ntop(AF_INET6, &in6->sin6_addr, expected, sizeof(expected));
        assert_string_equal(text_of(&addr), expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_what_people_know),
        cmocka_unit_test(writes_as_the_system_does),
    };

    return cmocka_run_group_tests_name("gateway/address", tests, NULL, NULL);
}
