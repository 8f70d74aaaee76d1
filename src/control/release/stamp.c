#include <time.h>

#include "control/release/stamp.h"

static struct tm utc_of(int64_t unix_ms)
{
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm tm = {0};

    gmtime_r(&seconds, &tm);
    return tm;
}

struct dm_str dm_stamp(int64_t unix_ms, char ret[DM_STAMP_MAX])
{
    struct tm tm = utc_of(unix_ms);
    int ms = (int)(unix_ms % 1000);
    size_t len = strftime(ret, DM_STAMP_MAX, "%Y-%m-%dT%H:%M:%S", &tm);

    if (ms > 0)
        len += (size_t)snprintf(ret + len, DM_STAMP_MAX - len, ".%03d", ms);
    len += (size_t)snprintf(ret + len, DM_STAMP_MAX - len, "Z");
    return dm_str_n(ret, len);
}

struct dm_str dm_stamp_date(int64_t unix_ms, char ret[DM_STAMP_MAX])
{
    struct tm tm = utc_of(unix_ms);

    return dm_str_n(ret, strftime(ret, DM_STAMP_MAX, "%Y-%m-%d", &tm));
}

/* ".123": three digits count, more are dropped. */
static int fraction_ms(struct dm_str text, int64_t *ret)
{
    int64_t ms = 0, unit = 100;

    if (text.len < 2 || text.ptr[0] != '.')
        return DM_EINVAL;
    for (size_t i = 1; i < text.len; i++, unit /= 10) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return DM_EINVAL;
        ms += (text.ptr[i] - '0') * unit;
    }
    *ret = ms;
    return 0;
}

int dm_stamp_parse(struct dm_str text, int64_t *ret_unix_ms)
{
    char buf[DM_STAMP_MAX];
    struct tm tm = {0};
    int64_t ms = 0;
    const char *end;

    if (text.len < 20 || text.len >= sizeof(buf) || text.ptr[text.len - 1] != 'Z')
        return DM_EINVAL;
    memcpy(buf, text.ptr, text.len);
    buf[text.len] = '\0';
    if ((end = strptime(buf, "%Y-%m-%dT%H:%M:%S", &tm)) == NULL)
        return DM_EINVAL;
    if (*end == '.' && fraction_ms(dm_str_n(end, (size_t)(buf + text.len - 1 - end)), &ms) < 0)
        return DM_EINVAL;
    if (*end != '.' && end != buf + text.len - 1)
        return DM_EINVAL;
    *ret_unix_ms = (int64_t)timegm(&tm) * 1000 + ms;
    return 0;
}
