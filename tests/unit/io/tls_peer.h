/* OpenSSL itself at the other end of a socket, driven by hand: nothing of io/tls stands between it and the test. */
#ifndef DM_TEST_TLS_PEER_H
#define DM_TEST_TLS_PEER_H

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <sys/socket.h>
#include <unistd.h>

#include "pki/pki.h"

struct tls_peer {
    SSL_CTX *ctx;
    SSL *ssl;
    SSL_SESSION *session; /* the newest */
    int fd;
};

static inline int tls_peer_keeps(SSL *ssl, SSL_SESSION *session)
{
    struct tls_peer *peer = SSL_get_app_data(ssl);

    SSL_SESSION_free(peer->session);
    peer->session = session;
    return 1;
}

/* A context that trusts the root (NULL: nobody, and verifies nothing). */
static inline void tls_peer_init(struct tls_peer *peer, const SSL_METHOD *method, const struct pki_identity *root)
{
    *peer = (struct tls_peer){.fd = -1};
    peer->ctx = SSL_CTX_new(method);
    SSL_CTX_set_session_cache_mode(peer->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(peer->ctx, tls_peer_keeps);
    if (!root)
        return;
    X509_STORE_add_cert(SSL_CTX_get_cert_store(peer->ctx), root->x509);
    SSL_CTX_set_verify(peer->ctx, SSL_VERIFY_PEER, NULL);
}

/* Takes the descriptor. */
static inline void tls_peer_open(struct tls_peer *peer, int fd, const char *server_name)
{
    peer->fd = fd;
    peer->ssl = SSL_new(peer->ctx);
    SSL_set_app_data(peer->ssl, peer);
    SSL_set_fd(peer->ssl, fd);
    if (server_name)
        SSL_set_tlsext_host_name(peer->ssl, server_name);
    if (peer->session && !SSL_is_server(peer->ssl))
        SSL_set_session(peer->ssl, peer->session);
}

static inline void tls_peer_close(struct tls_peer *peer)
{
    if (!peer->ssl)
        return;
    SSL_set_shutdown(peer->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(peer->ssl);
    peer->ssl = NULL;
    if (peer->fd >= 0)
        close(peer->fd);
    peer->fd = -1;
    ERR_clear_error();
}

static inline void tls_peer_done(struct tls_peer *peer)
{
    tls_peer_close(peer);
    SSL_SESSION_free(peer->session);
    SSL_CTX_free(peer->ctx);
    *peer = (struct tls_peer){.fd = -1};
}

/* One step: 1 through, 0 waits, or negative: the alert received or -1. */
static inline int tls_peer_shake(struct tls_peer *peer)
{
    int rc = SSL_do_handshake(peer->ssl), code;

    if (rc == 1)
        return 1;
    code = SSL_get_error(peer->ssl, rc);
    if (code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE)
        return 0;
    code = ERR_GET_REASON(ERR_peek_error());
    ERR_clear_error();
    return code > SSL_AD_REASON_OFFSET ? -(code - SSL_AD_REASON_OFFSET) : -1;
}

/* What there is now; *ret_end: 0 nothing more yet, 1 close_notify, -1 cut or failed. */
static inline size_t tls_peer_read(struct tls_peer *peer, char *ret, size_t len, int *ret_end)
{
    size_t n_all = 0;
    int n = 1, code;

    while (n_all < len && (n = SSL_read(peer->ssl, ret + n_all, (int)(len - n_all))) > 0)
        n_all += (size_t)n;
    code = n > 0 ? SSL_ERROR_WANT_READ : SSL_get_error(peer->ssl, n);
    *ret_end = code == SSL_ERROR_ZERO_RETURN ? 1 : code == SSL_ERROR_WANT_READ ? 0 : -1;
    ERR_clear_error();
    return n_all;
}

#endif
