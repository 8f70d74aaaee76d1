#include "gateway/cell_message.h"

#include <netinet/in.h>

enum { HAS_TLS = 1, HAS_TLS_1_3 = 2, HAS_HTTP2 = 4, HAS_CERTIFICATE = 8, FLAGS = 15 };
enum { HEAD_BYTES = 8 };

/* A peer that comes by a Unix socket has no name here. */
static size_t peer_bytes(const struct dm_addr *peer)
{
    switch (peer->ss.ss_family) {
    case AF_INET: return sizeof(struct sockaddr_in);
    case AF_INET6: return sizeof(struct sockaddr_in6);
    default: return sizeof(peer->ss.ss_family);
    }
}

static uint8_t flags_of(const struct dm_cell_message *m)
{
    return (uint8_t)((m->is_tls ? HAS_TLS : 0) | (m->is_tls_1_3 ? HAS_TLS_1_3 : 0) | (m->is_http2 ? HAS_HTTP2 : 0) |
                     (m->has_certificate ? HAS_CERTIFICATE : 0));
}

void dm_cell_message_write(const struct dm_cell_message *m, struct dm_buf *out)
{
    uint8_t head[HEAD_BYTES] = {DM_CELL_MESSAGE_VERSION,
                                (uint8_t)m->kind,
                                flags_of(m),
                                (uint8_t)m->listener.len,
                                (uint8_t)peer_bytes(&m->peer),
                                (uint8_t)m->fingerprint.len,
                                (uint8_t)(m->subject.len >> 8),
                                (uint8_t)m->subject.len};

    if (m->listener.len > UINT8_MAX || m->fingerprint.len > UINT8_MAX || m->subject.len > UINT16_MAX) {
        out->failed = true;
        return;
    }
    dm_buf_add_n(out, (const char *)head, sizeof(head));
    if (m->is_tls)
        dm_buf_add_n(out, (const char *)m->client_policy, sizeof(m->client_policy));
    dm_buf_add(out, m->listener);
    dm_buf_add_n(out, (const char *)&m->peer.ss, peer_bytes(&m->peer));
    dm_buf_add(out, m->fingerprint);
    dm_buf_add(out, m->subject);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static bool take(struct dm_str *rest, size_t len, struct dm_str *ret)
{
    if (len > rest->len)
        return false;
    *ret = dm_str_n(rest->ptr, len);
    *rest = dm_str_skip(*rest, len);
    return true;
}

static bool read_peer(struct dm_str bytes, struct dm_addr *ret)
{
    sa_family_t family;

    if (bytes.len < sizeof(family))
        return false;
    memcpy(&family, bytes.ptr, sizeof(family));
    if (family != AF_INET && family != AF_INET6 && family != AF_UNIX)
        return false;
    ret->ss.ss_family = family;
    if (bytes.len != peer_bytes(ret))
        return false;
    memcpy(&ret->ss, bytes.ptr, bytes.len);
    ret->len = (socklen_t)bytes.len;
    return true;
}

/* Flags that say nothing without others are not there without them. */
static bool is_coherent(const struct dm_cell_message *m)
{
    if (m->kind != DM_CELL_DIRECT && m->kind != DM_CELL_RELAYED)
        return false;
    if (m->is_tls ? m->kind == DM_CELL_DIRECT : m->is_tls_1_3 || m->is_http2 || m->has_certificate)
        return false;
    return m->listener.len > 0 &&
           (m->has_certificate ? m->fingerprint.len > 0 : m->fingerprint.len + m->subject.len == 0);
}

int dm_cell_message_read(struct dm_str bytes, struct dm_cell_message *ret)
{
    struct dm_str rest = bytes, head, policy = DM_STR_NULL, peer;
    struct dm_cell_message m = {0};
    const uint8_t *h;

    if (!take(&rest, HEAD_BYTES, &head))
        return DM_ECORRUPT;
    h = (const uint8_t *)head.ptr;
    if (h[0] != DM_CELL_MESSAGE_VERSION || h[2] & ~FLAGS)
        return DM_ECORRUPT;
    m.kind = (enum dm_cell_kind)h[1];
    m.is_tls = h[2] & HAS_TLS;
    m.is_tls_1_3 = h[2] & HAS_TLS_1_3;
    m.is_http2 = h[2] & HAS_HTTP2;
    m.has_certificate = h[2] & HAS_CERTIFICATE;
    if (!take(&rest, m.is_tls ? DM_DIGEST_BYTES : 0, &policy) || !take(&rest, h[3], &m.listener) ||
        !take(&rest, h[4], &peer) || !take(&rest, h[5], &m.fingerprint) ||
        !take(&rest, (size_t)h[6] << 8 | h[7], &m.subject) || rest.len > 0 || !read_peer(peer, &m.peer) ||
        !is_coherent(&m))
        return DM_ECORRUPT;
    memcpy(m.client_policy, policy.ptr, policy.len);
    *ret = m;
    return 0;
}
