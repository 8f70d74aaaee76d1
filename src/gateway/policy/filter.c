/* One operation is in hand at a time, and is brought to its end before the next:
 *
 *   op     is_through   is                                         goes on by
 *   RUN    true         waiting for the backend                    body: RUN; pause: FLUSH; end: END
 *   RUN    false        the client holds up input                  writable: RUN again, with the rest of the input
 *   FLUSH  false        the client holds up a flush                writable
 *   FLUSH  true         waiting for the backend, nothing inside    body: RUN; end: END
 *   END    false        the client holds up the end                writable
 *   END    true         gone: the response was ended
 *
 * F1. Output that the client did not take stands in `out`; nothing runs before it is taken.
 * F2. The rest of RUN's input is the backend's connection's: it presents it again. */
#include "gateway/policy/filter.h"

#include "gateway/exchange.h"

/* F1: true when all of it is taken. */
static bool drain(struct dm_filter *f)
{
    if (f->out_at < f->out.len)
        f->out_at += dm_exchange_write(f->ex, f->out.ptr + f->out_at, f->out.len - f->out_at);
    if (f->out_at < f->out.len)
        return false;
    dm_buf_reset(&f->out);
    f->out_at = 0;
    return true;
}

/* True: the operation in hand is through and what came out is taken. */
static bool pump(struct dm_filter *f, struct dm_str *in)
{
    while (drain(f)) {
        if (f->is_through)
            return true;
        f->is_through = f->ops->run(f, (enum dm_filter_op)f->op, in, &f->out);
    }
    return false;
}

static bool begin_op(struct dm_filter *f, enum dm_filter_op op, struct dm_str *in)
{
    f->op = (uint8_t)op;
    f->is_through = false;
    if (op == DM_FILTER_FLUSH)
        f->is_unflushed = false;
    return pump(f, in);
}

/* Finishes what is in hand, without more input, and then the body if it is complete. */
static bool advance(struct dm_filter *f)
{
    struct dm_str none = DM_STR_NULL;

    if (!pump(f, &none))
        return false;
    return !f->has_ended || f->op == DM_FILTER_END || begin_op(f, DM_FILTER_END, &none);
}

/* A turn without input: the backend pauses. */
static void on_pause(struct dm_task *task)
{
    struct dm_filter *f = DM_CONTAINER_OF(task, struct dm_filter, pause);
    struct dm_str none = DM_STR_NULL;

    if (f->is_fed) {
        f->is_fed = false;
        dm_task_post(f->loop, task);
    } else if (f->is_unflushed && pump(f, &none)) {
        (void)begin_op(f, DM_FILTER_FLUSH, &none);
    }
}

void dm_filter_begin(struct dm_filter *f, const struct dm_filter_ops *ops, struct dm_exchange *ex)
{
    memset(f, 0, offsetof(struct dm_filter, room));
    f->ops = ops;
    f->ex = ex;
    f->loop = dm_http_request_loop(ex->caller);
    f->pause.run = on_pause;
    f->is_through = true;
    dm_buf_init_fixed(&f->out, f->room, sizeof(f->room));
    ex->filter = f;
}

size_t dm_filter_body(struct dm_filter *f, const char *ptr, size_t len)
{
    struct dm_str in = dm_str_n(ptr, len), none = DM_STR_NULL;

    if (!pump(f, f->op == DM_FILTER_RUN ? &in : &none))
        return len - in.len;
    if (in.len > 0)
        (void)begin_op(f, DM_FILTER_RUN, &in);
    f->is_fed = f->is_unflushed = true;
    dm_task_post(f->loop, &f->pause);
    return len - in.len;
}

static void finish(struct dm_filter *f)
{
    struct dm_http_request *caller = f->ex->caller;
    struct dm_str trailers = f->trailers;

    dm_filter_drop(f->ex);
    dm_http_request_end(caller, trailers);
}

int dm_filter_end(struct dm_filter *f, struct dm_str trailers)
{
    f->has_ended = true;
    f->trailers = trailers;
    dm_task_cancel(f->loop, &f->pause);
    if (!advance(f))
        return trailers.len > 0 ? dm_arena_str(&f->ex->arena, trailers, &f->trailers) : 0;
    finish(f);
    return 0;
}

bool dm_filter_writable(struct dm_filter *f)
{
    if (!advance(f))
        return false;
    if (f->has_ended) {
        finish(f);
        return false;
    }
    if (f->is_unflushed)
        dm_task_post(f->loop, &f->pause);
    return true;
}

void dm_filter_drop(struct dm_exchange *ex)
{
    struct dm_filter *f = ex->filter;

    if (!f)
        return;
    ex->filter = NULL;
    dm_task_cancel(f->loop, &f->pause);
    f->ops->free(f);
}
