#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sys_stage.h"

/* Only a test that has failed waits as long as this. */
enum { GIVE_UP_MS = 20000 };

static int collect(struct stage *stage, int timeout_ms)
{
    struct dm_ready_event events[8];
    int n = stage->sys->ops->poll_wait(stage->sys, stage->poll_fd, events, DM_COUNT(events), timeout_ms);

    assert_true(n >= 0);
    for (int i = 0; i < n; i++) {
        assert_true(events[i].tag < STAGE_TAGS_MAX);
        assert_true(events[i].ready != 0);
        stage->seen[events[i].tag] |= events[i].ready;
    }
    return n;
}

static void wait_any(struct stage *stage)
{
    if (!stage->world) {
        assert_true(collect(stage, GIVE_UP_MS) > 0);
        return;
    }
    while (collect(stage, -1) == 0)
        assert_int_not_equal(dm_world_step(stage->world), DM_WORLD_QUIET);
}

void stage_await(struct stage *stage, unsigned tag, unsigned ready)
{
    while ((stage->seen[tag] & ready) != ready)
        wait_any(stage);
    stage->seen[tag] &= ~ready;
}

unsigned stage_glance(struct stage *stage, unsigned tag)
{
    unsigned ready;

    while (collect(stage, 0) > 0)
        ;
    ready = stage->seen[tag];
    stage->seen[tag] = 0;
    return ready;
}

void stage_watch(struct stage *stage, int fd, unsigned tag)
{
    stage->seen[tag] = 0;
    assert_int_equal(stage->sys->ops->poll_add(stage->sys, stage->poll_fd, fd, tag), 0);
}

void stage_close(struct stage *stage, int fd)
{
    assert_int_equal(stage->sys->ops->close(stage->sys, fd), 0);
}

struct dm_addr stage_addr(const char *text)
{
    struct dm_addr addr;

    assert_int_equal(dm_addr_parse(dm_str_of(text), &addr, NULL), 0);
    return addr;
}

struct dm_addr stage_unix_addr(struct stage *stage, const char *name)
{
    char text[DM_ADDR_TEXT_MAX];

    snprintf(text, sizeof(text), "unix:%s/%s", stage->dir, name);
    return stage_addr(text);
}

struct dm_addr stage_local_addr(struct stage *stage, int fd)
{
    struct dm_addr addr;

    assert_int_equal(stage->sys->ops->local_addr(stage->sys, fd, &addr), 0);
    return addr;
}

int stage_connect(struct stage *stage, const struct dm_addr *addr)
{
    int fd = stage->sys->ops->connect(stage->sys, addr);

    assert_true(fd >= 0);
    return fd;
}

struct stage_pair stage_pair_at(struct stage *stage, const struct dm_addr *at)
{
    struct stage_pair pair;
    struct dm_addr bound;

    pair.listener = stage->sys->ops->listen(stage->sys, at, 16, false);
    assert_true(pair.listener >= 0);
    bound = stage_local_addr(stage, pair.listener);
    stage_watch(stage, pair.listener, LISTENER);
    pair.client = stage_connect(stage, &bound);
    stage_watch(stage, pair.client, CLIENT);
    stage_await(stage, CLIENT, DM_READY_OUT);
    assert_int_equal(stage->sys->ops->connect_error(stage->sys, pair.client), 0);
    stage_await(stage, LISTENER, DM_READY_IN);
    pair.server = stage->sys->ops->accept(stage->sys, pair.listener, NULL);
    assert_true(pair.server >= 0);
    stage_watch(stage, pair.server, SERVER);
    stage_await(stage, SERVER, DM_READY_OUT);
    return pair;
}

struct stage_pair stage_tcp_pair(struct stage *stage)
{
    struct dm_addr addr = stage_addr("127.0.0.1:0");

    return stage_pair_at(stage, &addr);
}

struct stage_pair stage_unix_pair(struct stage *stage)
{
    struct dm_addr addr = stage_unix_addr(stage, "pair.sock");

    return stage_pair_at(stage, &addr);
}

void stage_pair_close(struct stage *stage, struct stage_pair *pair)
{
    stage_close(stage, pair->client);
    stage_close(stage, pair->server);
    stage_close(stage, pair->listener);
}

ssize_t stage_send(struct stage *stage, int fd, const char *text)
{
    return stage->sys->ops->send(stage->sys, fd, text, strlen(text));
}

ssize_t stage_recv(struct stage *stage, int fd)
{
    char bytes[4096];

    return stage->sys->ops->recv(stage->sys, fd, bytes, sizeof(bytes));
}

void stage_send_all(struct stage *stage, int fd, unsigned tag, const char *text)
{
    for (size_t len = strlen(text), at = 0; at < len;) {
        ssize_t n = stage->sys->ops->send(stage->sys, fd, text + at, len - at);

        assert_true(n > 0 || n == -EAGAIN);
        if (n == -EAGAIN)
            stage_await(stage, tag, DM_READY_OUT);
        else
            at += (size_t)n;
    }
}

void stage_expect(struct stage *stage, int fd, unsigned tag, const char *text)
{
    char bytes[256];
    size_t len = 0, want = strlen(text);

    assert_true(want < sizeof(bytes));
    while (len < want) {
        ssize_t n = stage->sys->ops->recv(stage->sys, fd, bytes + len, want - len);

        assert_true(n > 0 || n == -EAGAIN);
        if (n == -EAGAIN)
            stage_await(stage, tag, DM_READY_IN);
        else
            len += (size_t)n;
    }
    assert_memory_equal(bytes, text, want);
}

static void scenario_run(const struct scenario *scenario, struct dm_sys *sys, struct dm_world *world, const char *dir)
{
    struct stage stage = {.sys = sys, .world = world, .dir = dir};

    stage.poll_fd = sys->ops->poll_new(sys);
    assert_true(stage.poll_fd >= 0);
    scenario->run(&stage);
    assert_int_equal(sys->ops->close(sys, stage.poll_fd), 0);
}

void sys_scenarios_run(struct dm_sys *(*begin)(void *arg, const char **ret_dir, struct dm_world **ret_world),
                       void (*end)(void *arg), void *arg)
{
    static const struct scenario *const groups[] = {sys_net_scenarios, sys_ready_scenarios, sys_disk_scenarios};

    for (size_t i = 0; i < DM_COUNT(groups); i++) {
        for (const struct scenario *scenario = groups[i]; scenario->run; scenario++) {
            struct dm_world *world = NULL;
            const char *dir = NULL;
            struct dm_sys *sys = begin(arg, &dir, &world);

            if (!world)
                print_message("scenario %s\n", scenario->name);
            scenario_run(scenario, sys, world, dir);
            end(arg);
        }
    }
}
