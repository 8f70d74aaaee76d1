#include "gateway/upstream/health.h"

#define KNOWN_SHIFT 48
#define UNWELL_SHIFT 49
#define PASSED_SHIFT 32

static bool change(struct dm_health *h)
{
    h->is_unwell = !h->is_unwell;
    h->run = 0;
    return true;
}

bool dm_health_note(struct dm_health *h, const struct dm_health_settings *s, bool has_passed)
{
    bool was_known = h->is_known;

    h->is_known = true;
    h->passed += has_passed;
    if (has_passed != h->is_unwell) { /* it speaks for the verdict */
        h->run = 0;
        return false;
    }
    h->run++;
    if (h->is_unwell)
        return h->run >= s->healthy_max && change(h);
    return (!was_known || h->run >= s->unhealthy_max) && change(h);
}

uint64_t dm_health_pack(const struct dm_health *h)
{
    return h->run | (uint64_t)h->passed << PASSED_SHIFT | (uint64_t)h->is_known << KNOWN_SHIFT |
           (uint64_t)h->is_unwell << UNWELL_SHIFT;
}

struct dm_health dm_health_unpack(uint64_t word)
{
    return (struct dm_health){.run = (uint32_t)word,
                              .passed = (uint16_t)(word >> PASSED_SHIFT),
                              .is_known = word >> KNOWN_SHIFT & 1,
                              .is_unwell = word >> UNWELL_SHIFT & 1};
}
