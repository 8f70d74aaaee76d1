#include "gateway/upgrade.h"

#include "base/encode.h"
#include "gateway/exchange.h"
#include "gateway/worker.h"
#include "io/digest.h"
#include "model/backend.h"

#define WEBSOCKET DM_STR("websocket")
#define KEY_BYTES 16
#define PROOF_TEXT_MAX 256

/* By its name, whatever its version is. */
static bool is_allowed(const struct dm_exchange *ex, struct dm_str protocol)
{
    const struct dm_unit *unit = ex->release->unit;
    const struct dm_ustr *upgrades = dm_unit_at(unit, ex->version->upgrades);

    protocol.len = DM_MIN(protocol.len, dm_str_find(protocol, '/'));
    for (uint32_t i = 0; i < ex->version->n_upgrades; i++)
        if (dm_str_ieq(dm_unit_str(unit, upgrades[i]), protocol))
            return true;
    return false;
}

/* Of the client's connection itself. */
static bool is_of_connection(struct dm_str protocol)
{
    return dm_str_ieq(protocol, DM_STR("h2c")) || dm_str_ieq(protocol, DM_STR("h2")) ||
           dm_str_ieq(dm_str_n(protocol.ptr, DM_MIN(protocol.len, 4u)), DM_STR("TLS/")) ||
           dm_str_ieq(dm_str_n(protocol.ptr, DM_MIN(protocol.len, 5u)), DM_STR("HTTP/"));
}

static bool is_http2(const struct dm_exchange *ex)
{
    return ex->backend->protocol == DM_BACKEND_HTTP2;
}

/* The client's proof asks for an answer that the backend will not give. */
static int keep_key(struct dm_exchange *ex)
{
    struct dm_http_head *head = ex->head;
    struct dm_str key = dm_http_head_value(head, DM_HTTP_FIELD_ID_SEC_WEBSOCKET_KEY);

    if (key.len == 0)
        return 0;
    dm_http_head_drop(head, DM_STR("Sec-WebSocket-Key"));
    return dm_arena_str(&ex->arena, key, &ex->websocket_key);
}

static int make_key(struct dm_exchange *ex)
{
    uint8_t bytes[KEY_BYTES];
    char text[DM_BASE64_MAX(KEY_BYTES)];
    struct dm_sys *sys = dm_loop_sys(ex->worker->loop);
    struct dm_str key;

    sys->ops->random(sys, bytes, sizeof(bytes));
    if (dm_arena_str(&ex->arena, dm_str_n(text, dm_base64(dm_str_n((char *)bytes, sizeof(bytes)), text)), &key) < 0)
        return DM_EBUDGET;
    dm_http_head_drop(ex->head, DM_STR("Sec-WebSocket-Key"));
    ex->websocket_key = key;
    return dm_http_head_add(ex->head, DM_STR("Sec-WebSocket-Key"), key) ? 0 : DM_EBUDGET;
}

static int translate_request(struct dm_exchange *ex)
{
    bool from_http2 = dm_http_request_is_http2(ex->caller);

    if (!dm_str_ieq(ex->request.protocol, WEBSOCKET) || from_http2 == is_http2(ex))
        return 0;
    return from_http2 ? make_key(ex) : keep_key(ex);
}

/* Extended CONNECT stands for a GET, and for nothing else. */
static bool can_be_asked(const struct dm_exchange *ex)
{
    return !is_http2(ex) || ex->head->method == DM_HTTP_METHOD_GET;
}

enum dm_reason dm_upgrade_request(struct dm_exchange *ex)
{
    struct dm_str protocol = ex->head->upgrade;

    if (is_of_connection(protocol) || ex->head->framing != DM_HTTP_FRAMING_NONE || !can_be_asked(ex))
        return DM_REASON_NONE;
    if (!is_allowed(ex, protocol))
        return DM_REASON_UPGRADE_NOT_ALLOWED;
    if (dm_arena_str(&ex->arena, protocol, &ex->request.protocol) < 0 || translate_request(ex) < 0)
        return DM_REASON_HEADER_TOO_LARGE;
    return DM_REASON_NONE;
}

/* What proves that the key was read (RFC 6455 section 4.2.2). */
static int prove(const struct dm_exchange *ex, char text[PROOF_TEXT_MAX], struct dm_str *ret)
{
    uint8_t digest[DM_SHA1_BYTES];
    struct dm_buf buf;

    dm_buf_init_fixed(&buf, text, PROOF_TEXT_MAX);
    dm_buf_add(&buf, ex->websocket_key);
    dm_buf_add_lit(&buf, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    if (buf.failed)
        return DM_EINVAL;
    dm_digest_sha1(dm_buf_str(&buf), digest);
    *ret = dm_str_n(text, dm_base64(dm_str_n((char *)digest, sizeof(digest)), text));
    return 0;
}

static int add_accept(struct dm_exchange *ex, struct dm_http_head *head)
{
    char text[PROOF_TEXT_MAX];
    struct dm_str accept;

    if (prove(ex, text, &accept) < 0 || dm_arena_str(&ex->arena, accept, &accept) < 0 ||
        !dm_http_head_add(head, DM_STR("Sec-WebSocket-Accept"), accept))
        return DM_EINVAL;
    return 0;
}

/* The caller of HTTP/2 has no key to check it with. */
static int take_accept(const struct dm_exchange *ex, struct dm_http_head *head)
{
    char text[PROOF_TEXT_MAX];
    struct dm_str accept, value = dm_http_head_value(head, DM_HTTP_FIELD_ID_SEC_WEBSOCKET_ACCEPT);

    if (ex->websocket_key.len > 0 && (prove(ex, text, &accept) < 0 || !dm_str_eq(value, accept)))
        return DM_EINVAL;
    dm_http_head_drop(head, DM_STR("Sec-WebSocket-Accept"));
    return 0;
}

int dm_upgrade_response(struct dm_exchange *ex, struct dm_http_head *head)
{
    bool to_http2 = dm_http_request_is_http2(ex->caller);

    if (to_http2 && head->status / 100 == 2)
        return DM_EINVAL;
    if (head->status != 101)
        return 0;
    if (to_http2)
        return take_accept(ex, head);
    if (ex->websocket_key.len > 0)
        return add_accept(ex, head);
    return 0;
}
