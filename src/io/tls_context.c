/* What all contexts have in common, and the parts that servers and clients fill in alike. */
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "io/tls.h"

#include "io/certificate_int.h"
#include "io/tls_int.h"

#define CIPHERS_1_2                                                                                                        \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:" \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define CIPHERS_1_3 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS "X25519:P-256:P-384"
#define SIGNATURES                                                                                                     \
    "ECDSA+SHA256:ECDSA+SHA384:ed25519:RSA-PSS+SHA256:RSA-PSS+SHA384:RSA-PSS+SHA512:RSA+SHA256:RSA+SHA384:RSA+SHA512"

enum { SECURITY_LEVEL = 2, VERIFY_DEPTH = 8 };

static bool set_algorithms(SSL_CTX *ctx)
{
    SSL_CTX_set_security_level(ctx, SECURITY_LEVEL);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 && SSL_CTX_set_cipher_list(ctx, CIPHERS_1_2) == 1 &&
           SSL_CTX_set_ciphersuites(ctx, CIPHERS_1_3) == 1 && SSL_CTX_set1_groups_list(ctx, GROUPS) == 1 &&
           SSL_CTX_set1_sigalgs_list(ctx, SIGNATURES) == 1;
}

SSL_CTX *dm_tls_context_new(const SSL_METHOD *method)
{
    SSL_CTX *ctx;

    dm_tls_init();
    /* What a machine's openssl.cnf says must not change what is served. */
    if (OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1 || !(ctx = SSL_CTX_new(method)) ||
        !set_algorithms(ctx))
        abort();
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                 SSL_OP_PRIORITIZE_CHACHA | SSL_OP_NO_ENCRYPT_THEN_MAC);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_max_cert_list(ctx, DM_CERTIFICATE_PEM_MAX);
    SSL_CTX_set_verify_depth(ctx, VERIFY_DEPTH);
    return ctx;
}

static int use_chain(SSL_CTX *ctx, STACK_OF(X509) * chain, EVP_PKEY *key, struct dm_err *err)
{
    X509 *leaf = sk_X509_shift(chain);
    bool is_done = SSL_CTX_use_cert_and_key(ctx, leaf, key, chain, 1) == 1;

    X509_free(leaf);
    ERR_clear_error();
    return is_done
               ? 0
               : dm_fail(err, DM_EINVAL, "", "the key does not belong to the certificate, or can't be used for TLS");
}

int dm_tls_context_use(SSL_CTX *ctx, struct dm_str chain_pem, struct dm_str key_pem, struct dm_err *err)
{
    STACK_OF(X509) * chain DM_CLEANUP(dm_x509_stack_freep) = NULL;
    EVP_PKEY *key DM_CLEANUP(dm_evp_pkey_freep) = NULL;
    int rc;

    if ((rc = dm_certificate_parse_chain(chain_pem, &chain, err)) < 0 ||
        (rc = dm_certificate_parse_key(key_pem, &key, err)) < 0)
        return rc;
    return use_chain(ctx, chain, key, err);
}

int dm_tls_context_trust(SSL_CTX *ctx, struct dm_str ca_pem, struct dm_err *err)
{
    STACK_OF(X509) * bundle DM_CLEANUP(dm_x509_stack_freep) = NULL;
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    int rc;

    if ((rc = dm_certificate_parse_bundle(ca_pem, &bundle, err)) < 0)
        return rc;
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
    for (int i = 0; i < sk_X509_num(bundle); i++)
        if (X509_STORE_add_cert(store, sk_X509_value(bundle, i)) != 1 ||
            SSL_CTX_add_client_CA(ctx, sk_X509_value(bundle, i)) != 1)
            return dm_fail(err, DM_EINVAL, "", "the CA bundle: certificate %d can't be trusted", i + 1);
    return 0;
}
