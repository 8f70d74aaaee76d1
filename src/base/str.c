/* Comparing, cutting and reading of borrowed byte strings. */
#include "base/str.h"

#include "base/err.h"
#include "base/utf8_int.h"

#define DISTANCE_MAX_BYTES 64

static unsigned char to_lower(char c)
{
    unsigned char u = (unsigned char)c;

    return (unsigned)(u - 'A') < 26 ? u | 0x20 : u;
}

/* Eight bytes with their ASCII capitals in lower case; bytes above 0x7F stay. */
static uint64_t to_lower8(const char *ptr)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones * 0x80;
    uint64_t word, low, is_upper;

    memcpy(&word, ptr, sizeof(word));
    low = word & ~highs;
    is_upper = ((low + ones * (0x80 - 'A')) ^ (low + ones * (0x7f - 'Z'))) & ~word & highs;
    return word | is_upper >> 2;
}

bool dm_str_ieq(struct dm_str a, struct dm_str b)
{
    size_t i;

    if (a.len != b.len)
        return false;
    for (i = 0; i + 8 <= a.len; i += 8)
        if (to_lower8(a.ptr + i) != to_lower8(b.ptr + i))
            return false;
    for (; i < a.len; i++)
        if (to_lower(a.ptr[i]) != to_lower(b.ptr[i]))
            return false;
    return true;
}

int dm_str_cmp(struct dm_str a, struct dm_str b)
{
    size_t common = DM_MIN(a.len, b.len);
    int order = common > 0 ? memcmp(a.ptr, b.ptr, common) : 0;

    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

size_t dm_str_find(struct dm_str s, char c)
{
    const char *at = s.len > 0 ? memchr(s.ptr, c, s.len) : NULL;

    return at ? (size_t)(at - s.ptr) : s.len;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct dm_str dm_str_trim(struct dm_str s)
{
    while (s.len > 0 && is_blank(s.ptr[0]))
        s = dm_str_skip(s, 1);
    while (s.len > 0 && is_blank(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

bool dm_str_cut(struct dm_str *rest, char sep, struct dm_str *ret_piece)
{
    size_t at;

    if (!rest->ptr)
        return false;
    at = dm_str_find(*rest, sep);
    *ret_piece = dm_str_n(rest->ptr, at);
    *rest = at < rest->len ? dm_str_skip(*rest, at + 1) : DM_STR_NULL;
    return true;
}

int dm_str_to_u64(struct dm_str s, uint64_t *ret)
{
    uint64_t value = 0;
    size_t i;

    if (s.len == 0)
        return DM_EINVAL;
    for (i = 0; i < s.len; i++) {
        unsigned digit = (unsigned)(unsigned char)s.ptr[i] - '0';

        if (digit > 9 || value > UINT64_MAX / 10 || value * 10 > UINT64_MAX - digit)
            return DM_EINVAL;
        value = value * 10 + digit;
    }
    *ret = value;
    return 0;
}

/* Wagner and Fischer 1974, one row at a time: row[j] is the distance of a[0..i] and b[0..j]. */
/* Rows of the table of distances between beginnings of a and b; rows[0] is of the first i bytes of a. */
struct distances {
    size_t rows[3][DISTANCE_MAX_BYTES + 1];
};

static size_t distance_at(const struct distances *d, struct dm_str a, struct dm_str b, size_t i, size_t j)
{
    const size_t(*rows)[DISTANCE_MAX_BYTES + 1] = d->rows;
    size_t replaced = rows[1][j - 1] + (a.ptr[i - 1] != b.ptr[j - 1]);
    size_t best = DM_MIN(replaced, DM_MIN(rows[0][j - 1], rows[1][j]) + 1);
    bool is_swapped = i > 1 && j > 1 && a.ptr[i - 1] == b.ptr[j - 2] && a.ptr[i - 2] == b.ptr[j - 1];

    return is_swapped ? DM_MIN(best, rows[2][j - 2] + 1) : best;
}

size_t dm_str_distance(struct dm_str a, struct dm_str b)
{
    struct distances d = {0};

    if (a.len > DISTANCE_MAX_BYTES || b.len > DISTANCE_MAX_BYTES)
        return SIZE_MAX;
    for (size_t j = 0; j <= b.len; j++)
        d.rows[0][j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        memmove(d.rows[1], d.rows[0], 2 * sizeof(d.rows[0]));
        d.rows[0][0] = i;
        for (size_t j = 1; j <= b.len; j++)
            d.rows[0][j] = distance_at(&d, a, b, i, j);
    }
    return d.rows[0][b.len];
}

static bool next_8_are_ascii(const unsigned char *p)
{
    uint64_t word;

    memcpy(&word, p, sizeof(word));
    return (word & UINT64_C(0x8080808080808080)) == 0;
}

bool dm_str_is_utf8(struct dm_str s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    size_t i = 0, len;

    while (i < s.len) {
        if (s.len - i >= 8 && next_8_are_ascii(p + i)) {
            i += 8;
            continue;
        }
        if ((len = dm_utf8_len(p + i, s.len - i)) == 0)
            return false;
        i += len;
    }
    return true;
}
