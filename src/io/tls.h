/* TLS 1.2 and 1.3 on a stream (OpenSSL 3.0), under the same contract as a plain one: reading, writing, back-pressure and the
 * ends of io/stream.h hold; an idle connection owns no buffer.
 *
 * Serving. dm_tls_serve right after dm_stream_open puts the stream back into `connecting`: the handshake comes, the acceptor's
 * owner selects the profile by the server name, and on_connect says that it is through. What is written before waits. No time
 * is bounded here: that is the owner's.
 * Connecting. dm_tls_connect right after dm_stream_connect: on_connect comes after the handshake, and the connect timeout covers it.
 *
 * Ends. dm_stream_shutdown, dm_stream_close_gracefully and dm_stream_close on a stream that has sent everything say close_notify;
 * dm_stream_abort, and dm_stream_close with something unsent, do not: the peer sees that it was cut. Likewise on_eof comes only
 * for a close_notify (or an end before the first byte), and an end without one is DM_ETLS to on_error.
 * Failures of TLS reach on_error as DM_ETLS, those of the socket as the system's code; dm_tls_reason says more until the close.
 *
 * T1. A ticket opens only under the scope, the client authentication and the CA bundle that it was made under, and not once its
 *     client certificate, or one that led to its authority, has expired: resumption never skips a check of a client certificate.
 * T2. Renegotiation, compression and early data are off; TLS 1.1 and below do not exist. There is no session cache on servers.
 * T3. A profile, an acceptor's keys and a client are for one loop's thread; made and freed on it, too.
 *
 * Certificates are verified at the seam's wall clock. */
#ifndef DM_IO_TLS_H
#define DM_IO_TLS_H

#include "io/stream.h"

enum {
    DM_TLS_SCOPE_BYTES = 32,
    DM_TLS_TICKET_SECRET_BYTES = 32,
    DM_TLS_SUBJECT_MAX = 512,    /* with the NUL */
    DM_TLS_FINGERPRINT_MAX = 65, /* with the NUL */
};

/* Once per process, before anything in it uses OpenSSL: keeps record buffers for the next message. Without it, or too late, all
 * works alike, but a message takes two buffers from the system allocator. */
void dm_tls_init(void);
/* The same for a process in which one thread alone uses OpenSSL, ever: small objects lie side by side, so that an idle connection
 * takes a twentieth less. Nothing where the system reserves no address space. */
void dm_tls_init_alone(void);

enum dm_tls_version { DM_TLS_1_2, DM_TLS_1_3 };
enum dm_tls_client_auth { DM_TLS_CLIENT_AUTH_NONE, DM_TLS_CLIENT_AUTH_OPTIONAL, DM_TLS_CLIENT_AUTH_REQUIRED };

/* Why a handshake or a connection failed; dm_tls_reason_name() gives the stable name for counters and logs. */
enum dm_tls_reason {
    DM_TLS_REASON_NONE,
    DM_TLS_REASON_HANDSHAKE,                  /* malformed or out of order, none of the below */
    DM_TLS_REASON_NOT_TLS,                    /* the peer speaks something else */
    DM_TLS_REASON_PROTOCOL_VERSION,           /* nothing in common with the peer */
    DM_TLS_REASON_NO_SHARED_CIPHER,           /* cipher, group or signature algorithm */
    DM_TLS_REASON_NO_APPLICATION_PROTOCOL,    /* ALPN */
    DM_TLS_REASON_UNRECOGNIZED_NAME,          /* the owner selected no profile */
    DM_TLS_REASON_REFUSED,                    /* the owner takes no more connections for the name */
    DM_TLS_REASON_TOO_MANY_HANDSHAKES,        /* or no more at this moment */
    DM_TLS_REASON_CLIENT_CERTIFICATE_MISSING, /* and required */
    DM_TLS_REASON_CLIENT_CERTIFICATE_INVALID,
    DM_TLS_REASON_CERTIFICATE_EXPIRED, /* the server's, or not valid yet */
    DM_TLS_REASON_CERTIFICATE_UNKNOWN_ISSUER,
    DM_TLS_REASON_CERTIFICATE_HOST_MISMATCH,
    DM_TLS_REASON_CERTIFICATE_INVALID,
    DM_TLS_REASON_ALERT,         /* the peer gave up; see dm_tls_alert() */
    DM_TLS_REASON_RECORD,        /* a record that is malformed or fails its check */
    DM_TLS_REASON_TRUNCATED,     /* the peer's end came without its close_notify */
    DM_TLS_REASON_FLOOD,         /* the peer asks for answers that it does not read */
    DM_TLS_REASON_NO_TRUSTED_CA, /* there are no CA certificates to verify a server with */
    DM_TLS_REASON_COUNT
};
const char *dm_tls_reason_name(enum dm_tls_reason reason);

/* Servers */

/* Certificate, key and settings that connections are served under. Counted; connections hold what they began with. */
struct dm_tls_profile;

/* All borrowed during the call. */
struct dm_tls_profile_settings {
    struct dm_str chain_pem, key_pem; /* as in io/certificate.h */
    struct dm_str ocsp_der;           /* stapled until it goes stale; empty: none */
    enum dm_tls_version min_version;
    enum dm_tls_client_auth client_auth; /* a certificate that is sent is verified, also when it is optional */
    struct dm_str client_ca_pem;         /* needed unless NONE */
    bool allows_http2;                   /* ALPN: "h2" before "http/1.1" and "http/1.0", else without it */
    uint8_t scope[DM_TLS_SCOPE_BYTES];   /* whose tickets these are: one value for each domain's settings */
};

DM_MUST_USE int dm_tls_profile_new(const struct dm_tls_profile_settings *settings, struct dm_tls_profile **ret,
                                   struct dm_err *err);
struct dm_tls_profile *dm_tls_profile_ref(struct dm_tls_profile *profile);
/* NULL is fine. */
void dm_tls_profile_unref(struct dm_tls_profile *profile);

/* Says under which profile a stream is served. server_name is lower case, "" when the client named none; borrowed, like the
 * profile that is returned. NULL refuses with unrecognized_name; dm_tls_later puts the handshake off until dm_tls_continue, when
 * it is asked again (for whoever has to wait its turn; the time is the owner's to bound); dm_tls_refused and dm_tls_too_many
 * refuse with internal_error, as the name is known but can't be served now. Before anything costly; may not end the stream. When it gives the stream to another flow, the
 * handshake goes on in that one's turn. */
typedef struct dm_tls_profile *(*dm_tls_select_cb)(void *arg, struct dm_stream *stream, struct dm_str server_name);

extern struct dm_tls_profile *const dm_tls_later, *const dm_tls_refused, *const dm_tls_too_many;
/* From the callback above: "h2" is not chosen for this stream, whatever the profile allows. */
void dm_tls_forbid_http2(struct dm_stream *stream);
/* From a task of the stream's; nothing when its handshake was not put off. */
void dm_tls_continue(struct dm_stream *stream);

/* What the connections of a worker's listeners share; must outlive them. */
struct dm_tls_acceptor;
struct dm_tls_acceptor *dm_tls_acceptor_new(dm_tls_select_cb select, void *arg);
void dm_tls_acceptor_free(struct dm_tls_acceptor *acceptor);

/* Generations of the secret that tickets are sealed under, the same for all workers that share clients: made under `current`,
 * opened under all, renewed when under `previous`. `next` is the secret that the other workers may have rotated to already.
 * An acceptor begins with random ones of its own. */
struct dm_tls_ticket_keys {
    uint8_t next[DM_TLS_TICKET_SECRET_BYTES], current[DM_TLS_TICKET_SECRET_BYTES], previous[DM_TLS_TICKET_SECRET_BYTES];
};
void dm_tls_acceptor_set_ticket_keys(struct dm_tls_acceptor *acceptor, const struct dm_tls_ticket_keys *keys);

/* Right after dm_stream_open. */
void dm_tls_serve(struct dm_stream *stream, struct dm_tls_acceptor *acceptor);

/* Clients */

/* CA certificates, parsed once and shared; counted, any thread. */
struct dm_tls_trust;
/* The system's bundle, a file. DM_ENOENT when there is none. */
DM_MUST_USE int dm_tls_trust_new_system(struct dm_tls_trust **ret, struct dm_err *err);
DM_MUST_USE int dm_tls_trust_new(struct dm_str ca_pem, struct dm_tls_trust **ret, struct dm_err *err);
struct dm_tls_trust *dm_tls_trust_ref(struct dm_tls_trust *trust);
void dm_tls_trust_unref(struct dm_tls_trust *trust);

/* How connections to one backend are made. Counted. */
struct dm_tls_client;

/* All borrowed during the call. */
struct dm_tls_client_settings {
    bool skips_verification;          /* the default, false, verifies chain, dates and host */
    struct dm_tls_trust *trust;       /* needed to verify */
    struct dm_str server_name;        /* SNI and host check; an IP address is checked as such and sent in no SNI */
    struct dm_str chain_pem, key_pem; /* the client certificate; empty: none */
    bool wants_http2;                 /* ALPN "h2" alone, else "http/1.1" alone */
};

DM_MUST_USE int dm_tls_client_new(const struct dm_tls_client_settings *settings, struct dm_tls_client **ret,
                                  struct dm_err *err);
struct dm_tls_client *dm_tls_client_ref(struct dm_tls_client *client);
void dm_tls_client_unref(struct dm_tls_client *client);

/* Where the newest session with one endpoint is kept; zeroed is empty. A session is only offered by the client that it was
 * made with. Must outlive the streams that were given it; ended with dm_tls_session_done. */
struct dm_tls_session {
    void *session;
    struct dm_tls_client *client;
};
void dm_tls_session_done(struct dm_tls_session *session);

/* Right after dm_stream_connect; the slot may be NULL. */
void dm_tls_connect(struct dm_stream *stream, struct dm_tls_client *client, struct dm_tls_session *slot);

/* Both */

struct dm_tls_info {
    struct dm_str server_name, alpn; /* borrowed from the stream; "" when there was none */
    const char *version, *cipher;    /* "TLSv1.3", "TLS_AES_128_GCM_SHA256"; static */
    bool is_resumed;
    /* Of a server's stream: the client's certificate, which is verified when it is there (T1). */
    bool has_client_certificate;
    char client_subject[DM_TLS_SUBJECT_MAX];         /* RFC 2253; "" when it is too long to be told whole */
    char client_fingerprint[DM_TLS_FINGERPRINT_MAX]; /* SHA-256, lower-case hex */
};
/* False when the stream has no TLS or its handshake is not through, and then *ret is untouched. */
bool dm_tls_info(const struct dm_stream *stream, struct dm_tls_info *ret);
/* The profile that a stream is served under; NULL when it is none or not selected yet. */
struct dm_tls_profile *dm_tls_stream_profile(const struct dm_stream *stream);
bool dm_tls_is_on(const struct dm_stream *stream);

enum dm_tls_reason dm_tls_reason(const struct dm_stream *stream);
/* The alert that the peer sent (RFC 8446 section 6); -1: none. */
int dm_tls_alert(const struct dm_stream *stream);

/* A failure is the reason, and with ALERT the alert, as one number below 65536 for whoever passes it on; 0: none. */
unsigned dm_tls_failure(const struct dm_stream *stream);
enum dm_tls_reason dm_tls_failure_reason(unsigned failure);
/* Stable: the reason's name, or "alert_" and what RFC 8446 calls the alert. */
const char *dm_tls_failure_name(unsigned failure);
/* Did a server end a connection, whose handshake is through on this side, before its first byte with an alert about the
 * client's certificate? With TLS 1.3 that is how it refuses one. */
bool dm_tls_was_refused(const struct dm_stream *stream);

#endif
