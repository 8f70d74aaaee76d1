/* Formats of names, texts, keys, dates: everything but hosts (format_host.c) and HTTP (format_http.c). */
#include "model/format.h"
#include "base/crypto.h"
#include "model/format_int.h"

bool dm_format_all(struct dm_str value, bool (*is_right)(char c))
{
    for (size_t i = 0; i < value.len; i++) {
        if (!is_right(value.ptr[i]))
            return false;
    }
    return true;
}

static bool is_lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || dm_is_digit(c);
}

static bool is_name_byte(char c)
{
    return is_lower_or_digit(c) || c == '-' || c == '_' || c == '.';
}

static bool is_name(struct dm_str value)
{
    return value.len > 0 && dm_format_all(value, is_name_byte) && is_lower_or_digit(value.ptr[0]) &&
           is_lower_or_digit(value.ptr[value.len - 1]);
}

static bool check_name(struct dm_str value, struct dm_buf *why)
{
    if (is_name(value) && value.len <= DM_NAME_MAX)
        return true;
    dm_buf_add_lit(why,
                   "must be 1 to 64 lower-case letters, digits, '-', '_' and '.', with a letter or digit at both ends");
    return false;
}

const struct dm_format dm_format_name = {
    "name", "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$",
    "1 to 64 lower-case letters, digits, `-`, `_` and `.`, with a letter or digit at both ends", check_name};

static bool is_tenant_byte(char c)
{
    return is_lower_or_digit(c) || c == '-';
}

static bool check_tenant(struct dm_str value, struct dm_buf *why)
{
    if (is_name(value) && value.len <= 63 && dm_format_all(value, is_tenant_byte))
        return true;
    dm_buf_add_lit(why, "must be 1 to 63 lower-case letters, digits and '-', with a letter or digit at both ends");
    return false;
}

const struct dm_format dm_format_tenant = {
    "tenant", "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
    "1 to 63 lower-case letters, digits and `-`, with a letter or digit at both ends", check_tenant};

static bool is_metric_byte(char c)
{
    return dm_is_alnum(c) || c == '-' || c == '_' || c == '.' || c == '/';
}

static bool check_metric(struct dm_str value, struct dm_buf *why)
{
    if (value.len > 0 && value.len <= DM_NAME_MAX && dm_format_all(value, is_metric_byte))
        return true;
    dm_buf_add_lit(why, "must be 1 to 64 letters, digits, '-', '_', '.' and '/'");
    return false;
}

const struct dm_format dm_format_metric = {"metric", "^[A-Za-z0-9._/-]{1,64}$",
                                           "1 to 64 letters, digits, `-`, `_`, `.` and `/`", check_metric};

static bool is_key_byte(char c)
{
    return c > 0x20 && c < 0x7F;
}

static bool check_key(struct dm_str value, struct dm_buf *why)
{
    if (value.len > 0 && dm_format_all(value, is_key_byte))
        return true;
    dm_buf_add_lit(why, "must be visible ASCII characters without spaces");
    return false;
}

const struct dm_format dm_format_key = {"key", "^[!-~]+$", "visible ASCII characters without spaces", check_key};

static bool is_text_byte(char c)
{
    return ((unsigned char)c >= 0x20 && c != 0x7F) || c == '\n' || c == '\t';
}

static bool check_text(struct dm_str value, struct dm_buf *why)
{
    if (dm_format_all(value, is_text_byte) && dm_str_is_utf8(value))
        return true;
    dm_buf_add_lit(why, "must be text without control characters other than newline and tab");
    return false;
}

const struct dm_format dm_format_text = {"text", NULL, "text without control characters other than newline and tab",
                                         check_text};

/* The digits at [at, at + n), or -1. */
static int number_at(struct dm_str value, size_t at, size_t n)
{
    uint64_t number;

    if (at + n > value.len || dm_str_to_u64(dm_str_n(value.ptr + at, n), &number) < 0)
        return -1;
    return (int)number;
}

static bool is_date(struct dm_str value)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year = number_at(value, 0, 4), month = number_at(value, 5, 2), day = number_at(value, 8, 2), last;

    if (value.len != 10 || value.ptr[4] != '-' || value.ptr[7] != '-' || year < 1 || month < 1 || month > 12 || day < 1)
        return false;
    last = days[month - 1];
    if (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
        last = 29;
    return day <= last;
}

static bool check_date(struct dm_str value, struct dm_buf *why)
{
    if (is_date(value))
        return true;
    dm_buf_add_lit(why, "must be a date such as 2026-11-01");
    return false;
}

const struct dm_format dm_format_date = {"date", NULL, "a date such as `2026-11-01`", check_date};

static bool check_time(struct dm_str value, struct dm_buf *why)
{
    int hour = number_at(value, 11, 2), minute = number_at(value, 14, 2), second = number_at(value, 17, 2);

    if (value.len == 20 && is_date(dm_str_n(value.ptr, 10)) && value.ptr[10] == 'T' && value.ptr[13] == ':' &&
        value.ptr[16] == ':' && value.ptr[19] == 'Z' && hour >= 0 && hour < 24 && minute >= 0 && minute < 60 &&
        second >= 0 && second < 60)
        return true;
    dm_buf_add_lit(why, "must be a time in UTC such as 2026-11-01T12:00:00Z");
    return false;
}

const struct dm_format dm_format_time = {"date-time", NULL, "a time in UTC such as `2026-11-01T12:00:00Z`", check_time};

static bool is_body_byte(char c)
{
    return is_text_byte(c) || c == '\r';
}

static bool check_text_body(struct dm_str value, struct dm_buf *why)
{
    if (dm_format_all(value, is_body_byte) && dm_str_is_utf8(value))
        return true;
    dm_buf_add_lit(why, "must be text without control characters other than line breaks and tab");
    return false;
}

const struct dm_format dm_format_text_body = {
    "text", NULL, "text without control characters other than line breaks and tab", check_text_body};

static bool is_hex_byte(char c)
{
    return dm_is_digit(c) || (c >= 'a' && c <= 'f');
}

static bool check_digest(struct dm_str value, struct dm_buf *why)
{
    if (value.len == 2 * DM_DIGEST_BYTES && dm_format_all(value, is_hex_byte))
        return true;
    dm_buf_add_lit(why, "must be 64 lower-case hexadecimal digits");
    return false;
}

const struct dm_format dm_format_digest = {"digest", "^[0-9a-f]{64}$", "64 lower-case hexadecimal digits",
                                           check_digest};

/* What OpenSSL reads of it is its reader's to say; here it is text that can be kept and shown. */
static bool is_printable_byte(char c)
{
    return c >= 0x20 && c < 0x7F;
}

static bool is_pem_byte(char c)
{
    return is_printable_byte(c) || c == '\n' || c == '\r' || c == '\t';
}

static bool check_pem(struct dm_str value, struct dm_buf *why)
{
    static const char begin[] = "-----BEGIN ";

    for (size_t i = 0; dm_format_all(value, is_pem_byte) && i + sizeof(begin) - 1 <= value.len; i++) {
        if (memcmp(value.ptr + i, begin, sizeof(begin) - 1) == 0)
            return true;
    }
    dm_buf_add_lit(why, "must be PEM: ASCII text with a line such as '-----BEGIN CERTIFICATE-----'");
    return false;
}

const struct dm_format dm_format_pem = {"pem", NULL, "PEM (RFC 7468)", check_pem};

static bool is_base64_byte(char c)
{
    return dm_is_alnum(c) || c == '+' || c == '/';
}

static bool check_base64(struct dm_str value, struct dm_buf *why)
{
    struct dm_str digits = value;

    for (int i = 0; i < 2 && digits.len > 0 && digits.ptr[digits.len - 1] == '='; i++)
        digits.len--;
    if (value.len > 0 && value.len % 4 == 0 && dm_format_all(digits, is_base64_byte))
        return true;
    dm_buf_add_lit(why, "must be base64 (RFC 4648 section 4) with its padding and without white space");
    return false;
}

const struct dm_format dm_format_base64 = {"base64", "^[A-Za-z0-9+/]+={0,2}$", "base64 (RFC 4648 section 4), padded",
                                           check_base64};
