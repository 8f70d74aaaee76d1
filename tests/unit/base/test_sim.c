/* The scenarios against the simulation, without latency and with, with much room and little. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sys_scenarios.h"

static void run_all(uint64_t seed, const struct dm_sim_faults *faults)
{
    for (size_t i = 0; i < sys_scenarios_count; i++) {
        struct dm_world *world = dm_world_new(seed, faults);
        struct dm_sys *sys = dm_world_process(world);

        assert_int_equal(sys->ops->mkdir(sys, "/t", 0700), 0);
        sys_scenario_run(&sys_scenarios[i], sys, world, "/t");
        assert_int_equal(dm_world_step(world) == DM_WORLD_BUSY, 0);
        dm_world_free(world);
    }
}

static void scenarios_at_once(void **state)
{
    run_all(1, NULL);
}

static void scenarios_with_latency(void **state)
{
    struct dm_sim_faults faults = {.latency_ns_min = 20000, .latency_ns_max = 5000000};

    for (uint64_t seed = 0; seed < 20; seed++)
        run_all(seed, &faults);
}

static void scenarios_with_little_room(void **state)
{
    struct dm_sim_faults faults = {.latency_ns_min = 1, .latency_ns_max = 300, .socket_bytes = 100};

    for (uint64_t seed = 0; seed < 20; seed++)
        run_all(seed, &faults);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scenarios_at_once),
        cmocka_unit_test(scenarios_with_latency),
        cmocka_unit_test(scenarios_with_little_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
