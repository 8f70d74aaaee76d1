/* Accept-Encoding: a weight is in range, letters' case is nothing, and how a list stands in lines changes nothing. */
#include <ctype.h>
#include <stdint.h>

#include "base/mem.h"
#include "http/coding.h"

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

static const struct dm_str codings[] = {{"gzip", 4}, {"br", 2}, {"identity", 8}};

static void add(struct dm_http_head *head, struct dm_str value)
{
    (void)dm_http_head_add(head, DM_STR("Accept-Encoding"), value);
}

/* One line for each element, as far as a head has room. */
static bool split(struct dm_str list, struct dm_http_head *head)
{
    struct dm_str element;
    unsigned n = 0;

    while (dm_http_list_next(&list, &element)) {
        if (n++ == DM_HTTP_FIELDS_MAX)
            return false;
        add(head, element);
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct dm_http_head whole, lines, upper;
    char *copy = dm_alloc(size), *shout = dm_alloc(size);

    memset(&whole, 0, sizeof(whole));
    memset(&lines, 0, sizeof(lines));
    memset(&upper, 0, sizeof(upper));
    for (size_t i = 0; i < size; i++) {
        copy[i] = (char)data[i];
        shout[i] = (char)toupper(data[i]);
    }
    add(&whole, dm_str_n(copy, size));
    add(&upper, dm_str_n(shout, size));
    for (size_t i = 0; i < DM_COUNT(codings); i++) {
        int weight = dm_http_coding_weight(&whole, codings[i]);
        REQUIRE(weight >= DM_HTTP_WEIGHT_UNSAID && weight <= 1000);
        REQUIRE(dm_http_coding_weight(&upper, codings[i]) == weight);
    }
    if (split(dm_str_n(copy, size), &lines))
        for (size_t i = 0; i < DM_COUNT(codings); i++)
            REQUIRE(dm_http_coding_weight(&lines, codings[i]) == dm_http_coding_weight(&whole, codings[i]));
    dm_free(copy);
    dm_free(shout);
    return 0;
}
