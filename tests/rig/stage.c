#include "rig/stage.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"

#define BODY_MAX (1u << 20)

int stage_setup(void **state)
{
    struct stage *s = dm_calloc(1, sizeof(*s));

    rig_init(&s->rig);
    rig_origin_init(&s->rig, &s->origin, DM_STR(STAGE_OK));
    *state = s;
    return 0;
}

int stage_teardown(void **state)
{
    struct stage *s = *state;

    rig_settle(&s->rig);
    assert_int_equal(s->rig.worker.n_exchanges, 0);
    rig_origin_done(&s->origin);
    rig_done(&s->rig);
    dm_free(s);
    return 0;
}

static const char *or_usual(const char *given, const char *usual)
{
    return given ? given : usual;
}

void stage_release(struct stage *s, const struct stage_release *r)
{
    struct dm_buf body DM_CLEANUP(dm_buf_done);
    char endpoint[80];

    snprintf(endpoint, sizeof(endpoint), "{\"host\":\"127.0.0.1\",\"port\":%u}", rig_origin_port(&s->origin));
    dm_buf_init(&body, BODY_MAX);
    dm_buf_printf(
        &body,
        "{\"backends\":[{\"name\":\"b\",\"endpoints\":[%s]%s}],\"products\":[{\"name\":\"orders\",\"domains\":"
        "[\"orders.test\"],\"metrics\":[%s],\"versions\":[{\"name\":\"v1\",\"policies\":[{\"type\":\"api_key\",\"in\":"
        "[\"query\",\"header\",\"basic\"],\"query\":\"user_key\",\"header\":\"X-Api-Key\"}%s],\"mapping_rules\":[%s],"
        "\"backends\":[%s]%s}],\"plans\":[{\"name\":\"basic\"%s}]}]}%c",
        or_usual(r->endpoints, endpoint), or_usual(r->backend, ""), or_usual(r->metrics, ""), or_usual(r->policies, ""),
        or_usual(r->rules, "{\"method\":\"ANY\",\"pattern\":\"/\",\"metric\":\"hits\"}"),
        or_usual(r->mounts, "{\"path\":\"/\",\"backend\":\"b\"}"), or_usual(r->version, ""), or_usual(r->plan, ""), 0);
    rig_apply(&s->rig, "orders", 1, DM_UNIT_RELEASE, body.ptr);
}

void stage_applications(struct stage *s, const char *state, const char *subscriptions)
{
    struct dm_buf body DM_CLEANUP(dm_buf_done);
    char digest[65];

    rig_digest("good", digest);
    dm_buf_init(&body, BODY_MAX);
    dm_buf_printf(
        &body,
        "{\"digest_key_id\":1,\"digest_key\":\"%s\",\"applications\":[{\"id\":1,\"name\":\"app\",\"state\":\"%s\","
        "\"subscriptions\":[%s],\"credentials\":[{\"id\":1,\"name\":\"k\",\"type\":\"api_key\",\"digest\":\"%s\"}]}]}%c",
        "1111111111111111111111111111111111111111111111111111111111111111", or_usual(state, "active"),
        or_usual(subscriptions, "{\"product\":\"orders\",\"plan\":\"basic\"}"), digest, 0);
    rig_apply(&s->rig, "orders", 1, DM_UNIT_APPLICATIONS, body.ptr);
}

void stage_apply(struct stage *s, const struct stage_release *release)
{
    rig_apply(&s->rig, "orders", 1, DM_UNIT_GRANTS, STAGE_GRANTS);
    stage_release(s, release);
    stage_applications(s, NULL, NULL);
}

struct rig_socket *stage_ask(struct stage *s, const char *request, const char *expected)
{
    struct rig_socket *socket = rig_connect(&s->rig);

    rig_send(socket, dm_str_of(request));
    rig_expect(&s->rig, socket, expected, 1);
    return socket;
}

void stage_try(struct stage *s, const char *request, const char *expected)
{
    rig_close(&s->rig, stage_ask(s, request, expected));
}

struct dm_tenant_counters *stage_counters(struct stage *s)
{
    return &s->rig.counters->tenants[1];
}
