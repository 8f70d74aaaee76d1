/* Connections to backends: trust, the host's name, sessions. */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <stdatomic.h>
#include <unistd.h>

#include "io/tls.h"

#include "base/mem.h"
#include "io/certificate_int.h"
#include "io/tls_int.h"

enum { NAME_MAX_BYTES = 253 };

/* Trust */

struct dm_tls_trust {
    X509_STORE *store;
    atomic_uint n_refs;
};

static struct dm_tls_trust *trust_new(void)
{
    struct dm_tls_trust *trust = dm_calloc(1, sizeof(*trust));

    if (!(trust->store = X509_STORE_new()))
        abort();
    atomic_init(&trust->n_refs, 1);
    return trust;
}

static int add_all(X509_STORE *store, STACK_OF(X509) * bundle, struct dm_err *err)
{
    for (int i = 0; i < sk_X509_num(bundle); i++)
        if (X509_STORE_add_cert(store, sk_X509_value(bundle, i)) != 1)
            return dm_fail(err, DM_EINVAL, "", "the CA bundle: certificate %d can't be trusted", i + 1);
    return 0;
}

/* Whoever names an intermediate CA means that one, with no need for its root. */
int dm_tls_trust_new(struct dm_str ca_pem, struct dm_tls_trust **ret, struct dm_err *err)
{
    STACK_OF(X509) * bundle DM_CLEANUP(dm_x509_stack_freep) = NULL;
    struct dm_tls_trust *trust;
    int rc;

    if ((rc = dm_certificate_parse_bundle(ca_pem, &bundle, err)) < 0)
        return rc;
    trust = trust_new();
    X509_STORE_set_flags(trust->store, X509_V_FLAG_PARTIAL_CHAIN);
    rc = add_all(trust->store, bundle, err);
    ERR_clear_error();
    if (rc < 0)
        dm_tls_trust_unref(trust);
    else
        *ret = trust;
    return rc;
}

int dm_tls_trust_new_system(struct dm_tls_trust **ret, struct dm_err *err)
{
    const char *const paths[] = {
        getenv(X509_get_default_cert_file_env()),
        "/etc/ssl/certs/ca-certificates.crt", /* Debian */
        "/etc/pki/tls/certs/ca-bundle.crt",   /* Fedora */
        X509_get_default_cert_file(),
    };
    struct dm_tls_trust *trust = trust_new();

    for (size_t i = 0; i < DM_COUNT(paths); i++)
        if (paths[i] && X509_STORE_load_file(trust->store, paths[i]) == 1) {
            ERR_clear_error();
            *ret = trust;
            return 0;
        }
    ERR_clear_error();
    dm_tls_trust_unref(trust);
    return dm_fail(err, DM_ENOENT, "", "this system has no bundle of CA certificates (package ca-certificates)");
}

struct dm_tls_trust *dm_tls_trust_ref(struct dm_tls_trust *trust)
{
    atomic_fetch_add(&trust->n_refs, 1);
    return trust;
}

void dm_tls_trust_unref(struct dm_tls_trust *trust)
{
    if (!trust || atomic_fetch_sub(&trust->n_refs, 1) > 1)
        return;
    X509_STORE_free(trust->store);
    dm_free(trust);
}

/* Clients */

struct dm_tls_client {
    SSL_CTX *ctx;
    unsigned n_refs;
    char *server_name;
    bool names_host; /* it is a name, no address: SNI */
};

/* The newest session replaces the one before; false when it has no place. */
static bool keep(struct dm_tls *tls, SSL_SESSION *session)
{
    struct dm_tls_session *slot = tls->client.slot;

    if (!slot || !session || !SSL_SESSION_is_resumable(session))
        return false;
    dm_tls_session_done(slot);
    slot->session = session;
    slot->client = dm_tls_client_ref(tls->client.client);
    return true;
}

static int on_session(SSL *ssl, SSL_SESSION *session)
{
    return keep(dm_tls_of_ssl(ssl), session);
}

/* The ticket of a renewed session of TLS 1.2 is not shown to on_session. */
void dm_tls_client_established(struct dm_tls *tls)
{
    SSL_SESSION *session;

    if (!tls->client.slot || SSL_version(tls->ssl) != TLS1_2_VERSION || !SSL_session_reused(tls->ssl))
        return;
    session = SSL_get1_session(tls->ssl);
    if (!keep(tls, session))
        SSL_SESSION_free(session);
}

void dm_tls_session_done(struct dm_tls_session *session)
{
    SSL_SESSION_free(session->session);
    dm_tls_client_unref(session->client);
    *session = (struct dm_tls_session){0};
}

static int use_name(struct dm_tls_client *client, const struct dm_tls_client_settings *settings, struct dm_err *err)
{
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(client->ctx);
    const char *name;

    if (settings->server_name.len > NAME_MAX_BYTES ||
        memchr(settings->server_name.ptr, '\0', settings->server_name.len))
        return dm_fail(err, DM_EINVAL, "", "the server name must be a host name or an IP address");
    name = client->server_name = dm_strdup(settings->server_name);
    client->names_host = X509_VERIFY_PARAM_set1_ip_asc(param, name) != 1;
    ERR_clear_error();
    if (!client->names_host)
        return 0;
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return X509_VERIFY_PARAM_set1_host(param, name, 0) == 1 ? 0
                                                            : dm_fail(err, DM_EIO, "", "the server name can't be set");
}

static int use_verification(struct dm_tls_client *client, const struct dm_tls_client_settings *settings,
                            struct dm_err *err)
{
    if (settings->skips_verification)
        return 0;
    if (!settings->trust || settings->server_name.len == 0)
        return dm_fail(err, DM_EINVAL, "", "verifying a server takes its name and the CA certificates to trust");
    SSL_CTX_set1_cert_store(client->ctx, settings->trust->store);
    SSL_CTX_set_verify(client->ctx, SSL_VERIFY_PEER, NULL);
    return 0;
}

static int use_alpn(struct dm_tls_client *client, bool wants_http2, struct dm_err *err)
{
    const char *offer = wants_http2 ? "\x02h2" : "\x08http/1.1";

    if (SSL_CTX_set_alpn_protos(client->ctx, (const unsigned char *)offer, (unsigned)strlen(offer)) == 0)
        return 0;
    return dm_fail(err, DM_EIO, "", "the application protocol can't be set");
}

static int fill_in(struct dm_tls_client *client, const struct dm_tls_client_settings *settings, struct dm_err *err)
{
    int rc;

    if ((rc = use_verification(client, settings, err)) < 0 ||
        (rc = settings->server_name.len > 0 ? use_name(client, settings, err) : 0) < 0 ||
        (rc = use_alpn(client, settings->wants_http2, err)) < 0)
        return rc;
    SSL_CTX_set_session_cache_mode(client->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(client->ctx, on_session);
    return settings->chain_pem.len > 0 ? dm_tls_context_use(client->ctx, settings->chain_pem, settings->key_pem, err)
                                       : 0;
}

int dm_tls_client_new(const struct dm_tls_client_settings *settings, struct dm_tls_client **ret, struct dm_err *err)
{
    struct dm_tls_client *client = dm_calloc(1, sizeof(*client));
    int rc;

    client->n_refs = 1;
    client->ctx = dm_tls_context_new(TLS_client_method());
    rc = fill_in(client, settings, err);
    ERR_clear_error();
    if (rc < 0)
        dm_tls_client_unref(client);
    else
        *ret = client;
    return rc;
}

struct dm_tls_client *dm_tls_client_ref(struct dm_tls_client *client)
{
    client->n_refs++;
    return client;
}

void dm_tls_client_unref(struct dm_tls_client *client)
{
    if (!client || --client->n_refs > 0)
        return;
    SSL_CTX_free(client->ctx);
    dm_free(client->server_name);
    dm_free(client);
}

void dm_tls_connect(struct dm_stream *stream, struct dm_tls_client *client, struct dm_tls_session *slot)
{
    struct dm_tls *tls = dm_tls_attach(stream, SSL_new(client->ctx));

    tls->client.client = dm_tls_client_ref(client);
    tls->client.slot = slot;
    SSL_set_connect_state(tls->ssl);
    dm_tls_set_verify_time(tls);
    if (client->names_host && SSL_set_tlsext_host_name(tls->ssl, client->server_name) != 1)
        abort();
    if (client->server_name)
        tls->server_name = dm_strdup(dm_str_of(client->server_name));
    if (slot && slot->session && slot->client == client && SSL_SESSION_is_resumable(slot->session))
        SSL_set_session(tls->ssl, slot->session);
    ERR_clear_error();
}
