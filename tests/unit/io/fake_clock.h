/* The real system with a clock that moves only when told, for tests of what time does. */
#ifndef DM_TEST_FAKE_CLOCK_H
#define DM_TEST_FAKE_CLOCK_H

#include "base/sys.h"

struct fake_clock {
    struct dm_sys sys;
    struct dm_sys_ops ops;
    uint64_t now_ns;
};

static uint64_t fake_mono_ns(struct dm_sys *sys)
{
    return DM_CONTAINER_OF(sys, struct fake_clock, sys)->now_ns;
}

static inline void fake_clock_init(struct fake_clock *clock)
{
    clock->ops = *dm_sys_real()->ops;
    clock->ops.mono_ns = fake_mono_ns;
    clock->sys.ops = &clock->ops;
    clock->now_ns = 5000000000u;
}

static inline void fake_clock_advance_ms(struct fake_clock *clock, uint64_t ms)
{
    clock->now_ns += ms * 1000000u;
}

#endif
