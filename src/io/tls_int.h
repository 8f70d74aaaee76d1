/* What the files of TLS share. Needs OpenSSL's headers before the headers of this project. */
#ifndef DM_IO_TLS_INT_H
#define DM_IO_TLS_INT_H

#include <openssl/ssl.h>

#include "io/stream_int.h"
#include "io/tls.h"

enum {
    DM_TLS_RECORD_BYTES = 16 << 10, /* the most that one record carries */
    DM_TLS_RECORDS_AHEAD = 4,       /* the most that is encrypted before the system has taken it */
    DM_TLS_OUT_BYTES = DM_TLS_RECORDS_AHEAD * (DM_TLS_RECORD_BYTES + 256),
    DM_TLS_HELD_MAX = 128 << 10, /* of ciphertext that the system does not take; legitimate use stays below */
};

/* One for each loop: scratch that holds bytes during one call only, and the BIO of all connections: what it reads and writes is
 * the current one's, during a call of OpenSSL. */
struct dm_tls_shared {
    BIO_METHOD *method;
    BIO *bio;
    struct dm_tls *current;
    uint32_t read_limit, read_budget; /* of a receive, of all of a call */
    int read_error;                   /* of the socket, found inside OpenSSL */
    bool is_starved;                  /* a receive found nothing, or was not to look */
    struct dm_freelist states;
    size_t out_len;
    char in[DM_STREAM_SCRATCH_BYTES]; /* ciphertext received */
    char out[DM_TLS_OUT_BYTES];       /* ciphertext to send */
    char record[DM_TLS_RECORD_BYTES]; /* plaintext of one record, from several pieces */
};

/* A stream's transport_state. Idle connections are counted by the thousand: what matters during a call only is shared. */
struct dm_tls {
    SSL *ssl;
    struct dm_stream *stream;
    const struct dm_transport *below;
    void *below_state;
    const char *in; /* ciphertext received, not read: in the scratch during a call, in carried between calls */
    char *carried;
    uint32_t in_len, carried_cap;
    struct dm_stream_chunk *held, *held_tail; /* ciphertext that the system did not take */
    union {
        struct {
            struct dm_tls_acceptor *acceptor;
            struct dm_tls_profile *profile; /* NULL: none yet */
        } server;                           /* with is_server */
        struct {
            struct dm_tls_client *client;
            struct dm_tls_session *slot;
        } client;
    };
    char *server_name;            /* NUL-terminated; NULL: none, or OpenSSL has the same */
    int16_t failure, write_error; /* what every call returns from now on; of the socket, found inside OpenSSL */
    int16_t alert;
    uint8_t reason;
    bool is_server : 1;
    bool is_empty : 1, has_fin : 1, has_begun : 1; /* of receiving */
    bool is_last_record : 1, has_ended : 1, is_ready : 1;
    bool is_put_off : 1;    /* until dm_tls_continue() */
    bool is_handed_on : 1;  /* a server's: it goes on in the turn of the flow that the stream was given to */
    bool forbids_http2 : 1; /* a server's */
};

static inline struct dm_tls_shared *dm_tls_shared_of(const struct dm_tls *tls)
{
    return tls->stream->loop->tls;
}

extern const struct dm_transport dm_transport_tls;

static inline struct dm_tls *dm_tls_of(const struct dm_stream *stream)
{
    return stream->transport == &dm_transport_tls ? stream->transport_state : NULL;
}

/* Puts TLS on the stream, a client's as long as nobody says is_server; the SSL object is the stream's from here on. */
struct dm_tls *dm_tls_attach(struct dm_stream *stream, SSL *ssl);

/* Every context's versions, ciphers, groups and modes; NULL when out of memory, which is fatal anyway. */
SSL_CTX *dm_tls_context_new(const SSL_METHOD *method);
/* The chain and its key into the context. */
DM_MUST_USE int dm_tls_context_use(SSL_CTX *ctx, struct dm_str chain_pem, struct dm_str key_pem, struct dm_err *err);
/* The certificates become the context's trust; `names`: and are named to clients. */
DM_MUST_USE int dm_tls_context_trust(SSL_CTX *ctx, struct dm_str ca_pem, struct dm_err *err);

/* In callbacks of OpenSSL's: whose it is. */
struct dm_tls *dm_tls_of_ssl(const SSL *ssl);

/* A client's handshake is through. */
void dm_tls_client_established(struct dm_tls *tls);

/* Sets tls->reason and tls->alert from OpenSSL's errors, and forgets them. */
void dm_tls_explain(struct dm_tls *tls);

/* The keys of one generation and scope. */
struct dm_tls_sealing {
    uint8_t name[16], cipher_key[32], mac_key[32];
};
enum { DM_TLS_GENERATIONS = 3 };

struct dm_tls_profile {
    SSL_CTX *ctx;
    unsigned n_refs;
    enum dm_tls_client_auth client_auth;
    enum dm_tls_version min_version;
    bool allows_http2;
    uint8_t scope[DM_TLS_SCOPE_BYTES]; /* the caller's, and all that tickets depend on (T1) */
    unsigned char *ocsp;
    int ocsp_len;
    int64_t ocsp_until_s;
    /* Derived for the acceptor's keys of this number. */
    const struct dm_tls_acceptor *sealings_of;
    uint64_t sealings_epoch;
    struct dm_tls_sealing sealings[DM_TLS_GENERATIONS]; /* next, current, previous */
};

static inline int64_t dm_tls_now_s(const struct dm_tls *tls)
{
    struct dm_sys *sys = tls->stream->loop->sys;

    return (int64_t)(sys->ops->wall_ns(sys) / 1000000000u);
}

/* Verification of the peer's certificate goes by the seam's clock. */
static inline void dm_tls_set_verify_time(struct dm_tls *tls)
{
    X509_VERIFY_PARAM_set_time(SSL_get0_param(tls->ssl), (time_t)dm_tls_now_s(tls));
}

#endif
