#include "model/listener.h"

const struct dm_listener_limit dm_listener_limits[DM_LISTENER_LIMIT_COUNT] = {
#define LIMIT_ROW(member, word, min, max, def, doc, beyond)                                                            \
    {word, offsetof(struct dm_listener_limits, member), min, max, def, doc, beyond},
    DM_LISTENER_LIMITS(LIMIT_ROW)
#undef LIMIT_ROW
};

/* --- limits ------------------------------------------------------------------------------------------------------- */

static uint64_t *limit_in(struct dm_listener_limits *limits, size_t i)
{
    return (uint64_t *)(void *)((char *)limits + dm_listener_limits[i].at);
}

uint64_t dm_listener_limit_get(const struct dm_listener_limits *limits, size_t i)
{
    return *(const uint64_t *)(const void *)((const char *)limits + dm_listener_limits[i].at);
}

/* DM_LISTENER_LIMIT_COUNT: none. */
static size_t find_limit(struct dm_str word)
{
    size_t i = 0;

    while (i < DM_LISTENER_LIMIT_COUNT && !dm_str_eq(word, dm_str_of(dm_listener_limits[i].word)))
        i++;
    return i;
}

int dm_listener_limit_read(struct dm_listener_limits *limits, struct dm_str word, struct dm_str value,
                           struct dm_err *err)
{
    size_t i = find_limit(word);
    uint64_t number;

    if (i == DM_LISTENER_LIMIT_COUNT)
        return DM_ENOENT;
    if (dm_str_to_u64(value, &number) < 0 || number < dm_listener_limits[i].min || number > dm_listener_limits[i].max)
        return dm_fail(err, DM_EINVAL, "", "expected a number from %llu to %llu, found '%.*s'",
                       (unsigned long long)dm_listener_limits[i].min, (unsigned long long)dm_listener_limits[i].max,
                       DM_STR_ARG(value));
    *limit_in(limits, i) = number;
    return 0;
}

/* --- sources ------------------------------------------------------------------------------------------------------ */

int dm_listener_parse_sources(struct dm_str text, struct dm_listener_sources *ret, struct dm_err *err)
{
    struct dm_listener_sources sources = *ret;
    struct dm_str piece;
    int rc = 0;

    while (rc == 0 && dm_str_cut(&text, ',', &piece)) {
        if (dm_str_eq(dm_str_trim(piece), DM_STR("unix:")))
            sources.has_unix = true;
        else
            rc = dm_cidr_parse_list(piece, sources.blocks, &sources.n, err);
    }
    if (rc == 0)
        *ret = sources;
    return rc;
}

bool dm_listener_sources_hold(const struct dm_listener_sources *sources, const struct dm_addr *addr)
{
    struct dm_cidr address;

    if (addr->ss.ss_family == AF_UNIX)
        return sources->has_unix;
    if (sources->n == 0 || dm_cidr_of_addr(addr, &address) < 0)
        return false;
    for (size_t i = 0; i < sources->n; i++)
        if (dm_cidr_holds(&sources->blocks[i], &address))
            return true;
    return false;
}

/* --- words -------------------------------------------------------------------------------------------------------- */

typedef int (*read_fn)(struct dm_listener_spec *spec, struct dm_str value, struct dm_err *err);

static int read_tls(struct dm_listener_spec *spec, struct dm_str value, struct dm_err *err)
{
    if (value.ptr)
        return dm_fail(err, DM_EINVAL, "", "expected no value, found '%.*s'", DM_STR_ARG(value));
    spec->is_tls = true;
    return 0;
}

static int read_http2(struct dm_listener_spec *spec, struct dm_str value, struct dm_err *err)
{
    spec->has_http2 = dm_str_eq(value, DM_STR("on"));
    if (!spec->has_http2 && !dm_str_eq(value, DM_STR("off")))
        return dm_fail(err, DM_EINVAL, "", "expected on or off, found '%.*s'", DM_STR_ARG(value));
    return 0;
}

static int read_proxy_protocol(struct dm_listener_spec *spec, struct dm_str value, struct dm_err *err)
{
    int rc = dm_listener_parse_sources(value, &spec->proxy_protocol, err);

    if (rc == 0 && spec->proxy_protocol.n == 0 && !spec->proxy_protocol.has_unix)
        return dm_fail(err, DM_EINVAL, "", "expected blocks of addresses such as 10.0.0.0/8, found '%.*s'",
                       DM_STR_ARG(value));
    return rc;
}

/* An empty list: nobody, whatever the others trust. */
static int read_trusted_fronts(struct dm_listener_spec *spec, struct dm_str value, struct dm_err *err)
{
    if (!value.ptr)
        return dm_fail(err, DM_EINVAL, "", "expected blocks of addresses such as 10.0.0.0/8 behind '=', found nothing");
    return dm_listener_parse_sources(value, &spec->trusted_fronts, err);
}

static const struct {
    const char *word;
    read_fn read;
} words[] = {
    {"tls", read_tls},
    {"http2", read_http2},
    {"proxy-protocol", read_proxy_protocol},
    {"trusted-fronts", read_trusted_fronts},
};
enum { TRUSTED_FRONTS_WORD = 3, WORD_COUNT = DM_COUNT(words) };
_Static_assert(WORD_COUNT + DM_LISTENER_LIMIT_COUNT <= 32, "a bit of `given` for each word");

/* Word i of both tables in a row; NULL behind the last. */
static const char *word_at(size_t i)
{
    if (i < WORD_COUNT)
        return words[i].word;
    return i - WORD_COUNT < DM_LISTENER_LIMIT_COUNT ? dm_listener_limits[i - WORD_COUNT].word : NULL;
}

static int fail_unknown(struct dm_str word, struct dm_err *err)
{
    const char *nearest = NULL;
    size_t best = 3;

    for (size_t i = 0; word_at(i); i++) {
        size_t distance = dm_str_distance(word, dm_str_of(word_at(i)));
        if (distance < best) {
            best = distance;
            nearest = word_at(i);
        }
    }
    if (nearest)
        return dm_fail(err, DM_EINVAL, "", "there is no word '%.*s' (did you mean '%s'?)", DM_STR_ARG(word), nearest);
    return dm_fail(err, DM_EINVAL, "", "there is no word '%.*s'", DM_STR_ARG(word));
}

static int read_value(struct dm_listener_spec *spec, size_t i, struct dm_str value, struct dm_err *err)
{
    if (i < WORD_COUNT)
        return words[i].read(spec, value, err);
    return dm_listener_limit_read(&spec->limits, dm_str_of(word_at(i)), value, err);
}

static int read_word(struct dm_listener_spec *spec, struct dm_str text, struct dm_err *err)
{
    size_t eq = dm_str_find(text, '='), i = 0;
    struct dm_str word = dm_str_n(text.ptr, eq), value = eq < text.len ? dm_str_skip(text, eq + 1) : DM_STR_NULL;
    struct dm_err inner = {0};

    while (word_at(i) && !dm_str_eq(word, dm_str_of(word_at(i))))
        i++;
    if (!word_at(i))
        return fail_unknown(word, err);
    if (spec->given & UINT32_C(1) << i)
        return dm_fail(err, DM_EINVAL, "", "%s: expected once, found twice", word_at(i));
    spec->given |= UINT32_C(1) << i;
    if (read_value(spec, i, value, &inner) < 0)
        return dm_fail(err, DM_EINVAL, "", "%s: %s", word_at(i), inner.message);
    return 0;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

void dm_listener_defaults(struct dm_listener_spec *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->has_http2 = true;
    for (size_t i = 0; i < DM_LISTENER_LIMIT_COUNT; i++)
        *limit_in(&ret->limits, i) = dm_listener_limits[i].def;
}

void dm_listener_fill(struct dm_listener_spec *spec, const struct dm_listener_spec *defaults)
{
    if (!(spec->given & UINT32_C(1) << TRUSTED_FRONTS_WORD))
        spec->trusted_fronts = defaults->trusted_fronts;
    for (size_t i = 0; i < DM_LISTENER_LIMIT_COUNT; i++)
        if (!(spec->given & UINT32_C(1) << (WORD_COUNT + i)))
            *limit_in(&spec->limits, i) = dm_listener_limit_get(&defaults->limits, i);
}

static int read_address(struct dm_listener_spec *spec, struct dm_str text, struct dm_err *err)
{
    int rc = dm_addr_parse(text, &spec->addr, err);

    if (rc < 0 && dm_str_starts(text, DM_STR("unix:")))
        return rc;
    if (rc < 0)
        return dm_fail(err, DM_EINVAL, "",
                       "expected an address such as *:80, 127.0.0.1:80, [::1]:80 or unix:/path, found '%.*s'",
                       DM_STR_ARG(text));
    if (spec->addr.ss.ss_family != AF_UNIX && dm_addr_port(&spec->addr) == 0)
        return dm_fail(err, DM_EINVAL, "", "expected an address with a port from 1 to 65535, found '%.*s'",
                       DM_STR_ARG(text));
    dm_addr_format(&spec->addr, true, spec->name);
    return 0;
}

/* The address in place of "*" with what stands behind it. */
static int read_any(struct dm_listener_spec *spec, const char *host, struct dm_str text, struct dm_err *err)
{
    char address[DM_ADDR_TEXT_MAX];
    int n = snprintf(address, sizeof(address), "%s%.*s", host, DM_STR_ARG(dm_str_skip(text, 1)));

    if (n < 0 || (size_t)n >= sizeof(address))
        return dm_fail(err, DM_EINVAL, "", "expected an address such as *:80, found '%.*s'", DM_STR_ARG(text));
    return read_address(spec, dm_str_n(address, (size_t)n), err);
}

/* Whether two would be bound to the same. */
static int check_new(const struct dm_listener_spec *specs, size_t n, const struct dm_listener_spec *spec,
                     struct dm_err *err)
{
    if (n == DM_LISTENERS_MAX)
        return dm_fail(err, DM_EINVAL, "", "expected at most %d listeners", DM_LISTENERS_MAX);
    for (size_t i = 0; i < n; i++)
        if (dm_addr_eq(&specs[i].addr, &spec->addr))
            return dm_fail(err, DM_EINVAL, "", "expected an address once, found %s twice", spec->name);
    return 0;
}

static int add(struct dm_listener_spec specs[DM_LISTENERS_MAX], size_t *n, const struct dm_listener_spec *spec,
               struct dm_err *err)
{
    int rc = check_new(specs, *n, spec, err);

    if (rc == 0)
        specs[(*n)++] = *spec;
    return rc;
}

static int add_any(struct dm_listener_spec specs[DM_LISTENERS_MAX], size_t *n, struct dm_listener_spec *spec,
                   struct dm_str address, struct dm_err *err)
{
    int rc;

    if ((rc = read_any(spec, "0.0.0.0", address, err)) < 0 || (rc = add(specs, n, spec, err)) < 0)
        return rc;
    spec->is_optional = true;
    if ((rc = read_any(spec, "[::]", address, err)) < 0)
        return rc;
    return add(specs, n, spec, err);
}

/* Of several listeners the address says which one is meant. */
static int read_words(struct dm_listener_spec *spec, struct dm_str text, struct dm_str address, struct dm_err *err)
{
    struct dm_err inner = {0};
    struct dm_str word;

    while (dm_str_cut(&text, ' ', &word))
        if (word.len > 0 && read_word(spec, word, &inner) < 0)
            return dm_fail(err, DM_EINVAL, "", "%.*s: %s", DM_STR_ARG(address), inner.message);
    return 0;
}

int dm_listener_parse(struct dm_str text, struct dm_listener_spec specs[DM_LISTENERS_MAX], size_t *n,
                      struct dm_err *err)
{
    struct dm_listener_spec spec;
    struct dm_str address;
    int rc;

    if (text.len > DM_LISTENER_TEXT_MAX)
        return dm_fail(err, DM_EINVAL, "", "expected at most %d bytes, found %zu", DM_LISTENER_TEXT_MAX, text.len);
    dm_listener_defaults(&spec);
    text = dm_str_trim(text);
    if (!dm_str_cut(&text, ' ', &address))
        address = DM_STR("");
    if ((rc = read_words(&spec, text, address, err)) < 0)
        return rc;
    if (dm_str_starts(address, DM_STR("*:")))
        return add_any(specs, n, &spec, address, err);
    if ((rc = read_address(&spec, address, err)) < 0)
        return rc;
    return add(specs, n, &spec, err);
}
