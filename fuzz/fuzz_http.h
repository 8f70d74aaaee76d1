/* What the fuzzers of requests and responses share. */
#ifndef DM_FUZZ_HTTP_H
#define DM_FUZZ_HTTP_H

#include "http/body.h"

#define FUZZ_REQUIRE(condition)                                                                                        \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

extern const struct dm_http_limits fuzz_limits;

typedef int (*fuzz_parser)(const char *ptr, size_t len, size_t *scan, struct dm_http_head *ret);

/* Where to cut this input: any place, the same each time. */
size_t fuzz_cut(struct dm_str in);

/* Parses the whole into *ret, and once more in pieces of 1 + cut % 7 bytes from `cut` on; requires the same result. */
int fuzz_parse_cut(struct dm_str in, size_t cut, fuzz_parser parse, struct dm_http_head *ret);

/* Decodes the body whole and in pieces of 1 + cut % 5 bytes; requires the same. */
void fuzz_body(const struct dm_http_head *head, struct dm_str in, size_t cut);

#endif
