#include "gateway/upstream/limiter.h"

#include "base/mix.h"

#include <math.h>

#define LOW 0.32  /* log2(1.25) */
#define HIGH 0.74 /* log2(1.67) */
#define STEP 0.8
#define GROWTH 0.1
#define GROWTH_FAR 0.25 /* while the gap is less than half of LOW */
#define E_MIN 0.1
#define SURE 2.5 /* standard errors */
#define FADE 0.99
#define ERROR_MAX 0.08       /* of a window's mean: 6 % */
#define ERROR_MODEL 0.03     /* calls of a window are not independent */
#define CALLS_MIN 50         /* what every fiftieth call is like is seen */
#define PATIENCE_NS 10e9     /* then a window is judged as it is */
#define BASE_MUCH_LOWER 0.15 /* not by chance */
#define RATE_HIGHER 0.3      /* throughput that proves a base */
#define RATE_LOWER 0.2       /* throughput that was lost by draining */
#define HINTS 2
#define WANDER_MAX 0.2 /* what is more is a change */
#define MOVED 0.05     /* of log2 of the calls in flight: the limit was moved */

static void set_limit(struct dm_limiter *l, double limit)
{
    l->limit = DM_MIN(DM_MAX(limit, l->settings.min), l->settings.max);
}

void dm_limiter_init(struct dm_limiter *l, const struct dm_limiter_settings *settings, double limit, uint64_t seed)
{
    memset(l, 0, sizeof(*l));
    l->settings = *settings;
    l->chance = seed;
    set_limit(l, limit);
}

void dm_limiter_set(struct dm_limiter *l, const struct dm_limiter_settings *settings)
{
    l->settings = *settings;
    l->top = DM_MIN(DM_MAX(l->top, settings->min), settings->max);
    set_limit(l, l->limit);
}

/* --- the slope ---------------------------------------------------------------------------------------------------- */

static void forget_slope(struct dm_limiter *l)
{
    l->slope = (struct dm_limiter_slope){.wander = l->slope.wander};
}

static double squared(double x)
{
    return x * x;
}

/* A pair of windows: where the number of calls moved it says how latency follows, else how latency moves by itself. */
static void note_pair(struct dm_limiter *l, const struct dm_limiter_point *now)
{
    struct dm_limiter_slope *s = &l->slope;
    double dx = now->in_flight - l->before.in_flight, dy = now->latency - l->before.latency,
           variance = squared(l->before.error) + squared(now->error) + 2 * squared(ERROR_MODEL);

    if (fabs(dx) < MOVED) {
        s->wander += (DM_MIN(squared(dy), squared(WANDER_MAX)) - s->wander) / 10;
        return;
    }
    s->xy = s->xy * FADE + dx * dy;
    s->xx = s->xx * FADE + dx * dx;
    s->variance = s->variance * FADE * FADE + dx * dx * DM_MAX(variance, s->wander);
}

/* 1: latency follows the number of calls, for sure; -1: it does not, for sure; 0: who knows. */
static int read_slope(const struct dm_limiter_slope *s)
{
    double e, error;

    if (s->xx <= 0)
        return 0;
    e = s->xy / s->xx;
    error = sqrt(s->variance) / s->xx;
    if (e - SURE * error > 0)
        return 1;
    return e + SURE * error < E_MIN ? -1 : 0;
}

/* --- the base ----------------------------------------------------------------------------------------------------- */

static double rate_of(const struct dm_limiter_point *point)
{
    return point->in_flight - point->latency;
}

/* Of a window that is uncertain the upper end, so that many of them do not find ever lower ones by chance. */
static double upper_end(const struct dm_limiter_point *point)
{
    return point->latency + 2 * point->error;
}

static void lower_base(struct dm_limiter *l, const struct dm_limiter_point *now)
{
    double latency = upper_end(now);

    if (l->base > 0 && latency >= l->base)
        return;
    if (l->base <= 0 || latency < l->base - BASE_MUCH_LOWER) {
        l->base_rate = rate_of(now);
        l->is_proven = false;
    }
    l->base = latency;
}

static void prove_base(struct dm_limiter *l, const struct dm_limiter_point *now)
{
    l->n_hints = rate_of(now) > l->base_rate + RATE_HIGHER ? l->n_hints + 1 : 0;
    l->is_proven |= l->n_hints >= HINTS;
}

/* --- states ------------------------------------------------------------------------------------------------------- */

static void test(struct dm_limiter *l)
{
    l->state = DM_LIMITER_TESTING;
    l->top = l->limit;
    set_limit(l, l->limit * STEP);
}

static void drain(struct dm_limiter *l, const struct dm_limiter_point *now)
{
    l->state = DM_LIMITER_DRAINING;
    l->top = rate_of(now);
    l->n_hints = 0;
    set_limit(l, l->limit * STEP);
}

static void seek(struct dm_limiter *l, const struct dm_limiter_point *now)
{
    double gap = now->latency - l->base;

    if (!l->is_proven && gap >= LOW)
        drain(l, now);
    else if (gap - now->error > HIGH)
        test(l);
    else if (gap < LOW)
        set_limit(l, l->limit + DM_MAX(1, l->limit * (gap < LOW / 2 ? GROWTH_FAR : GROWTH)));
}

static void end_test(struct dm_limiter *l)
{
    l->state = DM_LIMITER_SEEKING;
    set_limit(l, l->top);
}

/* The backend is slower than it was, however few calls it gets. */
static void raise_base(struct dm_limiter *l, const struct dm_limiter_point *now)
{
    l->base = DM_MAX(l->base, upper_end(now));
    l->base_rate = rate_of(now);
    l->is_proven = false;
    forget_slope(l);
    end_test(l);
}

static void go_on_testing(struct dm_limiter *l, const struct dm_limiter_point *now)
{
    int slope = read_slope(&l->slope);
    double gap = now->latency - l->base;

    if (slope < 0) {
        raise_base(l, now);
        return;
    }
    if (slope > 0) {
        l->top = DM_MAX(l->top * STEP, l->settings.min);
        forget_slope(l);
    }
    if (gap + now->error < HIGH) {
        end_test(l);
        return;
    }
    l->chance = dm_mix64(l->chance + 1);
    set_limit(l, slope > 0 || l->chance & 1 ? l->top : l->top * STEP);
}

static void go_on_draining(struct dm_limiter *l, const struct dm_limiter_point *now)
{
    double rate = rate_of(now), error = DM_MAX(now->error, sqrt(l->slope.wander / 2));

    l->n_hints = rate + 2 * error < l->top - RATE_LOWER ? l->n_hints + 1 : 0;
    l->top = DM_MAX(l->top, rate);
    if (l->n_hints == 0 && l->limit > l->settings.min) {
        set_limit(l, l->limit * STEP);
        return;
    }
    if (l->n_hints == 1 && l->limit > l->settings.min)
        return; /* once more, to be sure */
    l->state = DM_LIMITER_SEEKING;
    l->is_proven = l->n_hints == 0; /* there is nothing lower */
    l->base_rate = rate;
    forget_slope(l);
    if (l->n_hints > 0)
        set_limit(l, l->limit / STEP);
    l->n_hints = 0;
}

/* With less to do nothing can be tested. */
static void rest(struct dm_limiter *l)
{
    if (l->state == DM_LIMITER_TESTING)
        end_test(l);
    l->state = DM_LIMITER_SEEKING;
    l->n_hints = 0;
}

static void judge(struct dm_limiter *l, const struct dm_limiter_point *now)
{
    bool is_reached = l->window.is_reached;

    lower_base(l, now);
    if (l->state != DM_LIMITER_DRAINING)
        prove_base(l, now);
    if (l->has_before && is_reached)
        note_pair(l, now);
    l->before = *now;
    l->has_before = is_reached;
    if (!is_reached) {
        rest(l);
        return;
    }
    switch (l->state) {
    case DM_LIMITER_SEEKING: seek(l, now); break;
    case DM_LIMITER_TESTING: go_on_testing(l, now); break;
    case DM_LIMITER_DRAINING: go_on_draining(l, now); break;
    }
}

/* --- windows ------------------------------------------------------------------------------------------------------ */

/* False: it is not known well enough yet (L2). */
static bool read_window(const struct dm_limiter_window *w, uint64_t now_ns, struct dm_limiter_point *ret)
{
    double length_ns = (double)(now_ns - w->from_ns), mean, variance;

    if (w->n < CALLS_MIN || length_ns < 2 * w->sum_took_ns / w->n)
        return false;
    mean = w->sum / w->n;
    variance = DM_MAX(w->sum_squares / w->n - mean * mean, 1e-6) / w->n;
    if (variance > squared(ERROR_MAX) && length_ns < PATIENCE_NS)
        return false;
    *ret = (struct dm_limiter_point){mean, log2(w->sum_in_flight / w->n), sqrt(variance)};
    return true;
}

static void begin_window(struct dm_limiter *l, uint64_t now_ns)
{
    l->window = (struct dm_limiter_window){.from_ns = now_ns};
}

/* What is in flight when the limit moves was begun under the other one: it is not counted. */
static bool end_window(struct dm_limiter *l, uint64_t now_ns)
{
    struct dm_limiter_point now;
    double limit = l->limit, took_ns = l->window.sum_took_ns / DM_MAX(l->window.n, 1u);

    l->due_ns = (now_ns / DM_LIMITER_SLOT_NS + 1) * DM_LIMITER_SLOT_NS;
    if (!read_window(&l->window, now_ns, &now))
        return false;
    judge(l, &now);
    l->settled_ns = l->limit < limit || l->limit > limit ? now_ns + (uint64_t)(2 * took_ns) : now_ns;
    begin_window(l, now_ns);
    return true;
}

static void count(struct dm_limiter *l, uint64_t took_ns, uint64_t now_ns)
{
    struct dm_limiter_window *w = &l->window;
    double latency = log2((double)DM_MAX(took_ns, UINT64_C(1)));

    if (w->n == 0)
        w->from_ns = now_ns;
    w->n++;
    w->sum += latency;
    w->sum_squares += latency * latency;
    w->sum_took_ns += (double)took_ns;
    w->sum_in_flight += l->in_flight;
}

bool dm_limiter_answer(struct dm_limiter *l, uint64_t took_ns, uint64_t now_ns)
{
    bool was_judged = false;

    if (now_ns + DM_LIMITER_SLOT_NS < l->due_ns || now_ns + DM_LIMITER_SLOT_NS < l->window.from_ns) {
        l->due_ns = l->settled_ns = 0; /* the clock was set back */
        begin_window(l, now_ns);
    }
    if (now_ns >= l->due_ns)
        was_judged = end_window(l, now_ns);
    if (now_ns >= l->settled_ns)
        count(l, took_ns, now_ns);
    l->in_flight--;
    return was_judged;
}

/* --- several ------------------------------------------------------------------------------------------------------ */

struct dm_circuit_limit dm_limiter_found(const struct dm_limiter *l)
{
    return (struct dm_circuit_limit){(float)l->base, (float)l->limit, l->is_proven};
}

void dm_limiter_hear(struct dm_limiter *l, struct dm_circuit_limit found)
{
    if (!(found.base > 0) || !isfinite(found.base))
        return;
    l->base = (double)found.base;
    l->base_rate = rate_of(&l->before);
    l->is_proven = found.is_proven;
    l->n_hints = 0;
}
