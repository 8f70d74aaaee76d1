#include "gateway/limit/period.h"

#include <time.h>

static struct dm_period_window fixed(uint64_t now_s, uint64_t length_s, uint64_t offset_s)
{
    uint64_t number = (now_s + offset_s) / length_s;

    return (struct dm_period_window){(uint32_t)number, (number + 1) * length_s - offset_s};
}

static uint64_t first_of(int year, int month)
{
    struct tm tm = {.tm_year = year, .tm_mon = month, .tm_mday = 1};

    return (uint64_t)timegm(&tm);
}

void dm_periods_update(struct dm_periods *periods, uint64_t now_s)
{
    struct dm_period_window *w = periods->windows;
    time_t now = (time_t)now_s;
    struct tm tm;

    if (now_s >= periods->valid_from_s && now_s < periods->valid_to_s)
        return;
    gmtime_r(&now, &tm);
    w[DM_PERIOD_MINUTE] = fixed(now_s, 60, 0);
    w[DM_PERIOD_HOUR] = fixed(now_s, 3600, 0);
    w[DM_PERIOD_DAY] = fixed(now_s, 86400, 0);
    w[DM_PERIOD_WEEK] = fixed(now_s, 7 * 86400, 3 * 86400); /* 1 January 1970 was a Thursday */
    w[DM_PERIOD_MONTH] =
        (struct dm_period_window){(uint32_t)(tm.tm_year * 12 + tm.tm_mon), first_of(tm.tm_year, tm.tm_mon + 1)};
    w[DM_PERIOD_YEAR] = (struct dm_period_window){(uint32_t)tm.tm_year, first_of(tm.tm_year + 1, 0)};
    w[DM_PERIOD_ETERNITY] = (struct dm_period_window){1, UINT64_MAX};
    periods->valid_from_s = now_s - now_s % 60;
    periods->valid_to_s = w[DM_PERIOD_MINUTE].ends_s;
}
