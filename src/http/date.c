#include "http/serialize.h"

struct civil {
    unsigned year, month, day; /* month 0 to 11, day 1 to 31 */
};

/* The Gregorian calendar repeats every 400 years = 146097 days; counted from 1 March of year 0, the leap day comes
 * last. */
static struct civil civil_of(uint64_t days)
{
    uint64_t since_march_0 = days + 719468, era = since_march_0 / 146097;
    unsigned day_of_era = (unsigned)(since_march_0 % 146097);
    unsigned year = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    unsigned month = (5 * day_of_year + 2) / 153; /* 0 = March */
    unsigned day = day_of_year - (153 * month + 2) / 5 + 1;

    year += (unsigned)era * 400 + (month >= 10);
    return (struct civil){year, (month + 2) % 12, day};
}

static void put_digits(char *ret, unsigned value, unsigned digits)
{
    for (; digits > 0; digits--, value /= 10)
        ret[digits - 1] = (char)('0' + value % 10);
}

void dm_http_date_write(int64_t unix_s, char ret[DM_HTTP_DATE_LEN])
{
    uint64_t seconds = unix_s > 0 ? (uint64_t)unix_s : 0, days = seconds / 86400;
    unsigned rest = (unsigned)(seconds % 86400);
    struct civil civil = civil_of(days);

    memcpy(ret, "Thu, 01 Jan 1970 00:00:00 GMT", DM_HTTP_DATE_LEN);
    memcpy(ret, &"ThuFriSatSunMonTueWed"[days % 7 * 3], 3);
    put_digits(ret + 5, civil.day, 2);
    memcpy(ret + 8, &"JanFebMarAprMayJunJulAugSepOctNovDec"[civil.month * 3], 3);
    put_digits(ret + 12, civil.year, 4);
    put_digits(ret + 17, rest / 3600, 2);
    put_digits(ret + 20, rest / 60 % 60, 2);
    put_digits(ret + 23, rest % 60, 2);
}
