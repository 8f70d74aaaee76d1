/* The stream between a gateway (its keeper) and the controller. The gateway dials. No I/O here.
 *
 * A frame is { u32 length of the payload, u8 type, payload }; integers are big-endian, strings { u16 length, bytes }.
 *
 *   gateway                                   controller
 *   HELLO  who, what it holds         ──►
 *                                     ◄──     WELCOME  signing key, cluster
 *                                     ◄──     TENANT_KEY …   of tenants whose documents hold sealed keys
 *                                     ◄──     HOLD …   what people want of circuits
 *                                     ◄──     UNIT …   what it lacks; GONE … what it holds and should not
 *   ACK …                             ──►
 *                                     ◄──     SYNCED   all that was known at HELLO has been sent
 *                                     ◄──     UNIT, GONE   as things change
 *   ACK                               ──►              live (all workers), refused (the former one stays)
 *   USAGE  batch n                    ──►
 *                                     ◄──     USED     batch n is stored; until then the gateway sends it again
 *   CIRCUIT                           ──►              the state of a backend's circuit, each time that it changed, and after SYNCED
 *                                     ◄──     HOLD     as people say it
 *   PING                              ◄─►     PONG
 *
 * L1. HELLO and WELCOME come first, once each; everything else before them ends the connection.
 * L2. A unit's mark never goes back: a UNIT or GONE at or below the mark held is acknowledged and not applied.
 * L3. Each UNIT and GONE gets at least one ACK; the last one for a mark counts.
 * L4. A TENANT_KEY comes before the first unit of the connection that needs it, is sealed to the box key of HELLO, and may
 *     come again; there is no ACK of it.
 * L5. A frame that does not decode ends the connection.
 * L6. The HOLDs that stand all come before SYNCED: what the gateway was told on a former connection, and not on this one, is over. */
#ifndef DM_MODEL_LINK_H
#define DM_MODEL_LINK_H

#include "base/arena.h"
#include "base/crypto.h"
#include "model/circuit.h"
#include "model/document.h"

struct dm_buf;

#define DM_LINK_VERSION 3
#define DM_LINK_HEAD_BYTES 5
#define DM_LINK_PAYLOAD_MAX (DM_DOCUMENT_MAX + 64u)
/* Enough for anything a payload decodes to. */
#define DM_LINK_ARENA_BYTES (32u << 20)
#define DM_LINK_ID_MAX 64
#define DM_LINK_WORKERS_MAX 256 /* of one gateway */
#define DM_LINK_HELD_MAX 65535
#define DM_LINK_USAGE_MAX 4096
#define DM_LINK_SEALED_MAX 128

enum dm_link_type {
    DM_LINK_HELLO = 1,
    DM_LINK_WELCOME,
    DM_LINK_UNIT,
    DM_LINK_GONE,
    DM_LINK_ACK,
    DM_LINK_SYNCED,
    DM_LINK_USAGE,
    DM_LINK_USED,
    DM_LINK_PING,
    DM_LINK_PONG,
    DM_LINK_TENANT_KEY,
    DM_LINK_CIRCUIT,
    DM_LINK_HOLD,
};

struct dm_link_held {
    struct dm_str tenant;
    enum dm_unit_kind kind;
    struct dm_mark mark;
};

struct dm_link_hello {
    uint32_t version;      /* DM_LINK_VERSION; the controller closes on another */
    struct dm_str gateway; /* id of this gateway, stable over restarts */
    struct dm_str program_version;
    uint16_t n_workers;
    uint8_t box_public_key[DM_BOX_PUBLIC_BYTES]; /* X25519: what is secret to this gateway is sealed to it */
    const struct dm_link_held *held;
    size_t n_held;
};

struct dm_link_welcome {
    uint32_t version;
    struct dm_str cluster;
    uint64_t key_id;
    uint8_t public_key[DM_SIGN_PUBLIC_BYTES];
};

/* The tenant's unit of this kind is no more on this gateway. */
struct dm_link_gone {
    struct dm_str tenant;
    enum dm_unit_kind kind;
    struct dm_mark mark;
};

enum dm_link_status {
    DM_LINK_LIVE,    /* all workers have it */
    DM_LINK_PARTLY,  /* workers_live of workers have it; another ACK follows. After LIVE: a worker lost it */
    DM_LINK_REFUSED, /* pointer and message say why; the former one stays */
};

struct dm_link_ack {
    struct dm_str tenant;
    enum dm_unit_kind kind;
    struct dm_mark mark;
    enum dm_link_status status;
    uint16_t workers_live, workers;
    struct dm_str pointer, message; /* of REFUSED; at most the sizes of struct dm_err */
};

/* What was counted since the batch before, for one application, product and metric. */
struct dm_link_usage_item {
    uint64_t application; /* id */
    struct dm_str product, metric;
    uint64_t delta;
};

struct dm_link_usage {
    uint64_t batch;        /* per gateway, counting up over restarts */
    uint64_t from_s, to_s; /* Unix time of the interval */
    struct dm_str tenant;
    const struct dm_link_usage_item *items;
    size_t n_items;
};

/* model/tenant_key.h says what is sealed. */
struct dm_link_tenant_key {
    struct dm_str tenant;
    uint64_t tenant_id, key_id;
    struct dm_str sealed; /* 1 to DM_LINK_SEALED_MAX bytes */
};

struct dm_link_message {
    enum dm_link_type type;
    union {
        struct dm_link_hello hello;
        struct dm_link_welcome welcome;
        struct dm_str unit; /* UNIT: a document as model/document.h frames it, not opened */
        struct dm_link_gone gone;
        struct dm_link_ack ack;
        struct dm_link_usage usage;
        struct dm_link_tenant_key tenant_key;
        struct dm_circuit_report circuit;
        struct dm_circuit_hold hold;
        uint64_t number; /* USED: the batch; PING, PONG: what PING said */
    };
};

/* Appends one frame; ret->failed when it passes ret's maximum. A message out of bounds is a broken invariant (abort). */
void dm_link_encode(const struct dm_link_message *message, struct dm_buf *ret);

/* Decodes the first frame of `bytes`: returns its whole length, or 0 when more bytes are needed, or DM_EINVAL (L5).
 * Strings point into bytes, lists lie in the arena; DM_EBUDGET when it is exhausted. err may be NULL. */
DM_MUST_USE ssize_t dm_link_decode(struct dm_str bytes, struct dm_arena *arena, struct dm_link_message *ret,
                                   struct dm_err *err);

/* Bytes of the first frame as its head says, so that a reader can make room; 0 when the head is not there yet;
 * DM_EINVAL when type or length cannot be. */
DM_MUST_USE ssize_t dm_link_frame_bytes(struct dm_str bytes);

/* "hello", "unit", … for logs; "?" for none. */
const char *dm_link_type_name(enum dm_link_type type);

#endif
