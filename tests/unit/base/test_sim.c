/* The scenarios against the simulation, without latency and with, with much room and little. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sys_stage.h"

struct setting {
    uint64_t seed;
    const struct dm_sim_faults *faults;
    struct dm_world *world;
};

static struct dm_sys *begin(void *arg, const char **ret_dir, struct dm_world **ret_world)
{
    struct setting *setting = arg;
    struct dm_sys *sys;

    setting->world = *ret_world = dm_world_new(setting->seed, setting->faults);
    sys = dm_world_process(setting->world);
    *ret_dir = "/t";
    assert_int_equal(sys->ops->mkdir(sys, *ret_dir, 0700), 0);
    return sys;
}

static void end(void *arg)
{
    dm_world_free(((struct setting *)arg)->world);
}

static void run_all(uint64_t seed, const struct dm_sim_faults *faults)
{
    struct setting setting = {.seed = seed, .faults = faults};

    sys_scenarios_run(begin, end, &setting);
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
