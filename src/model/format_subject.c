/* Subjects of certificates, as RFC 2253 has them and OpenSSL writes them: "CN=app+OU=x,O=Example".
 *
 * A subject is compared with what the reader of certificates writes, byte by byte. So what that never writes (spaces behind a
 * comma, "cn", the form with slashes) is refused here instead of never matching. */
#include "model/format.h"
#include "model/format_int.h"

static const char *const usual_types[] = {"CN", "O",   "OU", "C",  "ST",           "L",
                                          "DC", "UID", "SN", "GN", "emailAddress", "serialNumber"};

static bool is_type_byte(char c)
{
    return dm_is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '-';
}

/* A short name in its own case, or an object identifier. */
static bool is_type(struct dm_str type)
{
    if (type.len == 0 || !dm_format_all(type, is_type_byte))
        return false;
    for (size_t i = 0; i < DM_COUNT(usual_types); i++)
        if (dm_str_ieq(type, dm_str_of(usual_types[i])))
            return dm_str_eq(type, dm_str_of(usual_types[i]));
    return true;
}

/* Length of the value at the start; SIZE_MAX: something in it would stand behind a backslash. */
static size_t measure_value(struct dm_str text)
{
    size_t i = 0;

    while (i < text.len && text.ptr[i] != ',' && text.ptr[i] != '+') {
        bool is_edge = i == 0 || i + 1 == text.len || text.ptr[i + 1] == ',' || text.ptr[i + 1] == '+';
        if (strchr("\"<>;", text.ptr[i]) || (text.ptr[i] == ' ' && is_edge))
            return SIZE_MAX;
        i += text.ptr[i] == '\\' ? 2 : 1;
    }
    return i <= text.len ? i : SIZE_MAX;
}

static bool is_subject(struct dm_str rest)
{
    for (;;) {
        size_t equals = dm_str_find(rest, '='), len;
        if (equals == rest.len || !is_type(dm_str_n(rest.ptr, equals)))
            return false;
        rest = dm_str_skip(rest, equals + 1);
        if ((len = measure_value(rest)) == SIZE_MAX)
            return false;
        if (len == rest.len)
            return true;
        rest = dm_str_skip(rest, len + 1);
    }
}

static bool is_printable_byte(char c)
{
    return c >= 0x20 && c < 0x7F;
}

static bool check_subject(struct dm_str value, struct dm_buf *why)
{
    if (dm_format_all(value, is_printable_byte) && !dm_str_starts(value, DM_STR("subject=")) && is_subject(value))
        return true;
    dm_buf_add_lit(why,
                   "must be a subject such as CN=app,O=Example, as `openssl x509 -noout -subject -nameopt RFC2253` "
                   "writes it behind 'subject='");
    return false;
}

const struct dm_format dm_format_subject = {"subject", NULL, "a subject such as `CN=app,O=Example` (RFC 2253)",
                                            check_subject};
