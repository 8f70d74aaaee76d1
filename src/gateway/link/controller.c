#include "gateway/link/controller.h"

#include <errno.h>

#include "base/log.h"

enum {
    BACKOFF_MIN_MS = 50,
    BACKOFF_MAX_MS = 5000,
    CONNECT_MS = 5000,
    PING_MS = 5000,
    SILENCE_MS = 15000,
    UNSENT_MAX = 16 << 20,
    FRAMES_PER_TURN = 64,
};

static void dial(struct dm_controller *c);

/* --- the end of a connection ------------------------------------------------------------------------------------- */

static void wait_to_dial(struct dm_controller *c)
{
    struct dm_sys *sys = dm_loop_sys(c->loop);
    uint32_t jitter;

    sys->ops->random(sys, &jitter, sizeof(jitter));
    dm_timer_arm(c->loop, &c->timer, c->backoff_ms / 2 + jitter % (c->backoff_ms / 2 + 1));
    c->backoff_ms = DM_MIN(c->backoff_ms * 2, c->settings.backoff_max_ms);
}

/* why: static storage. The same reason again is told at debug level only. */
static void lose(struct dm_controller *c, const char *why, const char *detail)
{
    bool was_up = c->state == DM_CONTROLLER_UP;

    if (c->state == DM_CONTROLLER_IDLE)
        return;
    dm_log(c->last_failure == why && !was_up ? DM_LOG_DEBUG : DM_LOG_WARN, "link_down", "the controller %s%s%s", why,
           detail[0] ? ": " : "", detail);
    c->last_failure = why;
    c->state = DM_CONTROLLER_IDLE;
    c->n_lost += was_up;
    dm_task_cancel(c->loop, &c->task);
    dm_buf_reset(&c->in);
    if (c->has_stream)
        dm_stream_close(&c->stream);
    if (was_up)
        c->handler->on_lost(c->arg);
    if (!c->is_stopped)
        wait_to_dial(c);
}

void dm_controller_redial(struct dm_controller *controller)
{
    if (controller->state == DM_CONTROLLER_UP)
        lose(controller, "is asked anew for what is missing", "");
}

static void on_error(struct dm_stream *stream, int code)
{
    lose(DM_CONTAINER_OF(stream, struct dm_controller, stream), "can't be reached",
         code > -1000 ? strerror(-code) : dm_err_name(code));
}

static void on_eof(struct dm_stream *stream)
{
    lose(DM_CONTAINER_OF(stream, struct dm_controller, stream), "closed the connection", "");
}

static void on_closed(struct dm_stream *stream)
{
    DM_CONTAINER_OF(stream, struct dm_controller, stream)->has_stream = false;
}

/* --- frames out -------------------------------------------------------------------------------------------------- */

static void put(struct dm_controller *c, const struct dm_link_message *message)
{
    dm_buf_reset(&c->out);
    dm_link_encode(message, &c->out);
    if (c->out.failed || dm_stream_put(&c->stream, c->out.ptr, c->out.len) < 0)
        lose(c, "does not read what we send", "");
}

void dm_controller_send(struct dm_controller *controller, const struct dm_link_message *message)
{
    if (controller->state == DM_CONTROLLER_UP)
        put(controller, message);
}

static void say_hello(struct dm_controller *c)
{
    struct dm_link_message message = {.type = DM_LINK_HELLO, .hello = {.version = DM_LINK_VERSION}};

    c->handler->on_hello(c->arg, &message.hello);
    put(c, &message);
}

/* --- frames in --------------------------------------------------------------------------------------------------- */

static void on_welcome(struct dm_controller *c, const struct dm_link_message *message)
{
    struct dm_err err = {0};

    if (message->type != DM_LINK_WELCOME) {
        lose(c, "does not begin with WELCOME", dm_link_type_name(message->type));
        return;
    }
    if (message->welcome.version != DM_LINK_VERSION) {
        lose(c, "speaks another version of the protocol", "");
        return;
    }
    if (c->handler->on_welcome(c->arg, &message->welcome, &err) < 0) {
        c->backoff_ms = c->settings.backoff_max_ms;
        lose(c, "is not the one that was expected", err.message);
        return;
    }
    c->state = DM_CONTROLLER_UP;
    c->backoff_ms = c->settings.backoff_min_ms;
    c->last_failure = NULL;
    c->n_connects++;
    dm_log(DM_LOG_INFO, "link_up", "connected to the controller of cluster '%.*s'",
           DM_STR_ARG(message->welcome.cluster));
    c->handler->on_up(c->arg);
}

static void dispatch(struct dm_controller *c, const struct dm_link_message *message)
{
    c->n_frames++;
    if (c->state == DM_CONTROLLER_GREETING) {
        on_welcome(c, message);
        return;
    }
    switch (message->type) {
    case DM_LINK_PING: put(c, &(struct dm_link_message){.type = DM_LINK_PONG, .number = message->number}); break;
    case DM_LINK_PONG: break;
    case DM_LINK_UNIT:
    case DM_LINK_GONE:
    case DM_LINK_SYNCED:
    case DM_LINK_TENANT_KEY:
    case DM_LINK_HOLD:
    case DM_LINK_USED: c->handler->on_message(c->arg, message); break;
    default: lose(c, "sent what only a gateway sends", dm_link_type_name(message->type));
    }
}

/* Returns the bytes of the frame, 0 when it is not there yet, negative when the connection ended. */
static ssize_t take_frame(struct dm_controller *c, struct dm_str bytes)
{
    struct dm_link_message message;
    struct dm_err err = {0};
    ssize_t n = dm_link_frame_bytes(bytes);

    if (n == 0 || (n > 0 && (size_t)n > bytes.len))
        return 0;
    if (n > 0)
        n = dm_link_decode(bytes, &c->arena, &message, &err);
    if (n > 0)
        dispatch(c, &message);
    else
        lose(c, "sent a frame that does not decode", err.message);
    dm_arena_reset(&c->arena);
    return c->state == DM_CONTROLLER_IDLE ? DM_ECLOSED : n;
}

static void hold_stream(struct dm_controller *c, bool is_held)
{
    if (is_held && !c->is_held)
        dm_stream_pause(&c->stream);
    else if (!is_held && c->is_held)
        dm_stream_resume(&c->stream);
    c->is_held = is_held;
}

/* Takes frames from the front of what is there; the rest is for later. */
static void take_frames(struct dm_controller *c)
{
    size_t at = 0;
    ssize_t n = 0;

    for (unsigned i = 0; !c->is_paused && i < FRAMES_PER_TURN; i++) {
        n = take_frame(c, dm_str_skip(dm_buf_str(&c->in), at));
        if (n < 0)
            return; /* the buffer is empty */
        if (n == 0)
            break;
        at += (size_t)n;
    }
    dm_buf_consume(&c->in, at);
    hold_stream(c, c->is_paused || n > 0);
    if (!c->is_paused && n > 0)
        dm_task_post(c->loop, &c->task);
}

static size_t on_read(struct dm_stream *stream, const char *ptr, size_t len)
{
    struct dm_controller *c = DM_CONTAINER_OF(stream, struct dm_controller, stream);

    c->last_ns = dm_loop_now_ns(c->loop);
    dm_buf_add_n(&c->in, ptr, len);
    if (c->in.failed)
        lose(c, "sent a frame that is too large", "");
    else if (!dm_task_is_posted(&c->task))
        take_frames(c);
    return len;
}

static void run_task(struct dm_task *task)
{
    struct dm_controller *c = DM_CONTAINER_OF(task, struct dm_controller, task);

    if (c->state >= DM_CONTROLLER_GREETING)
        take_frames(c);
}

void dm_controller_pause(struct dm_controller *controller)
{
    controller->is_paused = true;
}

void dm_controller_resume(struct dm_controller *controller)
{
    if (!controller->is_paused)
        return;
    controller->is_paused = false;
    dm_task_post(controller->loop, &controller->task);
}

/* --- dialling ---------------------------------------------------------------------------------------------------- */

static void on_connect(struct dm_stream *stream)
{
    struct dm_controller *c = DM_CONTAINER_OF(stream, struct dm_controller, stream);
    struct dm_sys *sys = dm_loop_sys(c->loop);
    struct dm_peer_cred cred = {0};
    char text[64] = "";
    int rc = sys->ops->peer_cred(sys, dm_stream_fd(stream), &cred);

    if (rc < 0 || (cred.uid != c->settings.uid && cred.uid != 0)) {
        snprintf(text, sizeof(text), "its user is %ld, expected %ld", rc < 0 ? -1L : (long)cred.uid,
                 (long)c->settings.uid);
        lose(c, "is run by somebody else", text);
        return;
    }
    c->state = DM_CONTROLLER_GREETING;
    c->last_ns = dm_loop_now_ns(c->loop);
    dm_timer_arm(c->loop, &c->timer, c->settings.ping_ms);
    say_hello(c);
}

static const struct dm_stream_type stream_type = {
    .on_read = on_read,
    .on_eof = on_eof,
    .on_connect = on_connect,
    .on_error = on_error,
    .on_closed = on_closed,
    .write_max_bytes = UNSENT_MAX,
};

static void dial(struct dm_controller *c)
{
    int rc;

    if (c->has_stream) {
        wait_to_dial(c);
        return;
    }
    c->state = DM_CONTROLLER_DIALLING;
    c->is_held = false;
    rc = dm_stream_connect(&c->stream, c->loop, &stream_type, &c->settings.addr, c->settings.connect_ms);
    c->has_stream = rc == 0;
    if (rc < 0)
        lose(c, "can't be reached", strerror(-rc));
}

static void ping(struct dm_controller *c)
{
    uint64_t silent_ms = (dm_loop_now_ns(c->loop) - c->last_ns) / 1000000;

    if (silent_ms >= c->settings.silence_ms && !c->is_paused) {
        lose(c, "is silent", "");
        return;
    }
    dm_timer_arm(c->loop, &c->timer, c->settings.ping_ms);
    if (c->state == DM_CONTROLLER_UP)
        put(c, &(struct dm_link_message){.type = DM_LINK_PING, .number = c->last_ns});
}

static void on_due(struct dm_timer *timer)
{
    struct dm_controller *c = DM_CONTAINER_OF(timer, struct dm_controller, timer);

    if (c->state == DM_CONTROLLER_IDLE)
        dial(c);
    else
        ping(c);
}

static uint32_t or_default(uint32_t value, uint32_t fallback)
{
    return value ? value : fallback;
}

void dm_controller_start(struct dm_controller *controller, struct dm_loop *loop,
                         const struct dm_controller_settings *settings, const struct dm_controller_handler *handler,
                         void *arg)
{
    *controller = (struct dm_controller){.loop = loop,
                                         .handler = handler,
                                         .arg = arg,
                                         .settings = *settings,
                                         .timer.on_due = on_due,
                                         .task.run = run_task};
    struct dm_controller_settings *s = &controller->settings;

    s->backoff_min_ms = or_default(s->backoff_min_ms, BACKOFF_MIN_MS);
    s->backoff_max_ms = or_default(s->backoff_max_ms, BACKOFF_MAX_MS);
    s->connect_ms = or_default(s->connect_ms, CONNECT_MS);
    s->ping_ms = or_default(s->ping_ms, PING_MS);
    s->silence_ms = or_default(s->silence_ms, SILENCE_MS);
    controller->backoff_ms = s->backoff_min_ms;
    /* A frame that is not whole yet, and what one turn reads behind it. */
    dm_buf_init(&controller->in, DM_LINK_PAYLOAD_MAX + DM_LINK_HEAD_BYTES + (2u << 20));
    dm_buf_init(&controller->out, DM_LINK_PAYLOAD_MAX);
    dm_arena_init(&controller->arena, NULL, DM_LINK_ARENA_BYTES);
    dial(controller);
}

void dm_controller_stop(struct dm_controller *controller)
{
    controller->is_stopped = true;
    if (controller->has_stream)
        dm_stream_close(&controller->stream);
    controller->state = DM_CONTROLLER_IDLE;
    dm_timer_cancel(controller->loop, &controller->timer);
    dm_task_cancel(controller->loop, &controller->task);
    dm_buf_done(&controller->in);
    dm_buf_done(&controller->out);
    dm_arena_done(&controller->arena);
}
