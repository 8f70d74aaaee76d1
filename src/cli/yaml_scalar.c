#include <errno.h>

#include "cli/yaml_scalar.h"
#include "base/json.h"

static bool is_one_of(struct dm_str text, const char *const *names)
{
    for (size_t i = 0; names[i]; i++)
        if (dm_str_eq(text, dm_str_of(names[i])))
            return true;
    return false;
}

static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
static const char *const trues[] = {"true", "True", "TRUE", NULL};
static const char *const falses[] = {"false", "False", "FALSE", NULL};
static const char *const not_finite[] = {".inf",  ".Inf",  ".INF", "+.inf", "+.Inf", "+.INF", "-.inf",
                                         "-.Inf", "-.INF", ".nan", ".NaN",  ".NAN",  NULL};
/* Of YAML 1.1 only. */
static const char *const old_words[] = {"y",  "Y",  "yes", "Yes", "YES", "n",   "N",  "no", "No", "NO",
                                        "on", "On", "ON",  "off", "Off", "OFF", "<<", "=",  NULL};

static size_t skip_digits(struct dm_str text, size_t at, const char *digits)
{
    while (at < text.len && strchr(digits, text.ptr[at]) && text.ptr[at] != '\0')
        at++;
    return at;
}

/* 10, 8 or 16, or 0 when it is no integer. */
static int integer_base(struct dm_str text)
{
    size_t sign = text.len > 0 && (text.ptr[0] == '-' || text.ptr[0] == '+');

    if (dm_str_starts(text, DM_STR("0o")))
        return text.len > 2 && skip_digits(text, 2, "01234567") == text.len ? 8 : 0;
    if (dm_str_starts(text, DM_STR("0x")))
        return text.len > 2 && skip_digits(text, 2, "0123456789abcdefABCDEF") == text.len ? 16 : 0;
    return text.len > sign && skip_digits(text, sign, "0123456789") == text.len ? 10 : 0;
}

/* [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )? */
static bool is_real(struct dm_str text)
{
    static const char digits[] = "0123456789";
    size_t at = text.len > 0 && (text.ptr[0] == '-' || text.ptr[0] == '+'), from = at, n_digits;

    at = skip_digits(text, at, digits);
    n_digits = at - from;
    if (at < text.len && text.ptr[at] == '.') {
        from = ++at;
        at = skip_digits(text, at, digits);
        n_digits += at - from;
    }
    if (n_digits == 0)
        return false;
    if (at < text.len && (text.ptr[at] == 'e' || text.ptr[at] == 'E')) {
        at++;
        at += at < text.len && (text.ptr[at] == '-' || text.ptr[at] == '+');
        from = at;
        at = skip_digits(text, at, digits);
        if (at == from)
            return false;
    }
    return at == text.len;
}

static int read_integer(struct dm_str text, int base, struct dm_json **ret, struct dm_err *err)
{
    char copy[80];
    char *end;
    long long value;

    if (text.len >= sizeof(copy))
        return dm_fail(err, DM_EINVAL, "", "the number has %zu digits", text.len);
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    errno = 0;
    value = strtoll(copy + (base == 10 ? 0 : 2), &end, base);
    if (errno != 0 || *end != '\0')
        return dm_fail(err, DM_EINVAL, "", "%s is outside the range of 64-bit integers; quote it if it is a text",
                       copy);
    *ret = dm_json_new_int(value);
    return 0;
}

static int read_real(struct dm_str text, struct dm_json **ret, struct dm_err *err)
{
    char copy[80];

    if (text.len >= sizeof(copy))
        return dm_fail(err, DM_EINVAL, "", "the number has %zu digits", text.len);
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    *ret = dm_json_new_real(strtod(copy, NULL));
    return *ret ? 0 : dm_fail(err, DM_EINVAL, "", "%s is too large a number", copy);
}

int dm_yaml_scalar_read(struct dm_str text, struct dm_json **ret, struct dm_err *err)
{
    int base;

    if (is_one_of(text, nulls))
        *ret = dm_json_new_null();
    else if (is_one_of(text, trues) || is_one_of(text, falses))
        *ret = dm_json_new_bool(is_one_of(text, trues));
    else if (is_one_of(text, not_finite))
        return dm_fail(err, DM_EINVAL, "", "%.*s is no number here; quote it if it is a text", DM_STR_ARG(text));
    else if ((base = integer_base(text)) != 0)
        return read_integer(text, base, ret, err);
    else if (is_real(text))
        return read_real(text, ret, err);
    else if (!(*ret = dm_json_new_string(text)))
        return dm_fail(err, DM_EINVAL, "", "a text must be UTF-8 without NUL");
    return 0;
}

/* Also numbers of YAML 1.1: 1_000, 12:30:45, 0b1, 010. */
static bool is_old_number(struct dm_str text)
{
    size_t sign = text.len > 0 && (text.ptr[0] == '-' || text.ptr[0] == '+');

    return text.len > sign && text.ptr[sign] >= '0' && text.ptr[sign] <= '9' &&
           skip_digits(text, sign, "0123456789abcdefABCDEFxob_:.+-TtZ ") == text.len;
}

/* An address or a path begins with digits or holds colons too, but is a text to everybody. */
static bool is_address(struct dm_str text)
{
    size_t n_dots = 0;

    for (size_t i = 0; i < text.len; i++)
        n_dots += text.ptr[i] == '.';
    return n_dots == 3 && skip_digits(text, 0, "0123456789.") == text.len;
}

bool dm_yaml_scalar_needs_quotes(struct dm_str text)
{
    if (is_address(text))
        return false;
    return is_one_of(text, nulls) || is_one_of(text, trues) || is_one_of(text, falses) || is_one_of(text, not_finite) ||
           is_one_of(text, old_words) || integer_base(text) != 0 || is_real(text) || is_old_number(text);
}
