/* World, clock, processes and descriptors of the simulation. See sim.h for how it is driven. */
#include "base/sim_int.h"

/* 2024-01-01T00:00:00Z: certificates and dates in tests see a plausible wall clock. */
static const int64_t wall_start_ns = INT64_C(1704067200) * 1000000000;
static const uint64_t ns_per_ms = 1000000;

/* --- randomness --- */

uint64_t dm_sim_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

uint64_t dm_sim_rng_next(struct dm_sim_rng *rng)
{
    return dm_sim_mix(rng->state += UINT64_C(0x9e3779b97f4a7c15));
}

uint64_t dm_sim_draw(struct dm_world *world, uint64_t bound)
{
    return dm_sim_rng_next(&world->rng) % bound;
}

bool dm_sim_chance(struct dm_world *world, unsigned ppm)
{
    return ppm > 0 && dm_sim_draw(world, SIM_PPM) < ppm;
}

size_t dm_sim_shorten(struct dm_world *world, size_t len)
{
    if (len < 2 || !dm_sim_chance(world, world->faults.short_io))
        return len;
    return 1 + (size_t)dm_sim_draw(world, len - 1);
}

static void sim_random(struct dm_sys *sys, void *ret, size_t len)
{
    struct dm_sim_process *p = dm_sim_process_of(sys);
    uint8_t *at = ret;

    for (size_t n; len > 0; at += n, len -= n) {
        uint64_t word = dm_sim_rng_next(&p->rng);
        n = DM_MIN(len, sizeof(word));
        memcpy(at, &word, n);
    }
}

/* --- calls and their trace --- */

int dm_sim_enter(struct dm_sim_process *p)
{
    if (p->is_dead)
        return -ESRCH;
    return ++p->calls == p->fail_at ? -p->fail_error : 0;
}

ssize_t dm_sim_trace(struct dm_sim_process *p, const char *call, int fd, ssize_t rc)
{
    struct dm_world *world = p->world;
    uint64_t words[] = {world->now_ns, p->index, (uint64_t)fd, (uint64_t)rc};

    for (; *call; call++)
        world->trace = (world->trace ^ (uint8_t)*call) * UINT64_C(0x100000001b3);
    for (size_t i = 0; i < DM_COUNT(words); i++)
        world->trace = dm_sim_mix(world->trace ^ words[i]) + i;
    return rc;
}

uint64_t dm_world_trace(const struct dm_world *world)
{
    return world->trace;
}

/* --- descriptors --- */

struct dm_sim_fd *dm_sim_fd_get(struct dm_sim_process *p, int fd, enum dm_sim_fd_kind kind)
{
    if (fd < SIM_FIRST_FD || (size_t)(fd - SIM_FIRST_FD) >= p->fds.count)
        return NULL;
    struct dm_sim_fd *at = &p->fds.items[fd - SIM_FIRST_FD];
    return at->kind == kind ? at : NULL;
}

int dm_sim_fd_room(const struct dm_sim_process *p)
{
    unsigned used = 0;

    if (p->world->faults.max_fds == 0)
        return 0;
    for (size_t i = 0; i < p->fds.count; i++)
        used += p->fds.items[i].kind != SIM_FREE;
    return used < p->world->faults.max_fds ? 0 : -EMFILE;
}

int dm_sim_fd_put(struct dm_sim_process *p, struct dm_sim_fd what)
{
    size_t i = 0;

    while (i < p->fds.count && p->fds.items[i].kind != SIM_FREE)
        i++;
    if (i == p->fds.count)
        *dm_vec_push(&p->fds) = what;
    else
        p->fds.items[i] = what;
    return (int)i + SIM_FIRST_FD;
}

static void release(struct dm_sim_fd what)
{
    switch (what.kind) {
    case SIM_LISTENER: dm_sim_listener_close(what.listener); break;
    case SIM_END: dm_sim_end_close(what.end); break;
    case SIM_POLL: dm_sim_poll_free(what.poll); break;
    case SIM_FILE: dm_sim_file_free(what.file); break;
    case SIM_FREE: break;
    }
}

static int close_fd(struct dm_sim_process *p, int fd)
{
    if (fd < SIM_FIRST_FD || (size_t)(fd - SIM_FIRST_FD) >= p->fds.count)
        return -EBADF;
    struct dm_sim_fd what = p->fds.items[fd - SIM_FIRST_FD];
    if (what.kind == SIM_FREE)
        return -EBADF;
    p->fds.items[fd - SIM_FIRST_FD].kind = SIM_FREE;
    if (what.kind == SIM_POLL) {
        p->has_more = false;
        p->wake_ns = SIM_NEVER;
    }
    release(what);
    return 0;
}

static int sim_close(struct dm_sys *sys, int fd)
{
    struct dm_sim_process *p = dm_sim_process_of(sys);

    return (int)dm_sim_trace(p, "close", fd, close_fd(p, fd));
}

/* --- events --- */

static bool is_before(const struct dm_sim_event *a, const struct dm_sim_event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->seq < b->seq;
}

static void swap_events(struct dm_sim_event *a, struct dm_sim_event *b)
{
    struct dm_sim_event tmp = *a;

    *a = *b;
    *b = tmp;
}

void dm_sim_event_post(struct dm_world *world, uint64_t at_ns, enum dm_sim_event_kind kind, struct dm_sim_end *end)
{
    *dm_vec_push(&world->events) =
        (struct dm_sim_event){.at_ns = at_ns, .seq = world->next_seq++, .kind = kind, .end = end};
    struct dm_sim_event *heap = world->events.items;
    for (size_t i = world->events.count - 1; i > 0 && is_before(&heap[i], &heap[(i - 1) / 2]); i = (i - 1) / 2)
        swap_events(&heap[i], &heap[(i - 1) / 2]);
    end->n_events++;
}

static struct dm_sim_event take_event(struct dm_world *world)
{
    struct dm_sim_event *heap = world->events.items;
    struct dm_sim_event first = heap[0];

    dm_vec_drop(&world->events, 0);
    for (size_t i = 0, least; 2 * i + 1 < world->events.count; i = least) {
        least = 2 * i + 1;
        if (least + 1 < world->events.count && is_before(&heap[least + 1], &heap[least]))
            least++;
        if (!is_before(&heap[least], &heap[i]))
            break;
        swap_events(&heap[i], &heap[least]);
    }
    return first;
}

/* Delivers all that arrives until then, each at its time. */
static void advance_to(struct dm_world *world, uint64_t until_ns)
{
    while (world->events.count > 0 && world->events.items[0].at_ns <= until_ns) {
        struct dm_sim_event event = take_event(world);

        world->now_ns = DM_MAX(world->now_ns, event.at_ns);
        event.end->n_events--;
        if (event.kind == SIM_EVENT_SYN)
            dm_sim_syn_arrive(event.end);
        else
            dm_sim_segment_arrive(event.end);
    }
    world->now_ns = DM_MAX(world->now_ns, until_ns);
}

/* --- clock and driving --- */

static uint64_t sim_mono_ns(struct dm_sys *sys)
{
    return dm_sim_process_of(sys)->world->now_ns;
}

enum { TICKS_A_LOOK = 100 };

/* Work takes a little, so that who has always something to do spends it, and what a test says. */
static uint64_t sim_ticks(struct dm_sys *sys)
{
    return dm_sim_process_of(sys)->world->ticks += TICKS_A_LOOK;
}

static uint64_t sim_wall_ns(struct dm_sys *sys)
{
    const struct dm_world *world = dm_sim_process_of(sys)->world;

    return (uint64_t)((int64_t)world->now_ns + world->wall_offset_ns);
}

static int sim_poll_wait(struct dm_sys *sys, int poll_fd, struct dm_ready_event *ret, int max, int timeout_ms)
{
    struct dm_sim_process *p = dm_sim_process_of(sys);
    int n = dm_sim_poll_wait(sys, poll_fd, ret, max, timeout_ms);

    p->has_more = n > 0 || (n == 0 && timeout_ms == 0);
    p->wake_ns = n == 0 && timeout_ms > 0 ? p->world->now_ns + (uint64_t)timeout_ms * ns_per_ms : SIM_NEVER;
    return (int)dm_sim_trace(p, "poll_wait", poll_fd, n);
}

uint64_t dm_world_now_ns(const struct dm_world *world)
{
    return world->now_ns;
}

void dm_world_advance_ns(struct dm_world *world, uint64_t ns)
{
    advance_to(world, world->now_ns + ns);
}

void dm_world_shift_wall_ns(struct dm_world *world, int64_t ns)
{
    world->wall_offset_ns += ns;
}

static bool has_edge(const struct dm_sim_process *p)
{
    for (size_t i = 0; i < p->fds.count; i++)
        if (p->fds.items[i].kind == SIM_POLL && dm_sim_poll_has_edge(p->fds.items[i].poll))
            return true;
    return false;
}

static bool is_busy(const struct dm_sim_process *p)
{
    return !p->is_dead && (p->has_more || p->wake_ns <= p->world->now_ns || has_edge(p));
}

enum dm_world_step dm_world_step(struct dm_world *world)
{
    uint64_t next_ns = world->events.count > 0 ? world->events.items[0].at_ns : SIM_NEVER;

    for (size_t i = 0; i < world->processes.count; i++) {
        const struct dm_sim_process *p = world->processes.items[i];

        if (is_busy(p))
            return DM_WORLD_BUSY;
        if (!p->is_dead)
            next_ns = DM_MIN(next_ns, p->wake_ns);
    }
    if (next_ns == SIM_NEVER)
        return DM_WORLD_QUIET;
    advance_to(world, next_ns);
    return DM_WORLD_MOVED;
}

void dm_world_on_turn(struct dm_sys *process, void (*turn)(void *arg), void *arg)
{
    struct dm_sim_process *p = dm_sim_process_of(process);

    p->turn = turn;
    p->turn_arg = arg;
}

enum dm_world_step dm_world_turn(struct dm_world *world)
{
    DM_VEC(struct dm_sim_process *) round = {0};

    for (size_t i = 0; i < world->processes.count; i++)
        if (world->processes.items[i]->turn)
            *dm_vec_push(&round) = world->processes.items[i];
    while (round.count > 0) {
        size_t i = (size_t)dm_sim_draw(world, round.count);
        struct dm_sim_process *p = round.items[i];

        dm_vec_drop(&round, i);
        if (!p->is_dead)
            p->turn(p->turn_arg);
    }
    dm_vec_done(&round);
    return dm_world_step(world);
}

bool dm_world_run(struct dm_world *world, bool (*is_done)(void *arg), void *arg, uint64_t limit_ns)
{
    uint64_t end_ns = world->now_ns + limit_ns;

    while (!is_done(arg)) {
        if (world->now_ns > end_ns || dm_world_turn(world) == DM_WORLD_QUIET)
            return is_done(arg);
    }
    return true;
}

/* --- processes and the world --- */

static const struct dm_sys_ops sim_ops = {
    .mono_ns = sim_mono_ns,
    .wall_ns = sim_wall_ns,
    .ticks = sim_ticks,
    .cpu_ns = sim_ticks,
    .random = sim_random,
    .listen = dm_sim_listen,
    .accept = dm_sim_accept,
    .connect = dm_sim_connect,
    .connect_error = dm_sim_connect_error,
    .recv = dm_sim_recv,
    .peek = dm_sim_peek,
    .send = dm_sim_send,
    .sendv = dm_sim_sendv,
    .shutdown_write = dm_sim_shutdown_write,
    .reset_on_close = dm_sim_reset_on_close,
    .local_addr = dm_sim_local_addr,
    .peer_cred = dm_sim_peer_cred,
    .close = sim_close,
    .poll_new = dm_sim_poll_new,
    .poll_add = dm_sim_poll_add,
    .poll_del = dm_sim_poll_del,
    .poll_wait = sim_poll_wait,
    .open = dm_sim_open,
    .read = dm_sim_read,
    .write = dm_sim_write,
    .fsync = dm_sim_fsync,
    .rename = dm_sim_rename,
    .unlink = dm_sim_unlink,
    .mkdir = dm_sim_mkdir,
    .list = dm_sim_list,
};

struct dm_world *dm_world_new(uint64_t seed, const struct dm_sim_faults *faults)
{
    struct dm_world *world = dm_calloc(1, sizeof(*world));

    world->rng.state = dm_sim_mix(seed + 1);
    world->trace = seed;
    world->wall_offset_ns = wall_start_ns;
    world->now_ns = UINT64_C(1000000000);
    dm_sim_disk_init(&world->disk);
    dm_world_set_faults(world, faults);
    return world;
}

void dm_world_work(struct dm_world *world, uint64_t ticks)
{
    world->ticks += ticks;
}

void dm_world_set_faults(struct dm_world *world, const struct dm_sim_faults *faults)
{
    world->faults = faults ? *faults : (struct dm_sim_faults){0};
}

struct dm_sys *dm_world_process(struct dm_world *world)
{
    struct dm_sim_process *p = dm_calloc(1, sizeof(*p));

    p->sys.ops = &sim_ops;
    p->world = world;
    p->index = (unsigned)world->processes.count + 1;
    p->cred = (struct dm_peer_cred){.uid = 1000, .gid = 1000, .pid = (pid_t)(1000 + p->index)};
    p->rng.state = dm_sim_rng_next(&world->rng);
    p->wake_ns = SIM_NEVER;
    *dm_vec_push(&world->processes) = p;
    return &p->sys;
}

void dm_world_set_cred(struct dm_sys *process, const struct dm_peer_cred *cred)
{
    dm_sim_process_of(process)->cred = *cred;
}

void dm_world_exit(struct dm_world *world, struct dm_sys *process)
{
    struct dm_sim_process *p = dm_sim_process_of(process);

    for (size_t i = 0; i < p->fds.count; i++)
        close_fd(p, (int)i + SIM_FIRST_FD);
    p->is_dead = true;
    dm_sim_trace(p, "exit", -1, 0);
}

void dm_world_kill(struct dm_world *world, struct dm_sys *process)
{
    dm_world_exit(world, process);
    dm_sim_disk_crash(dm_sim_process_of(process));
}

static void cut_one(struct dm_sim_process *p, unsigned index, bool is_cut)
{
    for (size_t i = p->cuts.count; i-- > 0;)
        if (p->cuts.items[i] == index)
            dm_vec_drop(&p->cuts, i);
    if (is_cut)
        *dm_vec_push(&p->cuts) = index;
}

void dm_world_cut(struct dm_world *world, struct dm_sys *a, struct dm_sys *b, bool is_cut)
{
    struct dm_sim_process *pa = dm_sim_process_of(a), *pb = dm_sim_process_of(b);

    cut_one(pa, pb->index, is_cut);
    cut_one(pb, pa->index, is_cut);
}

void dm_world_fail_nth(struct dm_sys *process, uint64_t nth, int error)
{
    struct dm_sim_process *p = dm_sim_process_of(process);

    p->fail_at = nth > 0 ? p->calls + nth : 0;
    p->fail_error = error;
}

bool dm_world_fail_reached(const struct dm_sys *process)
{
    const struct dm_sim_process *p = DM_CONTAINER_OF(process, struct dm_sim_process, sys);

    return p->fail_at > 0 && p->calls >= p->fail_at;
}

void dm_world_free(struct dm_world *world)
{
    if (!world)
        return;
    for (size_t i = 0; i < world->processes.count; i++) {
        struct dm_sim_process *p = world->processes.items[i];

        for (size_t fd = 0; fd < p->fds.count; fd++)
            close_fd(p, (int)fd + SIM_FIRST_FD);
    }
    while (world->ends)
        dm_sim_end_free(world->ends);
    dm_sim_disk_done(&world->disk);
    for (size_t i = 0; i < world->processes.count; i++) {
        dm_vec_done(&world->processes.items[i]->fds);
        dm_vec_done(&world->processes.items[i]->cuts);
        dm_free(world->processes.items[i]);
    }
    dm_vec_done(&world->processes);
    dm_vec_done(&world->events);
    dm_vec_done(&world->listeners);
    dm_free(world);
}
