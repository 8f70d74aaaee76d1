/* Connections of the simulation: the two ends, and the segments that travel between them in order and with latency. */
#include "base/sim_int.h"

enum { DEFAULT_ROOM_BYTES = 65536, SEGMENT_BYTES_MAX = 16384, SYN_TRIES_MAX = 6 };

static const uint64_t retransmit_ns = 200u * 1000000u;

static bool is_unix(const struct dm_sim_end *end)
{
    return end->remote.ss.ss_family == AF_UNIX;
}

bool dm_sim_end_is_writable(const struct dm_sim_end *end)
{
    return end->room_bytes - end->unread >= end->room_bytes / 3;
}

static unsigned dead_ready(const struct dm_sim_end *end)
{
    return DM_READY_IN | DM_READY_OUT | DM_READY_HUP | (end->error ? DM_READY_ERR : 0);
}

/* Looking at an end without room owes it an edge when there is room, as epoll does. */
static unsigned end_ready(struct dm_sim_source *source)
{
    struct dm_sim_end *end = (struct dm_sim_end *)source;
    unsigned ready = 0;

    if (end->state == SIM_END_CONNECTING)
        return 0;
    if (end->state == SIM_END_DEAD || (end->is_eof && (end->is_shut || end->is_broken)))
        return dead_ready(end);
    if (end->is_eof)
        ready |= DM_READY_IN | DM_READY_HUP;
    if (end->arrived.len > 0)
        ready |= DM_READY_IN;
    if (end->is_shut || dm_sim_end_is_writable(end))
        ready |= DM_READY_OUT;
    else
        end->wants_room = true;
    return ready;
}

struct dm_sim_end *dm_sim_end_new(struct dm_sim_process *p, const struct dm_addr *local, const struct dm_addr *remote)
{
    struct dm_world *world = p->world;
    struct dm_sim_end *end = dm_calloc(1, sizeof(*end));

    end->source.ready = end_ready;
    end->world = world;
    end->process = p;
    end->local = *local;
    end->remote = *remote;
    end->room_bytes = world->faults.socket_bytes ? world->faults.socket_bytes : DEFAULT_ROOM_BYTES;
    end->inbound_tail = &end->inbound;
    dm_buf_init(&end->arrived, SIZE_MAX / 2);
    if ((end->next = world->ends))
        end->next->prev = end;
    world->ends = end;
    return end;
}

static void drop_inbound(struct dm_sim_end *end)
{
    struct dm_sim_segment *segment;

    while ((segment = end->inbound)) {
        end->inbound = segment->next;
        dm_free(segment);
    }
    end->inbound_tail = &end->inbound;
}

void dm_sim_end_free(struct dm_sim_end *end)
{
    dm_sim_source_done(&end->source);
    drop_inbound(end);
    dm_buf_done(&end->arrived);
    if (end->next)
        end->next->prev = end->prev;
    if (end->prev)
        end->prev->next = end->next;
    else
        end->world->ends = end->next;
    dm_free(end);
}

void dm_sim_end_reap(struct dm_sim_end *end)
{
    struct dm_sim_end *peer = end->peer;

    if (!end->is_closed || end->n_events > 0 || (peer && (!peer->is_closed || peer->n_events > 0)))
        return;
    dm_sim_end_free(end);
    if (peer)
        dm_sim_end_free(peer);
}

void dm_sim_end_join(struct dm_sim_end *client, struct dm_sim_end *server)
{
    client->peer = server;
    server->peer = client;
    server->state = SIM_END_OPEN;
}

uint64_t dm_sim_latency_ns(struct dm_world *world)
{
    uint64_t min = world->faults.latency_ns_min, max = world->faults.latency_ns_max;

    return max > min ? min + dm_sim_draw(world, max - min + 1) : min;
}

bool dm_sim_is_cut(const struct dm_sim_process *a, const struct dm_sim_process *b)
{
    for (size_t i = 0; i < a->cuts.count; i++)
        if (a->cuts.items[i] == b->index)
            return true;
    return false;
}

/* --- sending --- */

static void deliver(struct dm_sim_end *end, const struct dm_sim_segment *segment);

static struct dm_sim_segment *segment_new(enum dm_sim_segment_kind kind, const void *bytes, size_t len)
{
    size_t n_bytes = kind == SIM_SEGMENT_DATA ? len : 0;
    struct dm_sim_segment *segment = dm_alloc(sizeof(*segment) + n_bytes);

    *segment = (struct dm_sim_segment){.kind = kind, .len = len};
    if (n_bytes > 0)
        memcpy(segment->bytes, bytes, n_bytes);
    return segment;
}

static void append(struct dm_sim_end *to, struct dm_sim_segment *segment)
{
    bool is_first = !to->inbound;

    segment->at_ns = to->world->now_ns + dm_sim_latency_ns(to->world);
    *to->inbound_tail = segment;
    to->inbound_tail = &segment->next;
    if (is_first)
        dm_sim_event_post(to->world, segment->at_ns, SIM_EVENT_SEGMENT, to);
}

static void post_one(struct dm_sim_end *to, enum dm_sim_segment_kind kind, const void *bytes, size_t len)
{
    struct dm_sim_segment *segment = segment_new(kind, bytes, len);

    if (is_unix(to)) {
        deliver(to, segment);
        dm_free(segment);
    } else {
        append(to, segment);
    }
}

void dm_sim_end_post(struct dm_sim_end *to, enum dm_sim_segment_kind kind, const void *bytes, size_t len)
{
    const char *at = bytes;

    if (kind != SIM_SEGMENT_DATA) {
        post_one(to, kind, NULL, len);
        return;
    }
    for (size_t n; len > 0; at += n, len -= n) {
        n = dm_sim_shorten(to->world, DM_MIN(len, (size_t)SEGMENT_BYTES_MAX));
        post_one(to, kind, at, n);
    }
}

void dm_sim_end_wake_later(struct dm_sim_end *end)
{
    append(end, segment_new(SIM_SEGMENT_WAKE, NULL, 0));
}

void dm_sim_syn_post(struct dm_sim_end *client, uint64_t delay_ns)
{
    if (client->n_tries++ >= SYN_TRIES_MAX) {
        dm_sim_end_fail(client, ETIMEDOUT);
        return;
    }
    dm_sim_event_post(client->world, client->world->now_ns + delay_ns, SIM_EVENT_SYN, client);
}

/* --- arriving --- */

void dm_sim_end_fail(struct dm_sim_end *end, int error)
{
    if (end->state == SIM_END_DEAD || end->is_closed)
        return;
    end->state = SIM_END_DEAD;
    end->error = error;
    dm_sim_source_wake(&end->source);
}

static int error_of_reset(const struct dm_sim_end *end)
{
    if (end->state == SIM_END_CONNECTING)
        return ECONNREFUSED;
    return end->is_eof && !is_unix(end) ? EPIPE : ECONNRESET;
}

static void on_data(struct dm_sim_end *end, const struct dm_sim_segment *segment)
{
    if (end->state == SIM_END_DEAD)
        return;
    dm_buf_add_n(&end->arrived, segment->bytes, segment->len);
    dm_sim_source_wake(&end->source);
}

static void on_room(struct dm_sim_end *end, size_t len)
{
    end->unread -= len;
    if (!end->wants_room || !dm_sim_end_is_writable(end))
        return;
    end->wants_room = false;
    dm_sim_source_wake(&end->source);
}

static void on_end_of_data(struct dm_sim_end *end, bool is_gone)
{
    end->is_eof = true;
    end->is_broken |= is_gone;
    dm_sim_source_wake(&end->source);
}

/* A closed end answers data with a reset and ignores the rest. */
static void deliver_closed(struct dm_sim_end *end, const struct dm_sim_segment *segment)
{
    if (segment->kind == SIM_SEGMENT_DATA && end->peer && !end->peer->is_closed)
        dm_sim_end_post(end->peer, SIM_SEGMENT_RESET, NULL, 0);
}

static void deliver(struct dm_sim_end *end, const struct dm_sim_segment *segment)
{
    if (end->is_closed) {
        deliver_closed(end, segment);
        return;
    }
    switch (segment->kind) {
    case SIM_SEGMENT_OPEN:
        if (end->state == SIM_END_CONNECTING)
            end->state = SIM_END_OPEN;
        dm_sim_source_wake(&end->source);
        break;
    case SIM_SEGMENT_REFUSED:
    case SIM_SEGMENT_RESET: dm_sim_end_fail(end, error_of_reset(end)); break;
    case SIM_SEGMENT_DATA: on_data(end, segment); break;
    case SIM_SEGMENT_ROOM: on_room(end, segment->len); break;
    case SIM_SEGMENT_FIN:
    case SIM_SEGMENT_GONE: on_end_of_data(end, segment->kind == SIM_SEGMENT_GONE); break;
    case SIM_SEGMENT_WAKE: dm_sim_source_wake(&end->source); break;
    }
}

void dm_sim_segment_arrive(struct dm_sim_end *end)
{
    struct dm_world *world = end->world;
    struct dm_sim_segment *segment = end->inbound;

    if (end->peer && !end->is_closed && dm_sim_is_cut(end->process, end->peer->process)) {
        dm_sim_event_post(world, world->now_ns + retransmit_ns, SIM_EVENT_SEGMENT, end);
        return;
    }
    if (!(end->inbound = segment->next))
        end->inbound_tail = &end->inbound;
    else
        dm_sim_event_post(world, DM_MAX(end->inbound->at_ns, world->now_ns), SIM_EVENT_SEGMENT, end);
    deliver(end, segment);
    dm_free(segment);
    dm_sim_end_reap(end);
}

/* --- ending --- */

void dm_sim_end_reset(struct dm_sim_end *end)
{
    dm_sim_end_fail(end, error_of_reset(end));
    if (end->peer && !end->peer->is_closed)
        dm_sim_end_post(end->peer, SIM_SEGMENT_RESET, NULL, 0);
}

/* What the peer learns when the descriptor goes: RFC 9293 3.10.4, with a reset where data were left unread. */
static void tell_peer(struct dm_sim_end *end)
{
    struct dm_sim_end *peer = end->peer;

    if (!peer || peer->is_closed || end->state == SIM_END_DEAD)
        return;
    if (end->arrived.len > 0 || end->state == SIM_END_CONNECTING || end->is_to_reset)
        dm_sim_end_post(peer, SIM_SEGMENT_RESET, NULL, 0);
    else if (is_unix(end))
        dm_sim_end_post(peer, SIM_SEGMENT_GONE, NULL, 0);
    else if (!end->is_shut)
        dm_sim_end_post(peer, SIM_SEGMENT_FIN, NULL, 0);
}

void dm_sim_end_close(struct dm_sim_end *end)
{
    tell_peer(end);
    end->is_closed = true;
    dm_sim_source_done(&end->source);
    dm_buf_done(&end->arrived);
    dm_sim_end_reap(end);
}
