/* The lobby against its rules: what a source is, who is let in, and who makes way. */
#include "gateway/lobby.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define N_MAX 64
#define STEPS 200000

static const uint8_t hash_seed[16] = {1, 2, 3};
static const struct dm_lobby_settings usual = {4, 16, 32, 64};

static struct dm_addr address(const char *text)
{
    struct dm_addr addr;

    assert_int_equal(dm_addr_parse(dm_str_of(text), &addr, NULL), 0);
    return addr;
}

static enum dm_lobby_verdict enter(struct dm_lobby *lobby, const char *text, struct dm_lobby_guest **ret)
{
    struct dm_addr addr = address(text);
    void *gone;
    enum dm_lobby_verdict verdict = dm_lobby_enter(lobby, &addr, ret, &gone);

    assert_null(gone);
    return verdict;
}

/* --- sources ------------------------------------------------------------------------------------------------------ */

static void check_sources(const struct dm_lobby_settings *settings, const char *const *texts, size_t n,
                          size_t n_sources)
{
    struct dm_lobby *lobby = dm_lobby_new(settings, hash_seed);
    struct dm_lobby_guest *guests[8];

    assert_true(n <= DM_COUNT(guests));
    for (size_t i = 0; i < n; i++)
        assert_int_equal(enter(lobby, texts[i], &guests[i]), DM_LOBBY_ENTERED);
    assert_int_equal(dm_lobby_sources(lobby), n_sources);
    assert_int_equal(dm_lobby_count(lobby), n);
    for (size_t i = 0; i < n; i++)
        dm_lobby_leave(lobby, guests[i]);
    assert_int_equal(dm_lobby_sources(lobby), 0);
    assert_int_equal(dm_lobby_count(lobby), 0);
    dm_lobby_free(lobby);
}

static void a_source_is_a_prefix(void **state)
{
    static const struct dm_lobby_settings wide = {4, 16, 20, 52};
    static const char *const ipv4[] = {"192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1", "[::ffff:192.0.2.1]:1"};
    static const char *const ipv6[] = {"[2001:db8::1]:1", "[2001:db8:0:0:ffff::1]:1", "[2001:db8:0:1::1]:1"};
    static const char *const mixed[] = {"0.0.0.0:1", "[::]:1", "unix:/a", "unix:/b"};
    static const char *const wide4[] = {"10.1.16.1:1", "10.1.31.1:1", "10.1.32.1:1"};
    static const char *const wide6[] = {"[2001:db8:0:f00::1]:1", "[2001:db8:0:fff::1]:1", "[2001:db8:0:1000::1]:1"};

    check_sources(&usual, ipv4, DM_COUNT(ipv4), 2);
    check_sources(&usual, ipv6, DM_COUNT(ipv6), 2);
    check_sources(&usual, mixed, DM_COUNT(mixed), 3);
    check_sources(&wide, wide4, DM_COUNT(wide4), 2);
    check_sources(&wide, wide6, DM_COUNT(wide6), 2);
}

/* --- bounds ------------------------------------------------------------------------------------------------------- */

static void a_source_has_at_most_so_many(void **state)
{
    struct dm_lobby *lobby = dm_lobby_new(&usual, hash_seed);
    struct dm_lobby_guest *guests[4], *other, *none;

    for (size_t i = 0; i < DM_COUNT(guests); i++)
        assert_int_equal(enter(lobby, "192.0.2.1:1", &guests[i]), DM_LOBBY_ENTERED);
    assert_int_equal(enter(lobby, "192.0.2.1:1", &none), DM_LOBBY_SOURCE_HAS_MANY);
    assert_int_equal(enter(lobby, "192.0.2.2:1", &other), DM_LOBBY_ENTERED);
    dm_lobby_leave(lobby, guests[0]);
    assert_int_equal(enter(lobby, "192.0.2.1:1", &guests[0]), DM_LOBBY_ENTERED);
    for (size_t i = 0; i < DM_COUNT(guests); i++)
        dm_lobby_leave(lobby, guests[i]);
    dm_lobby_leave(lobby, other);
    dm_lobby_free(lobby);
}

/* Twelve of one source and one each of four others: the next newcomer takes the place of the oldest of the twelve. */
static void the_largest_source_makes_way(void **state)
{
    static const struct dm_lobby_settings settings = {100, 16, 32, 64};
    struct dm_lobby *lobby = dm_lobby_new(&settings, hash_seed);
    struct dm_lobby_guest *flood[12], *few[4], *newcomer, *none;
    struct dm_addr addr = address("203.0.113.1:1");
    char text[32];
    void *gone;

    for (size_t i = 0; i < DM_COUNT(flood); i++) {
        assert_int_equal(enter(lobby, "192.0.2.1:1", &flood[i]), DM_LOBBY_ENTERED);
        dm_lobby_set_who(flood[i], &flood[i]);
    }
    for (size_t i = 0; i < DM_COUNT(few); i++) {
        snprintf(text, sizeof(text), "198.51.100.%zu:1", i + 1);
        assert_int_equal(enter(lobby, text, &few[i]), DM_LOBBY_ENTERED);
    }
    assert_int_equal(enter(lobby, "192.0.2.1:1", &none), DM_LOBBY_FULL);
    assert_int_equal(dm_lobby_enter(lobby, &addr, &newcomer, &gone), DM_LOBBY_ENTERED);
    assert_ptr_equal(gone, &flood[0]);
    assert_int_equal(dm_lobby_count(lobby), 16);
    for (size_t i = 1; i < DM_COUNT(flood); i++)
        dm_lobby_leave(lobby, flood[i]);
    for (size_t i = 0; i < DM_COUNT(few); i++)
        dm_lobby_leave(lobby, few[i]);
    dm_lobby_leave(lobby, newcomer);
    dm_lobby_free(lobby);
}

/* --- against the rules -------------------------------------------------------------------------------------------- */

struct guest {
    struct dm_lobby_guest *guest;
    unsigned source;
    uint64_t serial; /* 0: nobody */
};

static struct guest all[N_MAX];
static uint64_t serial, random_state;

static uint64_t random_below(uint64_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % n;
}

static size_t count_of(unsigned source)
{
    size_t n = 0;

    for (size_t i = 0; i < N_MAX; i++)
        n += all[i].serial > 0 && all[i].source == source;
    return n;
}

static size_t count_all(void)
{
    size_t n = 0;

    for (size_t i = 0; i < N_MAX; i++)
        n += all[i].serial > 0;
    return n;
}

static size_t largest(void)
{
    size_t n = 0;

    for (unsigned source = 0; source < N_MAX; source++)
        n = DM_MAX(n, count_of(source));
    return n;
}

static bool is_first_of_its_source(const struct guest *guest)
{
    for (size_t i = 0; i < N_MAX; i++)
        if (all[i].serial > 0 && all[i].source == guest->source && all[i].serial < guest->serial)
            return false;
    return true;
}

static struct guest *free_place(void)
{
    size_t i = 0;

    while (all[i].serial > 0)
        i++;
    return &all[i];
}

/* Y1 to Y3 of a lobby that was full. */
static void check_when_full(enum dm_lobby_verdict verdict, unsigned source, struct guest *gone, size_t most)
{
    size_t own = count_of(source);

    if (verdict == DM_LOBBY_FULL) {
        assert_true(own > 0);
        assert_true(2 * (own + 1) > most);
        return;
    }
    assert_non_null(gone);
    assert_true(2 * count_of(gone->source) > most);
    assert_true(is_first_of_its_source(gone));
}

static void come(struct dm_lobby *lobby, const struct dm_lobby_settings *settings)
{
    unsigned source = (unsigned)DM_MIN(random_below(N_MAX), random_below(12));
    bool is_full = count_all() == settings->max;
    struct dm_lobby_guest *entered;
    struct guest *place;
    struct dm_addr addr;
    char text[32];
    void *who;
    enum dm_lobby_verdict verdict;

    snprintf(text, sizeof(text), "10.0.%u.%u:1", source, (unsigned)random_below(256));
    addr = address(text);
    verdict = dm_lobby_enter(lobby, &addr, &entered, &who);
    assert_int_equal(verdict == DM_LOBBY_SOURCE_HAS_MANY, count_of(source) == settings->source_max);
    if (verdict == DM_LOBBY_SOURCE_HAS_MANY)
        return;
    assert_true(is_full || (verdict == DM_LOBBY_ENTERED && !who));
    if (is_full)
        check_when_full(verdict, source, who, largest());
    if (verdict != DM_LOBBY_ENTERED)
        return;
    if (who)
        ((struct guest *)who)->serial = 0;
    place = free_place();
    *place = (struct guest){entered, source, ++serial};
    dm_lobby_set_who(entered, place);
}

static void go(struct dm_lobby *lobby)
{
    struct guest *guest = &all[random_below(N_MAX)];

    if (guest->serial == 0)
        return;
    dm_lobby_leave(lobby, guest->guest);
    guest->serial = 0;
}

static void random_guests_are_treated_by_the_rules(void **state)
{
    static const struct dm_lobby_settings settings = {20, 48, 24, 64};
    struct dm_lobby *lobby = dm_lobby_new(&settings, hash_seed);

    random_state = 0x2545f4914f6cdd1d;
    for (unsigned step = 0; step < STEPS; step++) {
        if (random_below(100) < (step / 1000 % 2 ? 70u : 45u))
            come(lobby, &settings);
        else
            go(lobby);
        assert_int_equal(dm_lobby_count(lobby), count_all());
    }
    for (size_t i = 0; i < N_MAX; i++)
        if (all[i].serial > 0)
            dm_lobby_leave(lobby, all[i].guest);
    assert_int_equal(dm_lobby_sources(lobby), 0);
    dm_lobby_free(lobby);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_source_is_a_prefix),
        cmocka_unit_test(a_source_has_at_most_so_many),
        cmocka_unit_test(the_largest_source_makes_way),
        cmocka_unit_test(random_guests_are_treated_by_the_rules),
    };

    return cmocka_run_group_tests_name("gateway lobby", tests, NULL, NULL);
}
