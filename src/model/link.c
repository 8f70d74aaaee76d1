/* Encoding and decoding of link frames. A frame decodes whole or not at all; every count is checked against the bytes that
 * are there before anything is allocated for it. */
#include "model/link.h"
#include "base/buf.h"
#include "model/backend.h"

#include <assert.h>

/* --- encoding ---------------------------------------------------------------------------------------------------- */

static void put(struct dm_buf *buf, uint64_t value, unsigned bytes)
{
    while (bytes-- > 0)
        dm_buf_add_char(buf, (char)(uint8_t)(value >> 8 * bytes));
}

static void put_str(struct dm_buf *buf, struct dm_str s)
{
    assert(s.len <= UINT16_MAX);
    put(buf, s.len, 2);
    dm_buf_add(buf, s);
}

static void put_unit(struct dm_buf *buf, struct dm_str tenant, enum dm_unit_kind kind, struct dm_mark mark)
{
    put_str(buf, tenant);
    put(buf, (uint64_t)kind, 1);
    put(buf, mark.epoch, 8);
    put(buf, mark.sequence, 8);
}

static void put_hello(struct dm_buf *buf, const struct dm_link_hello *hello)
{
    assert(hello->n_held <= DM_LINK_HELD_MAX);
    put(buf, hello->version, 4);
    put_str(buf, hello->gateway);
    put_str(buf, hello->program_version);
    put(buf, hello->n_workers, 2);
    dm_buf_add_n(buf, hello->box_public_key, sizeof(hello->box_public_key));
    put(buf, hello->n_held, 4);
    for (size_t i = 0; i < hello->n_held; i++)
        put_unit(buf, hello->held[i].tenant, hello->held[i].kind, hello->held[i].mark);
}

static void put_welcome(struct dm_buf *buf, const struct dm_link_welcome *welcome)
{
    put(buf, welcome->version, 4);
    put_str(buf, welcome->cluster);
    put(buf, welcome->key_id, 8);
    dm_buf_add_n(buf, welcome->public_key, sizeof(welcome->public_key));
}

static void put_ack(struct dm_buf *buf, const struct dm_link_ack *ack)
{
    put_unit(buf, ack->tenant, ack->kind, ack->mark);
    put(buf, (uint64_t)ack->status, 1);
    put(buf, ack->workers_live, 2);
    put(buf, ack->workers, 2);
    put_str(buf, ack->pointer);
    put_str(buf, ack->message);
}

static void put_usage(struct dm_buf *buf, const struct dm_link_usage *usage)
{
    assert(usage->n_items <= DM_LINK_USAGE_MAX);
    put(buf, usage->batch, 8);
    put(buf, usage->from_s, 8);
    put(buf, usage->to_s, 8);
    put_str(buf, usage->tenant);
    put(buf, usage->n_items, 4);
    for (size_t i = 0; i < usage->n_items; i++) {
        put(buf, usage->items[i].application, 8);
        put_str(buf, usage->items[i].product);
        put_str(buf, usage->items[i].metric);
        put(buf, usage->items[i].delta, 8);
    }
}

static void put_tenant_key(struct dm_buf *buf, const struct dm_link_tenant_key *key)
{
    assert(key->sealed.len > 0 && key->sealed.len <= DM_LINK_SEALED_MAX);
    put_str(buf, key->tenant);
    put(buf, key->tenant_id, 8);
    put(buf, key->key_id, 8);
    put_str(buf, key->sealed);
}

static void put_backend(struct dm_buf *buf, uint64_t tenant_id, struct dm_str tenant, struct dm_str backend)
{
    put(buf, tenant_id, 8);
    put_str(buf, tenant);
    put_str(buf, backend);
}

static void put_change(struct dm_buf *buf, const struct dm_circuit_change *change)
{
    put(buf, change->number, 4);
    put(buf, change->at_ms, 8);
    put(buf, (uint64_t)change->from, 1);
    put(buf, (uint64_t)change->to, 1);
    put(buf, (uint64_t)change->cause, 1);
    put(buf, change->calls, 4);
    put(buf, change->failed, 4);
    put(buf, change->slow, 4);
    put(buf, change->run, 2);
    put(buf, change->open_for_ms, 4);
    put(buf, change->lasted_ms, 4);
    put(buf, change->endpoints, 1);
    put(buf, change->endpoints_out, 1);
}

static void put_circuit(struct dm_buf *buf, const struct dm_circuit_report *circuit)
{
    assert(circuit->n_listed <= DM_CIRCUIT_CHANGES);
    put_backend(buf, circuit->tenant_id, circuit->tenant, circuit->backend);
    put(buf, (uint64_t)circuit->state, 1);
    put(buf, circuit->is_held, 1);
    put(buf, (uint64_t)circuit->hold, 1);
    put(buf, circuit->hold_until_ms, 8);
    put(buf, circuit->n_changes, 4);
    put(buf, circuit->n_listed, 1);
    for (unsigned i = 0; i < circuit->n_listed; i++)
        put_change(buf, &circuit->changes[i]);
}

static void put_hold(struct dm_buf *buf, const struct dm_circuit_hold *hold)
{
    put_backend(buf, hold->tenant_id, hold->tenant, hold->backend);
    put(buf, (uint64_t)hold->mode, 1);
    put(buf, hold->until_ms, 8);
}

static void put_payload(struct dm_buf *buf, const struct dm_link_message *message)
{
    switch (message->type) {
    case DM_LINK_HELLO: put_hello(buf, &message->hello); break;
    case DM_LINK_WELCOME: put_welcome(buf, &message->welcome); break;
    case DM_LINK_UNIT: dm_buf_add(buf, message->unit); break;
    case DM_LINK_GONE: put_unit(buf, message->gone.tenant, message->gone.kind, message->gone.mark); break;
    case DM_LINK_ACK: put_ack(buf, &message->ack); break;
    case DM_LINK_SYNCED: break;
    case DM_LINK_USAGE: put_usage(buf, &message->usage); break;
    case DM_LINK_TENANT_KEY: put_tenant_key(buf, &message->tenant_key); break;
    case DM_LINK_CIRCUIT: put_circuit(buf, &message->circuit); break;
    case DM_LINK_HOLD: put_hold(buf, &message->hold); break;
    case DM_LINK_USED:
    case DM_LINK_PING:
    case DM_LINK_PONG: put(buf, message->number, 8); break;
    }
}

void dm_link_encode(const struct dm_link_message *message, struct dm_buf *ret)
{
    size_t start = ret->len, payload;

    put(ret, 0, 4);
    put(ret, (uint64_t)message->type, 1);
    put_payload(ret, message);
    if (ret->failed)
        return;
    payload = ret->len - start - DM_LINK_HEAD_BYTES;
    assert(payload <= DM_LINK_PAYLOAD_MAX);
    for (unsigned i = 0; i < 4; i++)
        ret->ptr[start + i] = (char)(uint8_t)(payload >> 8 * (3 - i));
}

/* --- decoding ---------------------------------------------------------------------------------------------------- */

struct cursor {
    struct dm_str rest;
    struct dm_arena *arena;
    const char *fault; /* the first one; what is taken after it is zero */
    bool is_full;      /* the arena is exhausted */
};

static void fault(struct cursor *c, const char *what)
{
    if (!c->fault)
        c->fault = what;
    c->rest.len = 0;
}

static uint64_t take(struct cursor *c, unsigned bytes)
{
    uint64_t value = 0;

    if (c->rest.len < bytes) {
        fault(c, "payload is cut");
        return 0;
    }
    for (unsigned i = 0; i < bytes; i++)
        value = value << 8 | (uint8_t)c->rest.ptr[i];
    c->rest = dm_str_skip(c->rest, bytes);
    return value;
}

static struct dm_str take_str(struct cursor *c, size_t max)
{
    size_t len = take(c, 2);
    struct dm_str ret;

    if (len > max || len > c->rest.len) {
        fault(c, len > max ? "string is too long" : "payload is cut");
        return DM_STR("");
    }
    ret = dm_str_n(c->rest.ptr, len);
    c->rest = dm_str_skip(c->rest, len);
    return ret;
}

static void take_bytes(struct cursor *c, uint8_t *ret, size_t n)
{
    if (c->rest.len < n) {
        fault(c, "payload is cut");
        return;
    }
    memcpy(ret, c->rest.ptr, n);
    c->rest = dm_str_skip(c->rest, n);
}

static struct dm_str take_tenant(struct cursor *c)
{
    struct dm_str tenant = take_str(c, DM_LINK_ID_MAX);

    if (!c->fault && tenant.len == 0)
        fault(c, "tenant is empty");
    return tenant;
}

static enum dm_unit_kind take_kind(struct cursor *c)
{
    uint64_t kind = take(c, 1);

    if (!c->fault && (kind < DM_UNIT_RELEASE || kind >= DM_UNIT_KINDS))
        fault(c, "kind is not known");
    return c->fault ? DM_UNIT_RELEASE : (enum dm_unit_kind)kind;
}

static void take_unit(struct cursor *c, struct dm_str *ret_tenant, enum dm_unit_kind *ret_kind,
                      struct dm_mark *ret_mark)
{
    *ret_tenant = take_tenant(c);
    *ret_kind = take_kind(c);
    ret_mark->epoch = take(c, 8);
    ret_mark->sequence = take(c, 8);
}

/* Room for n items, each of which takes at least `least` bytes of the payload. */
static void *take_list(struct cursor *c, size_t n, size_t max, size_t least, size_t item_bytes)
{
    void *ret;

    if (n > max || n > c->rest.len / least) {
        fault(c, n > max ? "list is too long" : "payload is cut");
        return NULL;
    }
    ret = dm_arena_calloc(c->arena, DM_MAX(n, 1) * item_bytes);
    if (!ret) {
        c->is_full = true;
        fault(c, "message does not fit its arena");
    }
    return ret;
}

#define HELD_LEAST (2 + 1 + 1 + 16)
#define USAGE_LEAST (8 + 2 + 2 + 8)

static void take_hello(struct cursor *c, struct dm_link_hello *ret)
{
    struct dm_link_held *held;

    ret->version = (uint32_t)take(c, 4);
    ret->gateway = take_str(c, DM_LINK_ID_MAX);
    ret->program_version = take_str(c, DM_LINK_ID_MAX);
    ret->n_workers = (uint16_t)take(c, 2);
    take_bytes(c, ret->box_public_key, sizeof(ret->box_public_key));
    ret->n_held = take(c, 4);
    if (!(held = take_list(c, ret->n_held, DM_LINK_HELD_MAX, HELD_LEAST, sizeof(*held))))
        return;
    for (size_t i = 0; i < ret->n_held && !c->fault; i++)
        take_unit(c, &held[i].tenant, &held[i].kind, &held[i].mark);
    ret->held = held;
}

static void take_welcome(struct cursor *c, struct dm_link_welcome *ret)
{
    ret->version = (uint32_t)take(c, 4);
    ret->cluster = take_str(c, DM_LINK_ID_MAX);
    ret->key_id = take(c, 8);
    take_bytes(c, ret->public_key, sizeof(ret->public_key));
}

static void take_ack(struct cursor *c, struct dm_link_ack *ret)
{
    uint64_t status;

    take_unit(c, &ret->tenant, &ret->kind, &ret->mark);
    status = take(c, 1);
    if (status > DM_LINK_REFUSED)
        fault(c, "status is not known");
    ret->status = (enum dm_link_status)status;
    ret->workers_live = (uint16_t)take(c, 2);
    ret->workers = (uint16_t)take(c, 2);
    if (!c->fault && ret->workers_live > ret->workers)
        fault(c, "more workers are live than there are");
    ret->pointer = take_str(c, DM_ERR_POINTER_MAX);
    ret->message = take_str(c, DM_ERR_MESSAGE_MAX);
}

static void take_usage(struct cursor *c, struct dm_link_usage *ret)
{
    struct dm_link_usage_item *items;

    ret->batch = take(c, 8);
    ret->from_s = take(c, 8);
    ret->to_s = take(c, 8);
    ret->tenant = take_str(c, DM_LINK_ID_MAX);
    ret->n_items = take(c, 4);
    if (!(items = take_list(c, ret->n_items, DM_LINK_USAGE_MAX, USAGE_LEAST, sizeof(*items))))
        return;
    for (size_t i = 0; i < ret->n_items && !c->fault; i++) {
        items[i].application = take(c, 8);
        items[i].product = take_str(c, DM_LINK_ID_MAX);
        items[i].metric = take_str(c, DM_LINK_ID_MAX);
        items[i].delta = take(c, 8);
    }
    ret->items = items;
}

static void take_tenant_key(struct cursor *c, struct dm_link_tenant_key *ret)
{
    ret->tenant = take_tenant(c);
    ret->tenant_id = take(c, 8);
    ret->key_id = take(c, 8);
    ret->sealed = take_str(c, DM_LINK_SEALED_MAX);
    if (!c->fault && ret->sealed.len == 0)
        fault(c, "key is empty");
}

static void take_backend(struct cursor *c, uint64_t *ret_tenant_id, struct dm_str *ret_tenant,
                         struct dm_str *ret_backend)
{
    *ret_tenant_id = take(c, 8);
    *ret_tenant = take_tenant(c);
    *ret_backend = take_str(c, DM_LINK_ID_MAX);
    if (!c->fault && ret_backend->len == 0)
        fault(c, "backend is empty");
}

/* One of so many. */
static int take_enum(struct cursor *c, uint64_t count, const char *what)
{
    uint64_t value = take(c, 1);

    if (value >= count)
        fault(c, what);
    return c->fault ? 0 : (int)value;
}

static struct dm_circuit_change take_change(struct cursor *c)
{
    struct dm_circuit_change change = {0};

    change.number = (uint32_t)take(c, 4);
    change.at_ms = take(c, 8);
    change.from = (enum dm_breaker_state)take_enum(c, DM_BREAKER_STATES, "state is not known");
    change.to = (enum dm_breaker_state)take_enum(c, DM_BREAKER_STATES, "state is not known");
    change.cause = (enum dm_breaker_cause)take_enum(c, DM_BREAKER_CAUSES, "cause is not known");
    change.calls = (uint32_t)take(c, 4);
    change.failed = (uint32_t)take(c, 4);
    change.slow = (uint32_t)take(c, 4);
    change.run = (uint16_t)take(c, 2);
    change.open_for_ms = (uint32_t)take(c, 4);
    change.lasted_ms = (uint32_t)take(c, 4);
    change.endpoints = (uint8_t)take(c, 1);
    change.endpoints_out = (uint8_t)take(c, 1);
    return change;
}

static void take_circuit(struct cursor *c, struct dm_circuit_report *ret)
{
    take_backend(c, &ret->tenant_id, &ret->tenant, &ret->backend);
    ret->state = (enum dm_breaker_state)take_enum(c, DM_BREAKER_STATES, "state is not known");
    ret->is_held = take_enum(c, 2, "flag is neither 0 nor 1") > 0;
    ret->hold = take_enum(c, DM_BREAKER_MODES, "mode is not known");
    ret->hold_until_ms = take(c, 8);
    ret->n_changes = (uint32_t)take(c, 4);
    ret->n_listed = (unsigned)take_enum(c, DM_CIRCUIT_CHANGES + 1, "list is too long");
    for (unsigned i = 0; i < ret->n_listed && !c->fault; i++)
        ret->changes[i] = take_change(c);
}

static void take_hold(struct cursor *c, struct dm_circuit_hold *ret)
{
    take_backend(c, &ret->tenant_id, &ret->tenant, &ret->backend);
    ret->mode = take_enum(c, DM_BREAKER_MODES, "mode is not known");
    ret->until_ms = take(c, 8);
}

static void take_document(struct cursor *c, struct dm_str *ret)
{
    if (c->rest.len == 0)
        fault(c, "document is empty");
    *ret = c->rest;
    c->rest.len = 0;
}

static void take_payload(struct cursor *c, struct dm_link_message *ret)
{
    switch (ret->type) {
    case DM_LINK_HELLO: take_hello(c, &ret->hello); break;
    case DM_LINK_WELCOME: take_welcome(c, &ret->welcome); break;
    case DM_LINK_UNIT: take_document(c, &ret->unit); break;
    case DM_LINK_GONE: take_unit(c, &ret->gone.tenant, &ret->gone.kind, &ret->gone.mark); break;
    case DM_LINK_ACK: take_ack(c, &ret->ack); break;
    case DM_LINK_SYNCED: break;
    case DM_LINK_USAGE: take_usage(c, &ret->usage); break;
    case DM_LINK_TENANT_KEY: take_tenant_key(c, &ret->tenant_key); break;
    case DM_LINK_CIRCUIT: take_circuit(c, &ret->circuit); break;
    case DM_LINK_HOLD: take_hold(c, &ret->hold); break;
    case DM_LINK_USED:
    case DM_LINK_PING:
    case DM_LINK_PONG: ret->number = take(c, 8); break;
    }
}

/* What a payload of this type may be at most; units are large, everything else is bounded by its own lists. */
static size_t payload_max(uint8_t type)
{
    switch (type) {
    case DM_LINK_UNIT: return DM_DOCUMENT_MAX;
    case DM_LINK_HELLO: return 256 + (size_t)DM_LINK_HELD_MAX * (HELD_LEAST + DM_LINK_ID_MAX);
    case DM_LINK_USAGE: return 256 + (size_t)DM_LINK_USAGE_MAX * (USAGE_LEAST + 2 * DM_LINK_ID_MAX);
    default: return 2048;
    }
}

ssize_t dm_link_frame_bytes(struct dm_str bytes)
{
    struct cursor c = {.rest = bytes};
    size_t len;
    uint8_t type;

    if (bytes.len < DM_LINK_HEAD_BYTES)
        return 0;
    len = take(&c, 4);
    type = (uint8_t)take(&c, 1);
    if (type < DM_LINK_HELLO || type > DM_LINK_HOLD || len > payload_max(type))
        return DM_EINVAL;
    return (ssize_t)(DM_LINK_HEAD_BYTES + len);
}

ssize_t dm_link_decode(struct dm_str bytes, struct dm_arena *arena, struct dm_link_message *ret, struct dm_err *err)
{
    ssize_t frame = dm_link_frame_bytes(bytes);
    struct dm_link_message message = {0};
    struct cursor c = {.arena = arena};

    if (frame < 0)
        return dm_fail(err, (int)frame, "", "link: no frame has this type and length");
    if (frame == 0 || bytes.len < (size_t)frame)
        return 0;
    message.type = (enum dm_link_type)(uint8_t)bytes.ptr[4];
    c.rest = dm_str_n(bytes.ptr + DM_LINK_HEAD_BYTES, (size_t)frame - DM_LINK_HEAD_BYTES);
    take_payload(&c, &message);
    if (!c.fault && c.rest.len > 0)
        fault(&c, "payload has bytes behind its end");
    if (c.fault)
        return dm_fail(err, c.is_full ? DM_EBUDGET : DM_EINVAL, "", "link: %s: %s", dm_link_type_name(message.type),
                       c.fault);
    *ret = message;
    return frame;
}

const char *dm_link_type_name(enum dm_link_type type)
{
    static const char *const names[] = {"?",     "hello", "welcome", "unit", "gone",       "ack",     "synced",
                                        "usage", "used",  "ping",    "pong", "tenant_key", "circuit", "hold"};

    return type >= DM_LINK_HELLO && type <= DM_LINK_HOLD ? names[type] : "?";
}
