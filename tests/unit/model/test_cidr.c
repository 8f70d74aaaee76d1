/* Address blocks, and what a grant opens. */
#include "fixture.h"

#include "base/sys.h"
#include "model/grants.h"

static struct dm_cidr block(const char *text)
{
    struct dm_cidr cidr;
    struct dm_err err = {0};

    if (dm_cidr_parse(dm_str_of(text), &cidr, &err) < 0)
        fail_msg("%s: %s", text, err.message);
    return cidr;
}

static void reads_and_writes(void **state)
{
    static const char *const cases[][2] = {
        {"10.0.0.0/8", "10.0.0.0/8"},       {"10.1.2.3", "10.1.2.3"},
        {"10.1.2.3/32", "10.1.2.3"},        {"0.0.0.0/0", "0.0.0.0/0"},
        {"2001:db8::/32", "2001:db8::/32"}, {"::1", "::1"},
        {"::ffff:10.1.2.3", "10.1.2.3"},    {"::ffff:10.0.0.0/104", "10.0.0.0/8"},
        {"2001:DB8::1/128", "2001:db8::1"},
    };

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        struct dm_cidr cidr = block(cases[i][0]);
        char text[DM_CIDR_TEXT_MAX];

        assert_int_equal(dm_cidr_format(&cidr, text), strlen(cases[i][1]));
        assert_string_equal(text, cases[i][1]);
    }
}

static void refuses(void **state)
{
    static const char *const cases[] = {
        "",          "10.0.0",     "10.0.0.0/33",    "10.0.0.0/",    "10.0.0.0/-1", "10.0.0.0/8 ",   "::1/129",
        "010.0.0.1", "10.0.0.1/8", "2001:db8::1/32", "fe80::1%eth0", "[::1]",       "10.0.0.0/0008", "10.0.0.0/8/8",
        "0x7f.1"};
    struct dm_cidr cidr;

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        if (dm_cidr_parse(dm_str_of(cases[i]), &cidr, NULL) == 0)
            fail_msg("%s was accepted", cases[i]);
    }
    assert_int_equal(dm_cidr_parse_address(DM_STR("10.0.0.0/8"), &cidr, NULL), DM_EINVAL);
}

static void reads_lists(void **state)
{
    struct dm_cidr list[DM_CIDR_LIST_MAX];
    char text[4 * DM_CIDR_LIST_MAX + 16] = "";
    struct dm_err err = {0};
    size_t n = 0;

    assert_int_equal(dm_cidr_parse_list(DM_STR(""), list, &n, &err), 0);
    assert_int_equal(n, 0);
    assert_int_equal(dm_cidr_parse_list(DM_STR("10.0.0.0/8, ,::1,"), list, &n, &err), 0);
    assert_int_equal(dm_cidr_parse_list(DM_STR("192.0.2.1"), list, &n, &err), 0);
    assert_int_equal(n, 3);
    dm_cidr_format(&list[2], text);
    assert_string_equal(text, "192.0.2.1");
    assert_int_equal(dm_cidr_parse_list(DM_STR("::2,10.0.0.1/8"), list, &n, &err), DM_EINVAL);
    assert_non_null(strstr(err.message, "'10.0.0.1/8'"));
    memset(text, 0, sizeof(text));
    for (size_t i = 0; i <= DM_CIDR_LIST_MAX; i++)
        memcpy(text + 4 * i, "::1,", 4);
    n = 0;
    assert_int_equal(dm_cidr_parse_list(dm_str_of(text), list, &n, &err), DM_EINVAL);
    assert_int_equal(n, DM_CIDR_LIST_MAX);
}

static void holds(void **state)
{
    struct dm_cidr ten = block("10.0.0.0/8"), all = block("0.0.0.0/0"), odd = block("10.128.0.0/9"),
                   six = block("::/0");
    struct dm_cidr a = block("10.200.1.1"), b = block("11.0.0.1"), c = block("10.1.1.1");

    assert_true(dm_cidr_holds(&ten, &a));
    assert_true(dm_cidr_holds(&all, &b));
    assert_true(dm_cidr_holds(&odd, &a));
    assert_false(dm_cidr_holds(&odd, &c));
    assert_false(dm_cidr_holds(&ten, &b));
    assert_false(dm_cidr_holds(&six, &a));
    assert_false(dm_cidr_holds(&odd, &ten));
}

static void takes_socket_addresses(void **state)
{
    struct dm_addr addr;
    struct dm_cidr cidr;
    char text[DM_CIDR_TEXT_MAX];

    assert_int_equal(dm_addr_parse(DM_STR("10.1.2.3:80"), &addr, NULL), 0);
    assert_int_equal(dm_cidr_of_addr(&addr, &cidr), 0);
    dm_cidr_format(&cidr, text);
    assert_string_equal(text, "10.1.2.3");
    assert_int_equal(dm_addr_parse(DM_STR("[::ffff:10.1.2.3]:80"), &addr, NULL), 0);
    assert_int_equal(dm_cidr_of_addr(&addr, &cidr), 0);
    dm_cidr_format(&cidr, text);
    assert_string_equal(text, "10.1.2.3");
    assert_int_equal(dm_addr_parse(DM_STR("unix:/x"), &addr, NULL), 0);
    assert_int_equal(dm_cidr_of_addr(&addr, &cidr), DM_EINVAL);
}

/* A wide grant opens nothing special; a grant within the special block does. */
static void opens_special_blocks_only_by_name(void **state)
{
    static const char *const specials[] = {"127.0.0.1",
                                           "169.254.169.254",
                                           "0.0.0.0",
                                           "224.0.0.1",
                                           "255.255.255.255",
                                           "::1",
                                           "::",
                                           "fe80::1",
                                           "ff02::1",
                                           "::7f00:1",
                                           "64:ff9b::a00:1",
                                           "2002:7f00:1::",
                                           "fd00:ec2::254",
                                           "100.100.100.200",
                                           "168.63.129.16"};
    struct dm_cidr all = block("0.0.0.0/0"), all6 = block("::/0"), loop = block("127.0.0.0/8"),
                   one = block("127.0.0.1");
    struct dm_cidr ordinary = block("10.1.2.3"), unique_local = block("fd00::1"), other = block("127.0.0.2");

    for (size_t i = 0; i < DM_COUNT(specials); i++) {
        struct dm_cidr special = block(specials[i]);

        if (!dm_cidr_is_special(&special) || dm_cidr_grants(&all, &special) || dm_cidr_grants(&all6, &special))
            fail_msg("%s", specials[i]);
        assert_true(dm_cidr_grants(&special, &special));
    }
    assert_false(dm_cidr_is_special(&ordinary));
    assert_false(dm_cidr_is_special(&unique_local));
    assert_true(dm_cidr_grants(&all, &ordinary));
    assert_true(dm_cidr_grants(&all6, &unique_local));
    assert_true(dm_cidr_grants(&loop, &one));
    assert_false(dm_cidr_grants(&one, &other));
}

static void grants_ports(void **state)
{
    struct dm_endpoint_grant endpoints[] = {
        {.address = DM_STR("10.0.0.0/8"), .port = 8000, .port_to = 8010},
        {.address = DM_STR("10.9.0.1"), .port = 0},
        {.address = DM_STR("127.0.0.1"), .port = 9101},
    };
    struct dm_domain_grant domains[] = {{.name = DM_STR("a.example")}, {.name = DM_STR("*.b.example")}};
    struct dm_grants grants = {domains, 2, endpoints, 3};
    struct dm_cidr ten = block("10.1.1.1"), nine = block("10.9.0.1"), loop = block("127.0.0.1");

    assert_true(dm_grants_allow_endpoint(&grants, &ten, 8000));
    assert_true(dm_grants_allow_endpoint(&grants, &ten, 8010));
    assert_false(dm_grants_allow_endpoint(&grants, &ten, 7999));
    assert_false(dm_grants_allow_endpoint(&grants, &ten, 8011));
    assert_true(dm_grants_allow_endpoint(&grants, &nine, 1));
    assert_true(dm_grants_allow_endpoint(&grants, &loop, 9101));
    assert_false(dm_grants_allow_endpoint(&grants, &loop, 9102));
    assert_true(dm_grants_allow_domain(&grants, DM_STR("a.example")));
    assert_false(dm_grants_allow_domain(&grants, DM_STR("x.a.example")));
    assert_true(dm_grants_allow_domain(&grants, DM_STR("x.b.example")));
    assert_true(dm_grants_allow_domain(&grants, DM_STR("x.y.b.example")));
    assert_true(dm_grants_allow_domain(&grants, DM_STR("*.b.example")));
    assert_true(dm_grants_allow_domain(&grants, DM_STR("*.x.b.example")));
    assert_false(dm_grants_allow_domain(&grants, DM_STR("b.example")));
    assert_false(dm_grants_allow_domain(&grants, DM_STR("xb.example")));
    assert_false(dm_grants_allow_domain(&grants, DM_STR("*.a.example")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_and_writes),
        cmocka_unit_test(refuses),
        cmocka_unit_test(reads_lists),
        cmocka_unit_test(holds),
        cmocka_unit_test(takes_socket_addresses),
        cmocka_unit_test(opens_special_blocks_only_by_name),
        cmocka_unit_test(grants_ports),
    };

    return cmocka_run_group_tests_name("model/cidr", tests, NULL, NULL);
}
