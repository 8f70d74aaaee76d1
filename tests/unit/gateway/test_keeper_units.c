/* Units and documents on the disk of a gateway: what is damaged, removed or older while it is served. */
#include "keeper_rig.h"

#include <sys/stat.h>

#include "snapshot/unit.h"

static void assert_unit_is_sound(const struct controller *c)
{
    char path[DM_GATEWAY_PATH_MAX];
    struct dm_err err = {0};
    struct dm_unit *unit;

    dm_gateway_path(&c->f->options, path, "units/orders.release");
    assert_int_equal(dm_unit_open(path, &unit, &err), 0);
    dm_unit_unref(unit);
}

static void test_units_survive_everything(void **state)
{
    struct controller *c = *state;

    send_release(c, "orders", 1);
    await_live(c, "orders", 1);
    send_release(c, "catalog", 1);
    await_live(c, "catalog", 1);
    assert_int_equal(end_keeper(c, SIGTERM), 0);
    keeper_fixture_damage(c->f, "units/orders.release");
    start_keeper(c);
    greet(c);
    assert_int_equal(c->last.hello.n_held, 2);
    welcome(c, c->f->public_key);
    await_live(c, "orders", 1);
    assert_unit_is_sound(c);
}

/* The second time at once is put off, and done. */
static void test_unit_that_is_damaged_while_it_is_served(void **state)
{
    struct controller *c = *state;
    int pid;

    send_release(c, "orders", 1);
    await_live(c, "orders", 1);
    pid = worker_pid(c, 0);
    for (int round = 0; round < 2; round++) {
        keeper_fixture_replace(c->f, "units/orders.release");
        kill_worker(c, 1);
        await_ack(c, "orders", 1, DM_LINK_PARTLY);
        assert_int_equal(c->last.ack.workers_live, WORKERS - 1);
        await_live(c, "orders", 1);
        assert_unit_is_sound(c);
    }
    assert_int_equal(worker_pid(c, 0), pid);
}

static void test_unit_that_is_removed_while_it_is_served(void **state)
{
    struct controller *c = *state;
    char path[DM_GATEWAY_PATH_MAX];

    send_release(c, "orders", 1);
    await_live(c, "orders", 1);
    dm_gateway_path(&c->f->options, path, "units/orders.release");
    assert_int_equal(unlink(path), 0);
    kill_worker(c, 1);
    await_ack(c, "orders", 1, DM_LINK_PARTLY);
    await_live(c, "orders", 1);
    assert_unit_is_sound(c);
}

static void test_unit_of_an_older_state_while_it_is_served(void **state)
{
    struct controller *c = *state;
    char path[DM_GATEWAY_PATH_MAX], kept[DM_GATEWAY_PATH_MAX];

    send_release(c, "orders", 1);
    await_live(c, "orders", 1);
    dm_gateway_path(&c->f->options, path, "units/orders.release");
    dm_gateway_path(&c->f->options, kept, "kept");
    assert_int_equal(link(path, kept), 0);
    send_release(c, "orders", 2);
    await_live(c, "orders", 2);
    assert_int_equal(rename(kept, path), 0);
    kill_worker(c, 1);
    await_ack(c, "orders", 2, DM_LINK_PARTLY);
    await_live(c, "orders", 2);
}

static void test_unit_and_document_that_are_damaged_while_served(void **state)
{
    struct controller *c = *state;
    int pid;

    send_release(c, "orders", 1);
    await_live(c, "orders", 1);
    pid = worker_pid(c, 0);
    keeper_fixture_replace(c->f, "units/orders.release");
    keeper_fixture_replace(c->f, "documents/orders.release");
    kill_worker(c, 1);
    await_ack(c, "orders", 1, DM_LINK_PARTLY);
    assert_false(hear(c));
    greet(c);
    assert_int_equal(c->last.hello.n_held, 0);
    assert_int_equal(worker_pid(c, 0), pid);
    welcome(c, c->f->public_key);
    await_ack(c, "orders", 1, DM_LINK_PARTLY);
    assert_int_equal(c->last.ack.workers_live, WORKERS - 1);
    send_release(c, "orders", 1);
    await_live(c, "orders", 1);
}

static void test_damaged_document_is_asked_for_again(void **state)
{
    struct controller *c = *state;

    send_release(c, "orders", 3);
    await_live(c, "orders", 3);
    assert_int_equal(end_keeper(c, SIGTERM), 0);
    keeper_fixture_damage(c->f, "documents/orders.release");
    start_keeper(c);
    greet(c);
    assert_int_equal(c->last.hello.n_held, 0);
    welcome(c, c->f->public_key);
    await_live(c, "orders", 3); /* the unit is sound */
    send_release(c, "orders", 2);
    await_ack(c, "orders", 2, DM_LINK_REFUSED);
    send_release(c, "orders", 3);
    await_live(c, "orders", 3);
    assert_int_equal(end_keeper(c, SIGTERM), 0);
    start_keeper(c);
    greet(c);
    assert_int_equal(c->last.hello.n_held, 1);
}

int main(int argc, char **argv)
{
    int ret;
    const struct CMUnitTest tests[] = {
        TEST(test_units_survive_everything),
        TEST(test_unit_that_is_damaged_while_it_is_served),
        TEST(test_unit_that_is_removed_while_it_is_served),
        TEST(test_unit_of_an_older_state_while_it_is_served),
        TEST(test_unit_and_document_that_are_damaged_while_served),
        TEST(test_damaged_document_is_asked_for_again),
    };

    if (keeper_role(argc, argv, &ret))
        return ret;
    return cmocka_run_group_tests_name("keeper units", tests, NULL, NULL);
}
