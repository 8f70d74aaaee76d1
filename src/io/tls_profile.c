/* What a server's connections run under: an SSL_CTX with certificate, key, ALPN, OCSP response and the clients' CA. */
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "io/tls.h"

#include "base/crypto.h"
#include "base/mem.h"
#include "io/certificate.h"
#include "io/tls_int.h"

/* ALPN (RFC 7301): protocols as OpenSSL takes them, each behind its length. */
static const unsigned char http_2_first[] = "\x02h2\x08http/1.1\x08http/1.0";
static const unsigned char http_1_only[] = "\x08http/1.1\x08http/1.0";

static int select_alpn(SSL *ssl, const unsigned char **ret, unsigned char *ret_len, const unsigned char *offered,
                       unsigned len, void *arg)
{
    const struct dm_tls_profile *profile = arg;
    bool allows_http2 = profile->allows_http2 && !dm_tls_of_ssl(ssl)->forbids_http2;
    const unsigned char *ours = allows_http2 ? http_2_first : http_1_only;
    unsigned ours_len = (unsigned)(allows_http2 ? sizeof(http_2_first) : sizeof(http_1_only)) - 1;
    unsigned char *chosen;

    if (SSL_select_next_proto(&chosen, ret_len, ours, ours_len, offered, len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *ret = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* OpenSSL keeps and frees what it is given. */
static int staple(SSL *ssl, void *arg)
{
    const struct dm_tls_profile *profile = arg;
    unsigned char *copy;

    if (dm_tls_now_s(dm_tls_of_ssl(ssl)) >= profile->ocsp_until_s)
        return SSL_TLSEXT_ERR_NOACK;
    if (!(copy = OPENSSL_memdup(profile->ocsp, (size_t)profile->ocsp_len)))
        return SSL_TLSEXT_ERR_NOACK;
    SSL_set_tlsext_status_ocsp_resp(ssl, copy, profile->ocsp_len);
    return SSL_TLSEXT_ERR_OK;
}

static int use_ocsp(struct dm_tls_profile *profile, const struct dm_tls_profile_settings *settings, struct dm_err *err)
{
    struct dm_str der = settings->ocsp_der;
    int rc;

    if (der.len == 0)
        return 0;
    if ((rc = dm_certificate_ocsp_check(settings->chain_pem, der, &profile->ocsp_until_s, err)) < 0)
        return rc;
    profile->ocsp = dm_alloc(der.len);
    memcpy(profile->ocsp, der.ptr, der.len);
    profile->ocsp_len = (int)der.len;
    SSL_CTX_set_tlsext_status_cb(profile->ctx, staple);
    SSL_CTX_set_tlsext_status_arg(profile->ctx, profile);
    return 0;
}

static int use_client_auth(struct dm_tls_profile *profile, const struct dm_tls_profile_settings *settings,
                           struct dm_err *err)
{
    int mode = SSL_VERIFY_PEER;

    if (settings->client_auth == DM_TLS_CLIENT_AUTH_NONE)
        return 0;
    if (settings->client_auth == DM_TLS_CLIENT_AUTH_REQUIRED)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(profile->ctx, mode, NULL);
    return dm_tls_context_trust(profile->ctx, settings->client_ca_pem, err);
}

static void mix(struct dm_digest_state *state, const void *ptr, size_t len)
{
    uint64_t length = len;

    dm_digest_update(state, &length, sizeof(length));
    dm_digest_update(state, len > 0 ? ptr : "", len);
}

/* Two profiles with one scope here may open each other's tickets (T1). */
static void set_scope(struct dm_tls_profile *profile, const struct dm_tls_profile_settings *settings)
{
    uint8_t kind[2] = {(uint8_t)settings->client_auth, (uint8_t)settings->min_version};
    bool has_ca = settings->client_auth != DM_TLS_CLIENT_AUTH_NONE;
    struct dm_digest_state state;

    dm_digest_init(&state, NULL);
    mix(&state, settings->scope, sizeof(settings->scope));
    mix(&state, kind, sizeof(kind));
    mix(&state, settings->client_ca_pem.ptr, has_ca ? settings->client_ca_pem.len : 0);
    dm_digest_final(&state, profile->scope);
}

static int fill_in(struct dm_tls_profile *profile, const struct dm_tls_profile_settings *settings, struct dm_err *err)
{
    int rc;

    if ((rc = dm_tls_context_use(profile->ctx, settings->chain_pem, settings->key_pem, err)) < 0 ||
        (rc = use_ocsp(profile, settings, err)) < 0 || (rc = use_client_auth(profile, settings, err)) < 0)
        return rc;
    profile->client_auth = settings->client_auth;
    profile->min_version = settings->min_version;
    profile->allows_http2 = settings->allows_http2;
    SSL_CTX_set_alpn_select_cb(profile->ctx, select_alpn, profile);
    set_scope(profile, settings);
    return 0;
}

int dm_tls_profile_new(const struct dm_tls_profile_settings *settings, struct dm_tls_profile **ret, struct dm_err *err)
{
    struct dm_tls_profile *profile = dm_calloc(1, sizeof(*profile));
    int rc;

    profile->n_refs = 1;
    profile->ctx = dm_tls_context_new(TLS_server_method());
    rc = fill_in(profile, settings, err);
    ERR_clear_error();
    if (rc < 0)
        dm_tls_profile_unref(profile);
    else
        *ret = profile;
    return rc;
}

struct dm_tls_profile *dm_tls_profile_ref(struct dm_tls_profile *profile)
{
    profile->n_refs++;
    return profile;
}

void dm_tls_profile_unref(struct dm_tls_profile *profile)
{
    if (!profile || --profile->n_refs > 0)
        return;
    SSL_CTX_free(profile->ctx);
    dm_free(profile->ocsp);
    dm_mem_wipe(profile->sealings, sizeof(profile->sealings));
    dm_free(profile);
}
