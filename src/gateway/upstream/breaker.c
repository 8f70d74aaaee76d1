#include "gateway/upstream/breaker.h"

#include "model/backend.h"

#define MS_NS UINT64_C(1000000)

/* --- the window --------------------------------------------------------------------------------------------------- */

static uint64_t slice_ns(const struct dm_breaker *b)
{
    return DM_MAX(b->settings.window_ns / DM_BREAKER_SLICES, UINT64_C(1));
}

/* Slices end at multiples of their length. */
static void move_on(struct dm_breaker *b, uint64_t now_ns)
{
    uint64_t length = slice_ns(b), steps = (now_ns - b->slice_end_ns) / length + 1;

    for (uint64_t i = 0; i < DM_MIN(steps, (uint64_t)DM_BREAKER_SLICES); i++) {
        struct dm_breaker_count *oldest = &b->slices[b->slice = (b->slice + 1) % DM_BREAKER_SLICES];
        b->window.calls -= oldest->calls;
        b->window.failed -= oldest->failed;
        b->window.slow -= oldest->slow;
        *oldest = (struct dm_breaker_count){0};
    }
    b->slice_end_ns += steps * length;
}

static void clear(struct dm_breaker *b, uint64_t now_ns)
{
    memset(b->slices, 0, sizeof(b->slices));
    b->window = (struct dm_breaker_count){0};
    b->slice_end_ns = (now_ns / slice_ns(b) + 1) * slice_ns(b);
    b->run = b->cuts = 0;
}

static void count(struct dm_breaker *b, enum dm_breaker_outcome outcome, uint64_t now_ns)
{
    struct dm_breaker_count *slice;

    if (now_ns >= b->slice_end_ns)
        move_on(b, now_ns);
    slice = &b->slices[b->slice];
    slice->calls++;
    b->window.calls++;
    slice->failed += outcome == DM_BREAKER_FAILED;
    b->window.failed += outcome == DM_BREAKER_FAILED;
    slice->slow += outcome == DM_BREAKER_SLOW;
    b->window.slow += outcome == DM_BREAKER_SLOW;
}

/* --- changes ------------------------------------------------------------------------------------------------------ */

static void enter(struct dm_breaker *b, enum dm_breaker_state to, uint64_t now_ns)
{
    b->generation++;
    b->state = to;
    b->since_ns = now_ns;
    b->probes_out = b->probes_passed = 0;
    b->is_hurried = false;
    b->is_prober = true;
    if (to != DM_BREAKER_HALF_OPEN)
        clear(b, now_ns);
}

static void change(struct dm_breaker *b, enum dm_breaker_state to, enum dm_breaker_cause cause, uint64_t now_ns)
{
    b->change = (struct dm_breaker_change){.from = b->state,
                                           .to = to,
                                           .cause = cause,
                                           .window = b->window,
                                           .run = cause == DM_BREAKER_CUTS ? b->cuts : b->run,
                                           .open_for_ns = to == DM_BREAKER_OPEN ? b->open_for_ns : 0,
                                           .lasted_ns = now_ns - b->since_ns};
    b->has_changed = true;
    enter(b, to, now_ns);
}

static uint64_t open_for_ns(const struct dm_breaker_settings *s, uint8_t level)
{
    uint64_t longest = DM_MAX(s->open_max_ns, s->open_ns);

    return level == 0 ? 0 : DM_MIN(s->open_ns << DM_MIN(level - 1, 20), longest);
}

/* B4 */
static void open_up(struct dm_breaker *b, enum dm_breaker_cause cause, uint64_t now_ns)
{
    const struct dm_breaker_settings *s = &b->settings;
    bool is_again =
        b->level > 0 && (b->state == DM_BREAKER_HALF_OPEN || now_ns - b->since_ns < b->open_for_ns + s->window_ns);

    b->level = is_again ? (uint8_t)DM_MIN(b->level + 1, DM_BREAKER_LEVEL_MAX) : 1;
    b->open_for_ns = open_for_ns(s, b->level);
    change(b, DM_BREAKER_OPEN, cause, now_ns);
}

static bool is_share(const struct dm_breaker *b, uint32_t n, uint32_t percent)
{
    return b->window.calls >= b->settings.calls_min && (uint64_t)n * 100 >= (uint64_t)b->window.calls * percent;
}

/* What has just been counted may be too much. */
static void judge(struct dm_breaker *b, uint64_t now_ns)
{
    if (b->settings.mode != DM_BREAKER_AUTO)
        return;
    if (b->run >= b->settings.run_max)
        open_up(b, DM_BREAKER_RUN, now_ns);
    else if (b->cuts >= b->settings.run_max)
        open_up(b, DM_BREAKER_CUTS, now_ns);
    else if (b->window.failed > 0 && is_share(b, b->window.failed, b->settings.failed_percent))
        open_up(b, DM_BREAKER_FAILURES, now_ns);
    else if (b->window.slow > 0 && is_share(b, b->window.slow, b->settings.slow_percent))
        open_up(b, DM_BREAKER_SLOWNESS, now_ns);
}

static void begin(struct dm_breaker *b, uint64_t now_ns)
{
    b->level = 0;
    b->open_for_ns = b->settings.mode == DM_BREAKER_HELD_OPEN ? UINT64_MAX : 0;
    change(b, b->open_for_ns > 0 ? DM_BREAKER_OPEN : DM_BREAKER_CLOSED, b->settings.by, now_ns);
}

void dm_breaker_init(struct dm_breaker *b, const struct dm_breaker_settings *settings, uint64_t now_ns)
{
    memset(b, 0, sizeof(*b));
    b->settings = *settings;
    b->since_ns = now_ns;
    begin(b, now_ns);
    b->has_changed = b->state != DM_BREAKER_CLOSED;
}

void dm_breaker_set(struct dm_breaker *b, const struct dm_breaker_settings *settings, uint64_t now_ns)
{
    bool is_other_window = settings->window_ns != b->settings.window_ns,
         is_other_mode = settings->mode != b->settings.mode;

    b->settings = *settings;
    if (is_other_window)
        clear(b, now_ns);
    if (b->state == DM_BREAKER_HALF_OPEN && b->probes_passed >= settings->probes_max)
        change(b, DM_BREAKER_CLOSED, DM_BREAKER_PROBE, now_ns);
    if (!is_other_mode)
        return;
    if (settings->mode == DM_BREAKER_HELD_OPEN || b->state != DM_BREAKER_CLOSED)
        begin(b, now_ns);
    else
        clear(b, now_ns);
}

void dm_breaker_hurry(struct dm_breaker *b)
{
    b->is_hurried = b->state == DM_BREAKER_OPEN && b->open_for_ns != UINT64_MAX;
}

/* --- calls -------------------------------------------------------------------------------------------------------- */

/* B2. Those that are out for too long are not waited for. */
static bool has_room_for_probe(struct dm_breaker *b, uint64_t now_ns)
{
    if (b->probes_out + b->probes_passed < b->settings.probes_max)
        return true;
    if (b->probes_out == 0 || now_ns - b->probed_ns < b->settings.open_ns)
        return false;
    b->probes_out = 0;
    b->generation++;
    return true;
}

bool dm_breaker_take_probe(struct dm_breaker *b, struct dm_breaker_ticket *ticket, uint64_t now_ns)
{
    if (b->state == DM_BREAKER_OPEN) {
        if (dm_breaker_wait_ns(b, now_ns) > 0)
            return false;
        change(b, DM_BREAKER_HALF_OPEN, DM_BREAKER_TIME, now_ns);
    }
    if (!b->is_prober || !has_room_for_probe(b, now_ns))
        return false;
    b->probes_out++;
    b->probed_ns = now_ns;
    *ticket = (struct dm_breaker_ticket){b->generation, DM_BREAKER_TICKET_OUT};
    return true;
}

uint64_t dm_breaker_wait_ns(const struct dm_breaker *b, uint64_t now_ns)
{
    if (b->state != DM_BREAKER_OPEN || b->is_hurried)
        return 0;
    if (b->open_for_ns == UINT64_MAX)
        return UINT64_MAX;
    return now_ns - b->since_ns < b->open_for_ns ? b->open_for_ns - (now_ns - b->since_ns) : 0;
}

static void end_probe(struct dm_breaker *b, enum dm_breaker_outcome outcome, uint64_t now_ns)
{
    b->probes_out--;
    if (outcome != DM_BREAKER_OK)
        open_up(b, DM_BREAKER_PROBE, now_ns);
    else if (++b->probes_passed >= b->settings.probes_max)
        change(b, DM_BREAKER_CLOSED, DM_BREAKER_PROBE, now_ns);
}

void dm_breaker_answer(struct dm_breaker *b, struct dm_breaker_ticket *ticket, enum dm_breaker_outcome outcome,
                       uint64_t now_ns)
{
    if (ticket->step != DM_BREAKER_TICKET_OUT)
        return;
    ticket->step = outcome == DM_BREAKER_FAILED ? DM_BREAKER_TICKET_NONE : DM_BREAKER_TICKET_ANSWERED;
    if (DM_UNLIKELY(ticket->generation != b->generation))
        return; /* B1 */
    if (DM_UNLIKELY(b->state == DM_BREAKER_HALF_OPEN)) {
        end_probe(b, outcome, now_ns);
        return;
    }
    count(b, outcome, now_ns);
    b->run = outcome == DM_BREAKER_FAILED ? b->run + 1 : 0;
    if (DM_UNLIKELY(outcome != DM_BREAKER_OK))
        judge(b, now_ns);
}

void dm_breaker_whole(struct dm_breaker *b, struct dm_breaker_ticket *ticket)
{
    if (ticket->step == DM_BREAKER_TICKET_ANSWERED && ticket->generation == b->generation)
        b->cuts = 0;
    ticket->step = DM_BREAKER_TICKET_NONE;
}

void dm_breaker_cut(struct dm_breaker *b, struct dm_breaker_ticket *ticket, uint64_t answered_ns, uint64_t now_ns)
{
    bool counts = ticket->step == DM_BREAKER_TICKET_ANSWERED && ticket->generation == b->generation &&
                  b->state == DM_BREAKER_CLOSED && now_ns - answered_ns < b->settings.window_ns;

    ticket->step = DM_BREAKER_TICKET_NONE;
    if (!counts)
        return;
    count(b, DM_BREAKER_FAILED, now_ns);
    b->cuts++;
    judge(b, now_ns);
}

void dm_breaker_drop(struct dm_breaker *b, struct dm_breaker_ticket *ticket)
{
    if (ticket->step == DM_BREAKER_TICKET_OUT && ticket->generation == b->generation && b->probes_out > 0)
        b->probes_out--;
    ticket->step = DM_BREAKER_TICKET_NONE;
}

/* --- several ------------------------------------------------------------------------------------------------------ */

struct dm_breaker_view dm_breaker_view(const struct dm_breaker *b, uint64_t now_ns)
{
    uint64_t since_ns = b->state != DM_BREAKER_HALF_OPEN ? b->since_ns : b->probes_out > 0 ? now_ns : 0;

    return (struct dm_breaker_view){.state = b->state,
                                    .is_held = b->settings.mode != DM_BREAKER_AUTO,
                                    .level = b->level,
                                    .passed = (uint8_t)b->probes_passed,
                                    .since_ms = since_ns / MS_NS};
}

/* Clocks of two owners differ by a moment, so a time may be ahead of ours. */
void dm_breaker_adopt(struct dm_breaker *b, const struct dm_breaker_view *view, uint64_t now_ns)
{
    bool is_held_open = view->is_held && view->state == DM_BREAKER_OPEN;

    if (view->state == DM_BREAKER_HALF_OPEN && b->state == DM_BREAKER_HALF_OPEN && !b->is_prober) {
        b->probes_passed = view->passed; /* the lease of who makes them was renewed, or is free */
        return;
    }
    enter(b, view->state, view->state == DM_BREAKER_HALF_OPEN ? now_ns : DM_MIN(view->since_ms * MS_NS, now_ns));
    clear(b, now_ns);
    b->level = view->level;
    b->open_for_ns = is_held_open ? UINT64_MAX : open_for_ns(&b->settings, view->level);
    b->probes_passed = view->passed;
    b->is_prober = view->state != DM_BREAKER_HALF_OPEN;
    b->has_changed = false;
}

void dm_breaker_claim(struct dm_breaker *b)
{
    b->is_prober = true;
    b->generation++;
    b->probes_out = 0;
}
