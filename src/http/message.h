/* A message on its way out, for either direction. What frames it (Content-Length, Transfer-Encoding, Connection) is
 * written by the connection from `framing`; `fields` must not hold those. */
#ifndef DM_HTTP_MESSAGE_H
#define DM_HTTP_MESSAGE_H

#include "http/head.h"

struct dm_http_message {
    unsigned status;              /* responses */
    struct dm_str method, target; /* requests */
    struct dm_str host;           /* requests: what the Host field says */
    struct dm_str protocol;       /* what a tunnel speaks, or a 426 asks for: Upgrade; else of no account */
    struct dm_str fields;         /* whole lines, each ended by CR LF */
    enum dm_http_framing framing; /* NONE: no body; LENGTH; CHUNKED; CLOSE (responses to HTTP/1.0) */
    uint64_t content_length;      /* with LENGTH */
    bool may_have_trailers;       /* responses with LENGTH: trailers may follow, which only HTTP/2 can send then */
    bool is_closing;              /* say and do Connection: close after this message */
};

/* Why a connection or a message ended before its time. Stable names for logs through dm_http_abort_name(). */
enum dm_http_abort {
    DM_HTTP_ABORT_PEER_CLOSED = 1, /* end of stream inside a message */
    DM_HTTP_ABORT_PEER_RESET,      /* the socket failed */
    DM_HTTP_ABORT_IDLE,            /* nothing moved for too long while we waited for the peer */
    DM_HTTP_ABORT_HEAD_TIMEOUT,    /* the head was not complete in time */
    DM_HTTP_ABORT_BODY_RATE,       /* the body came or left slower than body_rate_bytes */
    DM_HTTP_ABORT_CONNECT_FAILED,
    DM_HTTP_ABORT_CONNECT_TIMEOUT,
    DM_HTTP_ABORT_RESPONSE_TIMEOUT, /* no response head in time */
    DM_HTTP_ABORT_FAULT,            /* malformed; the fault says how */
    DM_HTTP_ABORT_TOO_LARGE,
    DM_HTTP_ABORT_SHUTDOWN,  /* this side is closing */
    DM_HTTP_ABORT_CROWDED,   /* there are connections_max others */
    DM_HTTP_ABORT_CANCELLED, /* the peer reset the stream (HTTP/2) */
    DM_HTTP_ABORT_FLOOD,     /* the peer abused the connection (HTTP/2) */
    DM_HTTP_ABORT_REFUSED,   /* the peer never began it (HTTP/2), or it never left for it (HTTP/1.1) */
    DM_HTTP_ABORT_TLS,       /* no connection: its handshake failed, or the backend did not take our certificate */
};
const char *dm_http_abort_name(enum dm_http_abort why);

/* X(id, name): RFC 9113 section 7; the last one stands for those that are not there. */
#define DM_HTTP2_CODES(X)                                                                                              \
    X(NO_ERROR, "no_error")                                                                                            \
    X(PROTOCOL, "protocol_error")                                                                                      \
    X(INTERNAL, "internal_error")                                                                                      \
    X(FLOW_CONTROL, "flow_control_error")                                                                              \
    X(SETTINGS_TIMEOUT, "settings_timeout")                                                                            \
    X(STREAM_CLOSED, "stream_closed")                                                                                  \
    X(FRAME_SIZE, "frame_size_error")                                                                                  \
    X(REFUSED_STREAM, "refused_stream")                                                                                \
    X(CANCEL, "cancel")                                                                                                \
    X(COMPRESSION, "compression_error")                                                                                \
    X(CONNECT, "connect_error")                                                                                        \
    X(CALM, "enhance_your_calm")                                                                                       \
    X(SECURITY, "inadequate_security")                                                                                 \
    X(HTTP_1_1, "http_1_1_required")                                                                                   \
    X(UNKNOWN, "unknown")

enum dm_http2_code {
#define DM_HTTP2_CODE_ENUM(id, name) DM_HTTP2_CODE_##id,
    DM_HTTP2_CODES(DM_HTTP2_CODE_ENUM)
#undef DM_HTTP2_CODE_ENUM
        DM_HTTP2_CODE_COUNT
};

/* The codec's fault as an abort reads: set with DM_HTTP_ABORT_FAULT, otherwise 0. */
struct dm_http_end {
    enum dm_http_abort why;
    int fault; /* enum dm_http_fault, positive; 0: bytes that belong to no message */
    int error; /* negative errno of the socket, when there is one; with ABORT_TLS the failure (io/tls.h); with ABORT_CANCELLED
                  of a call the code of the backend's RST_STREAM */
};

#endif
