#include "channel.h"

#include "wire.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SERVER_NAME_SIZE 256

static SSL_CTX *context; /* NULL: in clear */
static char server_name[SERVER_NAME_SIZE];

/* Takes the session of a ticket that came; of several in a row the last one stays. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct dm_channel *channel = SSL_get_app_data(ssl);

    SSL_SESSION_free(channel->session);
    channel->session = session;
    return 1;
}

static int set_offer(void)
{
    static const unsigned char protocols[] = "\x08http/1.1";

    return SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
                   SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
                   SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") == 1 &&
                   SSL_CTX_set1_groups_list(context, "X25519") == 1 &&
                   SSL_CTX_set1_sigalgs_list(context, "ecdsa_secp256r1_sha256") == 1 &&
                   SSL_CTX_set_alpn_protos(context, protocols, sizeof(protocols) - 1) == 0
               ? 0
               : -1;
}

int dm_channel_use_tls(const char *name, enum dm_channel_sessions sessions)
{
    size_t len = strlen(name);

    context = SSL_CTX_new(TLS_client_method());
    if (context == NULL || len >= sizeof(server_name) || set_offer() < 0) {
        fprintf(stderr, "cannot set up TLS\n");
        return -1;
    }
    memcpy(server_name, name, len + 1);
    SSL_CTX_set_read_ahead(context, 1);
    if (sessions == DM_CHANNEL_SESSIONS_KEPT) {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
        SSL_CTX_sess_set_new_cb(context, on_session);
    }
    return 0;
}

static int attach_tls(struct dm_channel *channel)
{
    SSL *ssl = channel->ssl = SSL_new(context);

    if (ssl == NULL || SSL_set_fd(ssl, channel->fd) != 1 || SSL_set_tlsext_host_name(ssl, server_name) != 1)
        return -1;
    SSL_set_app_data(ssl, channel);
    if (channel->session != NULL && SSL_set_session(ssl, channel->session) != 1)
        return -1;
    SSL_set_connect_state(ssl);
    return 0;
}

int dm_channel_open(struct dm_channel *channel, uint16_t port)
{
    channel->is_resumed = false;
    channel->ssl = NULL;
    channel->fd = dm_wire_connect_from(channel->from, port);
    if (channel->fd < 0)
        return -1;
    return context == NULL ? 0 : attach_tls(channel);
}

int dm_channel_handshake(struct dm_channel *channel)
{
    int rc;

    if (channel->ssl == NULL)
        return 1;
    ERR_clear_error();
    rc = SSL_do_handshake(channel->ssl);
    if (rc == 1) {
        channel->is_resumed = SSL_session_reused(channel->ssl) == 1;
        return 1;
    }
    return SSL_get_error(channel->ssl, rc) == SSL_ERROR_WANT_READ ? 0 : -1;
}

static ssize_t read_tls(struct dm_channel *channel, char *buf, size_t size)
{
    size_t got = 0;
    int rc;

    ERR_clear_error();
    rc = SSL_read_ex(channel->ssl, buf, size, &got);
    if (rc == 1)
        return (ssize_t)got;
    return SSL_get_error(channel->ssl, rc) == SSL_ERROR_WANT_READ ? 0 : -1;
}

ssize_t dm_channel_read(struct dm_channel *channel, char *buf, size_t size)
{
    ssize_t got;

    if (channel->ssl != NULL)
        return read_tls(channel, buf, size);
    got = recv(channel->fd, buf, size, 0);
    if (got > 0)
        return got;
    return got < 0 && errno == EAGAIN ? 0 : -1;
}

bool dm_channel_has_more(const struct dm_channel *channel)
{
    return channel->ssl != NULL && SSL_has_pending(channel->ssl) == 1;
}

int dm_channel_write(struct dm_channel *channel, const char *buf, size_t len)
{
    size_t sent = 0;

    if (channel->ssl == NULL)
        return dm_wire_send(channel->fd, buf, len);
    ERR_clear_error();
    return SSL_write_ex(channel->ssl, buf, len, &sent) == 1 && sent == len ? 0 : -1;
}

void dm_channel_close(struct dm_channel *channel, bool is_over)
{
    if (channel->ssl != NULL) {
        ERR_clear_error();
        if (!is_over)
            SSL_shutdown(channel->ssl);
        SSL_free(channel->ssl);
        channel->ssl = NULL;
    }
    close(channel->fd);
}
