/* A circuit that several workers share: one is whole, the other is played by the test, which does to the table what a worker does, and
 * what one does that hangs or was killed. */
#include "rig/stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/upstream/upstream_int.h"
#include "model/backend.h"

#define GET STAGE_GET("/", STAGE_KEY)
#define OPEN "\"circuit_open\""
#define BUSY "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"
#define PATIENT ",\"breaker\":{\"open_ms\":60000,\"open_max_ms\":60000}"
#define MS UINT64_C(1000000)

static void path_of(const struct stage *s, char ret[96])
{
    snprintf(ret, 96, "%s/circuits", s->rig.dir);
}

static int setup(void **state)
{
    char path[96];
    int rc = stage_setup(state);
    struct stage *s = *state;
    struct dm_err err = {0};

    path_of(s, path);
    if (dm_worker_share_circuits(&s->rig.worker, path, &err) < 0)
        fail_msg("%s", err.message);
    return rc;
}

static int teardown(void **state)
{
    char path[96];

    path_of(*state, path);
    unlink(path);
    return stage_teardown(state);
}

/* --- the worker --------------------------------------------------------------------------------------------------- */

static void apply(struct stage *s, const char *backend)
{
    struct stage_release r = {.backend = backend};

    stage_apply(s, &r);
}

static void try_times(struct stage *s, unsigned n, const char *expected)
{
    for (unsigned i = 0; i < n; i++)
        stage_try(s, GET, expected);
}

static struct dm_upstream *upstream(struct stage *s)
{
    const struct dm_live_tenant *tenant = dm_map_get(&s->rig.worker.tenants, DM_STR("orders"));

    return tenant->release->upstreams[0];
}

static uint64_t now_ms(const struct stage *s)
{
    return dm_loop_now_ns(s->rig.worker.loop) / MS;
}

struct asked {
    const struct stage *stage;
    size_t n;
};

static bool was_asked(void *arg)
{
    const struct asked *asked = arg;

    return asked->stage->origin.n_requests > asked->n;
}

/* Asks the backend, which says nothing yet. */
static struct rig_socket *begin(struct stage *s)
{
    struct asked asked = {s, s->origin.n_requests};
    struct rig_socket *client = rig_connect(&s->rig);

    s->origin.answer = DM_STR_NULL;
    rig_send(client, DM_STR(GET));
    rig_run_until(&s->rig, was_asked, &asked);
    s->origin.answer = DM_STR(STAGE_OK);
    return client;
}

static void finish(struct stage *s, struct rig_socket *client, const char *answer, const char *expected)
{
    for (size_t i = 0; i < s->origin.n_sockets; i++)
        rig_send(s->origin.sockets[i], dm_str_of(answer));
    rig_expect(&s->rig, client, expected, 1);
    rig_close(&s->rig, client);
}

static void expect(struct stage *s, uint64_t opened, uint64_t half_opened, uint64_t closed, bool is_open)
{
    const struct dm_tenant_counters *c = stage_counters(s);

    assert_int_equal(c->circuit_changes[DM_BREAKER_OPEN], opened);
    assert_int_equal(c->circuit_changes[DM_BREAKER_HALF_OPEN], half_opened);
    assert_int_equal(c->circuit_changes[DM_BREAKER_CLOSED], closed);
    assert_int_equal(c->circuits_open, is_open);
}

/* --- the other worker --------------------------------------------------------------------------------------------- */

static const struct dm_circuit_name name = {1, {"orders", 6}, {"b", 1}};

static struct dm_circuit join(struct stage *s)
{
    struct dm_circuit c;

    dm_circuit_join(&s->rig.worker.circuits, &c, &name, upstream(s)->what, now_ms(s));
    assert_non_null(c.entry);
    return c;
}

static struct dm_breaker_view look(struct dm_circuit *c)
{
    struct dm_breaker_view view;

    assert_true(dm_circuit_read(c, &view));
    return view;
}

static void put(struct dm_circuit *c, enum dm_breaker_state state, uint8_t level, uint8_t passed, uint64_t since_ms)
{
    (void)look(c);
    assert_true(dm_circuit_put(c, &(struct dm_breaker_view){state, false, level, passed, since_ms}));
}

static struct dm_circuit_report report_of(struct stage *s)
{
    struct dm_circuit_info info;
    size_t at = 0;

    assert_true(dm_circuit_table_next(&s->rig.worker.circuits, &at, now_ms(s), &info));
    assert_string_equal(info.names[0], "orders");
    assert_string_equal(info.names[1], "b");
    return info.report; /* whose names are not looked at */
}

/* --- what one learned helps the other ----------------------------------------------------------------------------- */

static void test_opened_by_the_other(void **state)
{
    struct stage *s = *state;
    struct dm_circuit other;

    apply(s, PATIENT);
    stage_try(s, GET, "hello");
    other = join(s);
    put(&other, DM_BREAKER_OPEN, 1, 0, now_ms(s) - 20000);
    try_times(s, 3, OPEN);
    stage_try(s, GET, "\r\nRetry-After: 40\r\n");
    assert_int_equal(s->origin.n_requests, 1);
    expect(s, 0, 0, 0, true); /* it was not this one's doing */
    put(&other, DM_BREAKER_CLOSED, 1, 0, now_ms(s));
    try_times(s, 20, "hello");
    expect(s, 0, 0, 0, false);
    assert_int_equal(report_of(s).n_changes, 0);
}

static void test_opened_for_the_other(void **state)
{
    struct stage *s = *state;
    struct dm_circuit other;
    struct dm_breaker_view view;
    struct dm_circuit_report report;

    apply(s, PATIENT);
    other = join(s);
    (void)look(&other);
    s->origin.answer = DM_STR(BUSY);
    try_times(s, 9, "busy");
    assert_false(dm_circuit_has_news(&other));
    stage_try(s, GET, "busy");
    assert_true(dm_circuit_has_news(&other));
    view = look(&other);
    assert_true(view.state == DM_BREAKER_OPEN && view.level == 1 && !view.is_held);
    assert_in_range(view.since_ms, now_ms(s) - 10000, now_ms(s));
    report = report_of(s);
    assert_int_equal(report.n_listed, 1);
    assert_int_equal(report.changes[0].to, DM_BREAKER_OPEN);
    assert_int_equal(report.changes[0].cause, DM_BREAKER_RUN);
    assert_int_equal(report.changes[0].calls, 10);
    assert_int_equal(report.changes[0].failed, 10);
    assert_int_equal(report.changes[0].run, 10);
    assert_int_equal(report.changes[0].open_for_ms, 60000);
    assert_int_equal(report.changes[0].endpoints, 1);
    expect(s, 1, 0, 0, true);
}

/* B4 over both: it opens again soon, so for twice as long. */
static void test_the_time_open_grows_over_both(void **state)
{
    struct stage *s = *state;
    struct dm_circuit other;

    apply(s, PATIENT);
    other = join(s);
    put(&other, DM_BREAKER_CLOSED, 1, 0, now_ms(s) - 1000);
    s->origin.answer = DM_STR(BUSY);
    try_times(s, 10, "busy");
    assert_int_equal(look(&other).level, 2);
}

/* --- who probes --------------------------------------------------------------------------------------------------- */

static void test_the_other_probes(void **state)
{
    struct stage *s = *state;
    struct dm_circuit other;

    apply(s, PATIENT);
    other = join(s);
    put(&other, DM_BREAKER_HALF_OPEN, 1, 0, now_ms(s));
    try_times(s, 3, OPEN);
    assert_int_equal(s->origin.n_requests, 0);
    put(&other, DM_BREAKER_OPEN, 2, 0, now_ms(s)); /* it failed */
    stage_try(s, GET, OPEN);
    put(&other, DM_BREAKER_HALF_OPEN, 2, 0, now_ms(s));
    stage_try(s, GET, OPEN);
    put(&other, DM_BREAKER_CLOSED, 2, 0, now_ms(s)); /* it passed */
    stage_try(s, GET, "hello");
    expect(s, 0, 0, 0, false);
}

/* Killed, or hung, with the probe out: the lease ends. */
static void test_the_other_died_probing(void **state)
{
    struct stage *s = *state;
    struct dm_circuit other;
    struct dm_circuit_report report;

    apply(s, PATIENT);
    other = join(s);
    put(&other, DM_BREAKER_HALF_OPEN, 1, 0, now_ms(s) - DM_CIRCUIT_LEASE_MS);
    stage_try(s, GET, "hello");
    assert_int_equal(look(&other).state, DM_BREAKER_CLOSED);
    try_times(s, 3, "hello");
    expect(s, 0, 0, 1, false);
    report = report_of(s);
    assert_int_equal(report.changes[0].cause, DM_BREAKER_PROBE);
}

/* Only one of both makes it, and renews its lease meanwhile. */
static void test_this_one_probes(void **state)
{
    struct stage *s = *state;
    struct dm_circuit other;
    struct rig_socket *probe;
    struct dm_breaker_view view;

    apply(s, PATIENT);
    other = join(s);
    put(&other, DM_BREAKER_OPEN, 1, 0, now_ms(s) - 60000);
    probe = begin(s);
    view = look(&other);
    assert_int_equal(view.state, DM_BREAKER_HALF_OPEN);
    assert_in_range(view.since_ms, now_ms(s) - 2000, now_ms(s));
    stage_try(s, GET, OPEN); /* B2 */
    while (now_ms(s) == view.since_ms)
        dm_loop_turn(s->rig.worker.loop, 1);
    dm_worker_tend_circuits(&s->rig.worker);
    assert_true(look(&other).since_ms > view.since_ms);
    finish(s, probe, STAGE_OK, "hello");
    assert_int_equal(look(&other).state, DM_BREAKER_CLOSED);
    expect(s, 0, 1, 1, false);
}

/* Several must pass: what one made counts when the other goes on, and no lease is held for nothing. */
static void test_probes_of_both(void **state)
{
    struct stage *s = *state;
    struct dm_circuit other;
    struct dm_breaker_view view;

    apply(s, ",\"breaker\":{\"open_ms\":60000,\"open_max_ms\":60000,\"probes\":3}");
    other = join(s);
    put(&other, DM_BREAKER_OPEN, 1, 0, now_ms(s) - 60000);
    stage_try(s, GET, "hello");
    view = look(&other);
    assert_true(view.state == DM_BREAKER_HALF_OPEN && view.passed == 1);
    assert_true(dm_circuit_is_lease_over(&other, now_ms(s)));
    put(&other, DM_BREAKER_HALF_OPEN, 1, 1, now_ms(s));
    stage_try(s, GET, OPEN);
    put(&other, DM_BREAKER_HALF_OPEN, 1, 2, 0);
    stage_try(s, GET, "hello");
    assert_int_equal(look(&other).state, DM_BREAKER_CLOSED);
}

/* B3: its caller goes away, and the lease with it. */
static void test_a_probe_that_says_nothing(void **state)
{
    struct stage *s = *state;
    struct dm_circuit other;
    struct rig_socket *probe;

    apply(s, PATIENT);
    other = join(s);
    put(&other, DM_BREAKER_OPEN, 1, 0, now_ms(s) - 60000);
    probe = begin(s);
    (void)look(&other);
    assert_false(dm_circuit_is_lease_over(&other, now_ms(s)));
    dm_stream_reset(&probe->stream);
    while (s->rig.worker.n_exchanges > 0)
        dm_loop_turn(s->rig.worker.loop, 100);
    rig_close(&s->rig, probe);
    assert_int_equal(look(&other).state, DM_BREAKER_HALF_OPEN);
    assert_true(dm_circuit_is_lease_over(&other, now_ms(s)));
}

/* This one hung, and lost its lease: what its probe comes to is nobody's any more. */
static void test_a_probe_that_comes_too_late(void **state)
{
    struct stage *s = *state;
    struct dm_circuit other;
    struct rig_socket *probe;

    apply(s, PATIENT);
    other = join(s);
    put(&other, DM_BREAKER_OPEN, 1, 0, now_ms(s) - 60000);
    probe = begin(s);
    put(&other, DM_BREAKER_HALF_OPEN, 1, 0, now_ms(s) + 1);
    finish(s, probe, BUSY, "busy");
    assert_int_equal(look(&other).state, DM_BREAKER_HALF_OPEN);
    put(&other, DM_BREAKER_CLOSED, 1, 0, now_ms(s));
    stage_try(s, GET, "hello");
    expect(s, 0, 1, 0, false);
}

/* X1: the other opened and closed it while this one's tenth failure was under way. */
static void test_who_comes_second_takes_over(void **state)
{
    struct stage *s = *state;
    struct dm_circuit other;
    struct rig_socket *last;

    apply(s, PATIENT);
    other = join(s);
    s->origin.answer = DM_STR(BUSY);
    try_times(s, 9, "busy");
    last = begin(s);
    put(&other, DM_BREAKER_CLOSED, 2, 0, now_ms(s) + 1);
    finish(s, last, BUSY, "busy");
    assert_int_equal(look(&other).state, DM_BREAKER_CLOSED);
    s->origin.answer = DM_STR(BUSY);
    try_times(s, 9, "busy"); /* it counts anew */
    s->origin.answer = DM_STR(STAGE_OK);
    stage_try(s, GET, "hello");
    expect(s, 0, 0, 0, false);
}

/* --- releases ----------------------------------------------------------------------------------------------------- */

static void test_a_worker_that_starts_takes_over(void **state)
{
    struct stage *s = *state;
    struct dm_circuit other;

    apply(s, PATIENT);
    other = join(s);
    put(&other, DM_BREAKER_OPEN, 1, 0, now_ms(s));
    dm_worker_remove(&s->rig.worker, DM_STR("orders"), DM_UNIT_RELEASE, (struct dm_mark){1, s->rig.next_sequence});
    stage_release(s, &(struct stage_release){.backend = PATIENT});
    stage_try(s, GET, OPEN);
    expect(s, 0, 0, 0, true);
}

/* X4 */
static void test_other_endpoints_begin_anew(void **state)
{
    struct stage *s = *state;
    struct dm_circuit other;
    struct dm_breaker_view view;

    apply(s, PATIENT);
    other = join(s);
    put(&other, DM_BREAKER_OPEN, 1, 0, now_ms(s));
    stage_try(s, GET, OPEN);
    apply(s, PATIENT ",\"host_header\":\"another.test\"");
    stage_try(s, GET, "hello");
    assert_false(dm_circuit_read(&other, &view));
    expect(s, 0, 0, 0, false);
    /* and the other way round: this one's release is the older one */
    dm_circuit_join(&s->rig.worker.circuits, &other, &name, 12345, now_ms(s));
    put(&other, DM_BREAKER_OPEN, 1, 0, now_ms(s));
    try_times(s, 3, "hello");
    s->origin.answer = DM_STR(BUSY);
    try_times(s, 10, "busy");
    stage_try(s, GET, OPEN); /* alone */
    expect(s, 1, 0, 0, true);
}

static void test_the_mode_of_a_release(void **state)
{
    struct stage *s = *state;
    struct dm_circuit other;
    struct dm_breaker_view view;

    apply(s, ",\"breaker\":{\"mode\":\"open\"}");
    other = join(s);
    view = look(&other);
    assert_true(view.state == DM_BREAKER_OPEN && view.is_held);
    assert_int_equal(report_of(s).changes[0].cause, DM_BREAKER_MODE);
    /* the other has the next release already, and says so */
    put(&other, DM_BREAKER_CLOSED, 0, 0, now_ms(s));
    stage_try(s, GET, OPEN);
    assert_int_equal(look(&other).state, DM_BREAKER_CLOSED);
    apply(s, NULL);
    stage_try(s, GET, "hello");
    assert_int_equal(report_of(s).n_changes, 1); /* it was the other's change */
    assert_true(dm_circuit_put(&other, &(struct dm_breaker_view){DM_BREAKER_OPEN, true, 0, 0, now_ms(s)}));
    stage_try(s, GET, "\r\nRetry-After: 60\r\n");
    apply(s, ",\"breaker\":{\"mode\":\"open\",\"window_ms\":5000}");
    stage_try(s, GET, OPEN);
    assert_int_equal(report_of(s).n_changes, 1);
    apply(s, ",\"breaker\":{\"mode\":\"closed\"}");
    view = look(&other);
    assert_true(view.state == DM_BREAKER_CLOSED && view.is_held);
    assert_int_equal(report_of(s).n_changes, 2);
    s->origin.answer = DM_STR(BUSY);
    try_times(s, 30, "busy");
}

/* --- by hand ------------------------------------------------------------------------------------------------------ */

static void hold(struct stage *s, int mode)
{
    struct dm_circuit_hold hold = {name.tenant_id, name.tenant, name.backend, mode, 1};

    assert_true(dm_circuit_table_hold(&s->rig.worker.circuits, &hold, now_ms(s), 1));
}

static void test_people_hold_it(void **state)
{
    struct stage *s = *state;
    struct dm_circuit_report report;

    apply(s, NULL);
    stage_try(s, GET, "hello");
    hold(s, DM_BREAKER_HELD_OPEN);
    stage_try(s, GET, "\r\nRetry-After: 60\r\n");
    apply(s, NULL); /* a release changes nothing of it */
    stage_try(s, GET, OPEN);
    expect(s, 0, 0, 0, true); /* who said it told of it */
    hold(s, DM_BREAKER_HELD_CLOSED);
    s->origin.answer = DM_STR(BUSY);
    try_times(s, 30, "busy");
    hold(s, DM_BREAKER_AUTO);
    try_times(s, 10, "busy");
    stage_try(s, GET, OPEN);
    report = report_of(s);
    assert_int_equal(report.n_changes, 3);
    assert_int_equal(report.changes[0].cause, DM_BREAKER_HAND);
    assert_int_equal(report.changes[1].cause, DM_BREAKER_HAND);
    assert_int_equal(report.changes[2].cause, DM_BREAKER_RUN);
    hold(s, DM_BREAKER_HELD_CLOSED);
    stage_try(s, GET, "busy");
}

/* It goes before the mode of the release, and comes back to it. */
static void test_a_hold_above_a_mode(void **state)
{
    struct stage *s = *state;

    apply(s, ",\"breaker\":{\"mode\":\"open\"}");
    hold(s, DM_BREAKER_HELD_CLOSED);
    stage_try(s, GET, "hello");
    apply(s, ",\"breaker\":{\"mode\":\"open\",\"window_ms\":5000}");
    stage_try(s, GET, "hello");
    hold(s, DM_BREAKER_AUTO);
    stage_try(s, GET, OPEN);
    apply(s, NULL);
    stage_try(s, GET, "hello");
}

static void test_a_hold_that_was_there_before(void **state)
{
    struct stage *s = *state;

    hold(s, DM_BREAKER_HELD_OPEN);
    apply(s, NULL);
    stage_try(s, GET, OPEN);
    hold(s, DM_BREAKER_AUTO);
    stage_try(s, GET, "hello");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_opened_by_the_other, setup, teardown),
        cmocka_unit_test_setup_teardown(test_opened_for_the_other, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_time_open_grows_over_both, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_other_probes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_other_died_probing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_this_one_probes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_probes_of_both, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_probe_that_says_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_probe_that_comes_too_late, setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_comes_second_takes_over, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_worker_that_starts_takes_over, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_endpoints_begin_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_mode_of_a_release, setup, teardown),
        cmocka_unit_test_setup_teardown(test_people_hold_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_hold_above_a_mode, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_hold_that_was_there_before, setup, teardown),
    };

    return cmocka_run_group_tests_name("gateway/circuit_shared", tests, NULL, NULL);
}
