/* Handshakes of servers: the profile by the server name, before anything else is decided, and the sealing of tickets.
 *
 * A connection begins under the acceptor's own context, which has no certificate, and changes to the profile's when its
 * ClientHello is there. What does not come along with SSL_set_SSL_CTX is set by adopt(). Tickets are the acceptor's: their keys
 * come from a generation's secret and the profile's scope, so that one of another scope is not even recognized (T1). */
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>

#include "io/tls.h"

#include "base/crypto.h"
#include "base/mem.h"
#include "io/certificate_int.h"
#include "io/tls_int.h"

enum { TICKETS_PER_HANDSHAKE = 1, TICKET_LIFE_S = 7200, NAME_MAX_BYTES = 253 };
enum generation { NEXT, CURRENT, PREVIOUS };

struct dm_tls_acceptor {
    SSL_CTX *ctx;
    EVP_CIPHER *cipher;
    dm_tls_select_cb select;
    void *arg;
    uint64_t epoch; /* of the secrets */
    uint8_t secrets[DM_TLS_GENERATIONS][DM_TLS_TICKET_SECRET_BYTES];
};

/* Tickets */

static void derive(const uint8_t secret[DM_TLS_TICKET_SECRET_BYTES], const char *use,
                   const uint8_t scope[DM_TLS_SCOPE_BYTES], uint8_t *ret, size_t len)
{
    uint8_t digest[DM_DIGEST_BYTES];
    struct dm_digest_state state;

    dm_digest_init(&state, secret);
    dm_digest_update(&state, scope, DM_TLS_SCOPE_BYTES);
    dm_digest_update(&state, use, strlen(use));
    dm_digest_final(&state, digest);
    memcpy(ret, digest, len);
    dm_mem_wipe(digest, sizeof(digest));
}

static const struct dm_tls_sealing *sealings_of(const struct dm_tls_acceptor *acceptor, struct dm_tls_profile *profile)
{
    if (DM_LIKELY(profile->sealings_of == acceptor && profile->sealings_epoch == acceptor->epoch))
        return profile->sealings;
    for (int i = 0; i < DM_TLS_GENERATIONS; i++) {
        struct dm_tls_sealing *sealing = &profile->sealings[i];
        derive(acceptor->secrets[i], "ticket name", profile->scope, sealing->name, sizeof(sealing->name));
        derive(acceptor->secrets[i], "ticket cipher", profile->scope, sealing->cipher_key, sizeof(sealing->cipher_key));
        derive(acceptor->secrets[i], "ticket mac", profile->scope, sealing->mac_key, sizeof(sealing->mac_key));
    }
    profile->sealings_of = acceptor;
    profile->sealings_epoch = acceptor->epoch;
    return profile->sealings;
}

static bool set_mac_key(EVP_MAC_CTX *mac, const struct dm_tls_sealing *sealing)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)sealing->mac_key,
                                          sizeof(sealing->mac_key)),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)(uintptr_t) "SHA256", 0),
        OSSL_PARAM_construct_end(),
    };

    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

static int seal(const struct dm_tls_acceptor *acceptor, const struct dm_tls_sealing *sealing, unsigned char *name,
                unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
    if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(acceptor->cipher)) != 1 || !set_mac_key(mac, sealing) ||
        EVP_EncryptInit_ex2(cipher, acceptor->cipher, sealing->cipher_key, iv, NULL) != 1)
        return -1;
    memcpy(name, sealing->name, sizeof(sealing->name));
    return 1;
}

/* 0: a ticket of nobody that is known here. 2: opened, and to be renewed, as TLS 1.3 clients use each but once. */
static int unseal(const struct dm_tls *tls, const struct dm_tls_sealing *sealings, const unsigned char *name,
                  const unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
    for (int i = 0; i < DM_TLS_GENERATIONS; i++) {
        if (!dm_secret_eq(name, sealings[i].name, sizeof(sealings[i].name)))
            continue;
        if (!set_mac_key(mac, &sealings[i]) ||
            EVP_DecryptInit_ex2(cipher, tls->server.acceptor->cipher, sealings[i].cipher_key, iv, NULL) != 1)
            return -1;
        return i == PREVIOUS || SSL_version(tls->ssl) == TLS1_3_VERSION ? 2 : 1;
    }
    return 0;
}

static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                     int is_new)
{
    struct dm_tls *tls = dm_tls_of_ssl(ssl);
    const struct dm_tls_sealing *sealings;

    if (!tls->server.profile)
        return -1;
    sealings = sealings_of(tls->server.acceptor, tls->server.profile);
    return is_new ? seal(tls->server.acceptor, &sealings[CURRENT], name, iv, cipher, mac)
                  : unseal(tls, sealings, name, iv, cipher, mac);
}

/* Until when all of a client's verified chain is valid. */
static int64_t chain_end_s(const STACK_OF(X509) * chain)
{
    int64_t end_s = INT64_MAX;

    for (int i = 0; i < sk_X509_num(chain); i++)
        end_s = DM_MIN(end_s, dm_certificate_time_s(X509_get0_notAfter(sk_X509_value(chain, i))));
    return end_s;
}

/* A ticket holds no more of the chain than the client's own certificate, so it is told that end. A session that was resumed has it
 * from the one before. */
static int on_new_ticket(SSL *ssl, void *arg)
{
    const STACK_OF(X509) *chain = SSL_session_reused(ssl) ? NULL : SSL_get0_verified_chain(ssl);
    int64_t end_s;

    if (DM_LIKELY(!chain))
        return 1;
    end_s = chain_end_s(chain);
    return SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), &end_s, sizeof(end_s));
}

/* Has the client's certificate, or one above it, expired since it was verified? */
static bool has_expired(const struct dm_tls *tls, SSL_SESSION *session)
{
    void *data = NULL;
    size_t len = 0;
    int64_t end_s;

    if (DM_LIKELY(!SSL_SESSION_get0_peer(session)))
        return false;
    if (SSL_SESSION_get0_ticket_appdata(session, &data, &len) != 1 || len != sizeof(end_s))
        return true;
    memcpy(&end_s, data, sizeof(end_s));
    return end_s <= dm_tls_now_s(tls);
}

static SSL_TICKET_RETURN on_session(SSL *ssl, SSL_SESSION *session, const unsigned char *name, size_t name_len,
                                    SSL_TICKET_STATUS status, void *arg)
{
    if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW)
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    if (has_expired(dm_tls_of_ssl(ssl), session))
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    return status == SSL_TICKET_SUCCESS_RENEW ? SSL_TICKET_RETURN_USE_RENEW : SSL_TICKET_RETURN_USE;
}

/* Server names */

/* Addresses that are no profile's. */
static const struct dm_tls_profile later, refused, too_many;
struct dm_tls_profile *const dm_tls_later = (struct dm_tls_profile *)&later;
struct dm_tls_profile *const dm_tls_refused = (struct dm_tls_profile *)&refused;
struct dm_tls_profile *const dm_tls_too_many = (struct dm_tls_profile *)&too_many;

void dm_tls_continue(struct dm_stream *stream)
{
    struct dm_tls *tls = dm_tls_of(stream);

    if (!tls || !tls->is_put_off)
        return;
    tls->is_put_off = false;
    dm_task_post(stream->loop, &stream->task);
}

void dm_tls_forbid_http2(struct dm_stream *stream)
{
    dm_tls_of(stream)->forbids_http2 = true;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* Nothing that could read as something else in a log or a table. */
static bool is_host_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

/* RFC 6066 section 3: a list of names, of which there is one of the one type that exists. */
static int parse_server_name(const unsigned char *ptr, size_t len, struct dm_str *ret)
{
    size_t list_len, name_len;

    if (len < 5)
        return DM_EINVAL;
    list_len = (size_t)ptr[0] << 8 | ptr[1];
    name_len = (size_t)ptr[3] << 8 | ptr[4];
    if (list_len != len - 2 || ptr[2] != TLSEXT_NAMETYPE_host_name || name_len != len - 5 || name_len == 0)
        return DM_EINVAL;
    *ret = dm_str_n((const char *)ptr + 5, name_len);
    return 0;
}

/* Keeps it in lower case; false when it can be nobody's. */
static bool keep_server_name(struct dm_tls *tls, struct dm_str name)
{
    if (name.len > NAME_MAX_BYTES || name.ptr[0] == '.')
        return false;
    dm_free(tls->server_name);
    tls->server_name = dm_strdup(name);
    for (char *c = tls->server_name; *c; c++)
        *c = lower(*c);
    for (size_t i = 0; i < name.len; i++)
        if (!is_host_byte(tls->server_name[i]))
            return false;
    return true;
}

/* The profile's settings that are a connection's own. */
static void adopt(struct dm_tls *tls, struct dm_tls_profile *profile)
{
    SSL *ssl = tls->ssl;

    tls->server.profile = dm_tls_profile_ref(profile);
    SSL_set_SSL_CTX(ssl, profile->ctx);
    SSL_set_session_id_context(ssl, profile->scope, sizeof(profile->scope));
    if (profile->min_version == DM_TLS_1_3)
        SSL_set_min_proto_version(ssl, TLS1_3_VERSION);
    if (profile->client_auth == DM_TLS_CLIENT_AUTH_NONE)
        return;
    SSL_set_verify(ssl, SSL_CTX_get_verify_mode(profile->ctx), NULL);
    dm_tls_set_verify_time(tls);
}

static int refuse(struct dm_tls *tls, int alert, enum dm_tls_reason reason, int *ret_alert)
{
    tls->reason = (uint8_t)reason;
    *ret_alert = alert;
    return SSL_CLIENT_HELLO_ERROR;
}

/* What costs most comes now. When it is another flow's, it waits for that one's turn. */
static bool hand_on(struct dm_tls *tls)
{
    struct dm_stream *stream = tls->stream;
    struct dm_loop *loop = stream->loop;

    if (!loop->is_fair || !loop->in_turn || !stream->task.flow || stream->task.flow == loop->in_turn)
        return false;
    tls->is_handed_on = true;
    dm_task_post(loop, &stream->task);
    return true;
}

static int on_client_hello(SSL *ssl, int *ret_alert, void *arg)
{
    struct dm_tls_acceptor *acceptor = arg;
    struct dm_tls *tls = dm_tls_of_ssl(ssl);
    struct dm_tls_profile *profile;
    struct dm_str name = DM_STR("");
    const unsigned char *ptr;
    size_t len;

    /* A second ClientHello follows a request to retry; its name can't change what is decided. */
    if (tls->server.profile)
        return SSL_CLIENT_HELLO_SUCCESS;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &ptr, &len) == 1) {
        if (parse_server_name(ptr, len, &name) < 0)
            return refuse(tls, SSL_AD_DECODE_ERROR, DM_TLS_REASON_HANDSHAKE, ret_alert);
        if (!keep_server_name(tls, name))
            return refuse(tls, SSL_AD_UNRECOGNIZED_NAME, DM_TLS_REASON_UNRECOGNIZED_NAME, ret_alert);
        name = dm_str_of(tls->server_name);
    }
    profile = acceptor->select(acceptor->arg, tls->stream, name);
    if (profile == dm_tls_later) {
        tls->is_put_off = true;
        return SSL_CLIENT_HELLO_RETRY;
    }
    if (profile == dm_tls_refused)
        return refuse(tls, SSL_AD_INTERNAL_ERROR, DM_TLS_REASON_REFUSED, ret_alert);
    if (profile == dm_tls_too_many)
        return refuse(tls, SSL_AD_INTERNAL_ERROR, DM_TLS_REASON_TOO_MANY_HANDSHAKES, ret_alert);
    if (!profile)
        return refuse(tls, SSL_AD_UNRECOGNIZED_NAME, DM_TLS_REASON_UNRECOGNIZED_NAME, ret_alert);
    adopt(tls, profile);
    return hand_on(tls) ? SSL_CLIENT_HELLO_RETRY : SSL_CLIENT_HELLO_SUCCESS;
}

/* Life */

struct dm_tls_acceptor *dm_tls_acceptor_new(dm_tls_select_cb select, void *arg)
{
    struct dm_tls_acceptor *acceptor = dm_calloc(1, sizeof(*acceptor));
    SSL_CTX *ctx = acceptor->ctx = dm_tls_context_new(TLS_server_method());

    acceptor->select = select;
    acceptor->arg = arg;
    if (!(acceptor->cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL)))
        abort();
    dm_crypto_random(acceptor->secrets, sizeof(acceptor->secrets));
    SSL_CTX_set_client_hello_cb(ctx, on_client_hello, acceptor);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_timeout(ctx, TICKET_LIFE_S);
    SSL_CTX_set_num_tickets(ctx, TICKETS_PER_HANDSHAKE);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
    SSL_CTX_set_session_ticket_cb(ctx, on_new_ticket, on_session, NULL);
    return acceptor;
}

void dm_tls_acceptor_free(struct dm_tls_acceptor *acceptor)
{
    if (!acceptor)
        return;
    SSL_CTX_free(acceptor->ctx);
    EVP_CIPHER_free(acceptor->cipher);
    dm_mem_wipe(acceptor, sizeof(*acceptor));
    dm_free(acceptor);
}

void dm_tls_acceptor_set_ticket_keys(struct dm_tls_acceptor *acceptor, const struct dm_tls_ticket_keys *keys)
{
    memcpy(acceptor->secrets[NEXT], keys->next, sizeof(keys->next));
    memcpy(acceptor->secrets[CURRENT], keys->current, sizeof(keys->current));
    memcpy(acceptor->secrets[PREVIOUS], keys->previous, sizeof(keys->previous));
    acceptor->epoch++;
}

void dm_tls_serve(struct dm_stream *stream, struct dm_tls_acceptor *acceptor)
{
    struct dm_tls *tls = dm_tls_attach(stream, SSL_new(acceptor->ctx));

    tls->is_server = true;
    tls->server.acceptor = acceptor;
    SSL_set_accept_state(tls->ssl);
    stream->is_connecting = stream->is_handshaking = true;
}
