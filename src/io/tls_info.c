/* What a connection with TLS is, and why one failed. */
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "io/tls.h"

#include "io/certificate_int.h"
#include "io/tls_int.h"

enum { ALERT_SHIFT = 8 }; /* of a failure */

_Static_assert((int)DM_TLS_SUBJECT_MAX >= (int)DM_CERTIFICATE_SUBJECT_MAX, "a subject fits");
_Static_assert((int)DM_TLS_FINGERPRINT_MAX >= (int)DM_CERTIFICATE_FINGERPRINT_MAX, "a fingerprint fits");

const char *dm_tls_reason_name(enum dm_tls_reason reason)
{
    static const char *const names[DM_TLS_REASON_COUNT] = {
        [DM_TLS_REASON_NONE] = "none",
        [DM_TLS_REASON_HANDSHAKE] = "handshake",
        [DM_TLS_REASON_NOT_TLS] = "not_tls",
        [DM_TLS_REASON_PROTOCOL_VERSION] = "protocol_version",
        [DM_TLS_REASON_NO_SHARED_CIPHER] = "no_shared_cipher",
        [DM_TLS_REASON_NO_APPLICATION_PROTOCOL] = "no_application_protocol",
        [DM_TLS_REASON_UNRECOGNIZED_NAME] = "unrecognized_name",
        [DM_TLS_REASON_REFUSED] = "refused",
        [DM_TLS_REASON_TOO_MANY_HANDSHAKES] = "too_many_handshakes",
        [DM_TLS_REASON_CLIENT_CERTIFICATE_MISSING] = "client_certificate_missing",
        [DM_TLS_REASON_CLIENT_CERTIFICATE_INVALID] = "client_certificate_invalid",
        [DM_TLS_REASON_CERTIFICATE_EXPIRED] = "certificate_expired",
        [DM_TLS_REASON_CERTIFICATE_UNKNOWN_ISSUER] = "certificate_unknown_issuer",
        [DM_TLS_REASON_CERTIFICATE_HOST_MISMATCH] = "certificate_host_mismatch",
        [DM_TLS_REASON_CERTIFICATE_INVALID] = "certificate_invalid",
        [DM_TLS_REASON_ALERT] = "alert",
        [DM_TLS_REASON_RECORD] = "record",
        [DM_TLS_REASON_TRUNCATED] = "truncated",
        [DM_TLS_REASON_FLOOD] = "flood",
        [DM_TLS_REASON_NO_TRUSTED_CA] = "no_trusted_ca",
    };

    return (unsigned)reason < DM_TLS_REASON_COUNT ? names[reason] : "unknown";
}

/* Of the server's certificate. */
static enum dm_tls_reason reason_of_verification(long result)
{
    switch (result) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID: return DM_TLS_REASON_CERTIFICATE_EXPIRED;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH: return DM_TLS_REASON_CERTIFICATE_HOST_MISMATCH;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN: return DM_TLS_REASON_CERTIFICATE_UNKNOWN_ISSUER;
    default: return DM_TLS_REASON_CERTIFICATE_INVALID;
    }
}

static enum dm_tls_reason reason_of_certificate(const struct dm_tls *tls)
{
    return tls->is_server ? DM_TLS_REASON_CLIENT_CERTIFICATE_INVALID
                          : reason_of_verification(SSL_get_verify_result(tls->ssl));
}

static const struct {
    int code;
    enum dm_tls_reason reason;
} reasons[] = {
    {SSL_R_WRONG_VERSION_NUMBER, DM_TLS_REASON_NOT_TLS},
    {SSL_R_HTTP_REQUEST, DM_TLS_REASON_NOT_TLS},
    {SSL_R_HTTPS_PROXY_REQUEST, DM_TLS_REASON_NOT_TLS},
    {SSL_R_UNSUPPORTED_PROTOCOL, DM_TLS_REASON_PROTOCOL_VERSION},
    {SSL_R_VERSION_TOO_LOW, DM_TLS_REASON_PROTOCOL_VERSION},
    {SSL_R_VERSION_TOO_HIGH, DM_TLS_REASON_PROTOCOL_VERSION},
    {SSL_R_WRONG_SSL_VERSION, DM_TLS_REASON_PROTOCOL_VERSION},
    {SSL_R_NO_PROTOCOLS_AVAILABLE, DM_TLS_REASON_PROTOCOL_VERSION},
    {SSL_R_NO_SHARED_CIPHER, DM_TLS_REASON_NO_SHARED_CIPHER},
    {SSL_R_NO_SUITABLE_KEY_SHARE, DM_TLS_REASON_NO_SHARED_CIPHER},
    {SSL_R_NO_SUITABLE_GROUPS, DM_TLS_REASON_NO_SHARED_CIPHER},
    {SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, DM_TLS_REASON_NO_SHARED_CIPHER},
    {SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS, DM_TLS_REASON_NO_SHARED_CIPHER},
    {SSL_R_NO_APPLICATION_PROTOCOL, DM_TLS_REASON_NO_APPLICATION_PROTOCOL},
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, DM_TLS_REASON_CLIENT_CERTIFICATE_MISSING},
    {SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, DM_TLS_REASON_RECORD},
    {SSL_R_BAD_RECORD_TYPE, DM_TLS_REASON_RECORD},
    {SSL_R_UNEXPECTED_RECORD, DM_TLS_REASON_RECORD},
    {SSL_R_RECORD_LENGTH_MISMATCH, DM_TLS_REASON_RECORD},
    {SSL_R_RECORD_TOO_SMALL, DM_TLS_REASON_RECORD},
    {SSL_R_PACKET_LENGTH_TOO_LONG, DM_TLS_REASON_RECORD},
    {SSL_R_ENCRYPTED_LENGTH_TOO_LONG, DM_TLS_REASON_RECORD},
    {SSL_R_DATA_LENGTH_TOO_LONG, DM_TLS_REASON_RECORD},
};

/* Once the handshake is through, whatever is wrong is a record. */
static enum dm_tls_reason reason_of_error(const struct dm_tls *tls, int code)
{
    if (code == SSL_R_CERTIFICATE_VERIFY_FAILED)
        return reason_of_certificate(tls);
    for (size_t i = 0; !tls->is_ready && i < DM_COUNT(reasons); i++)
        if (reasons[i].code == code)
            return reasons[i].reason;
    return tls->is_ready ? DM_TLS_REASON_RECORD : DM_TLS_REASON_HANDSHAKE;
}

/* The alert that an error of OpenSSL tells; -1: it tells none. */
static int alert_of_error(int code)
{
    return code >= SSL_AD_REASON_OFFSET && code < SSL_AD_REASON_OFFSET + 256 ? code - SSL_AD_REASON_OFFSET : -1;
}

/* What TLS itself found first; errors of the parts below it may stand before. */
static int take_error(void)
{
    unsigned long error;
    int code = 0;

    while ((error = ERR_get_error()) != 0)
        if (code == 0 && ERR_GET_LIB(error) == ERR_LIB_SSL)
            code = ERR_GET_REASON(error);
    return code;
}

void dm_tls_explain(struct dm_tls *tls)
{
    int code = take_error();

    if (tls->reason != DM_TLS_REASON_NONE)
        return;
    tls->alert = (int16_t)alert_of_error(code);
    tls->reason = (uint8_t)(tls->alert >= 0 ? DM_TLS_REASON_ALERT : reason_of_error(tls, code));
}

bool dm_tls_is_on(const struct dm_stream *stream)
{
    return dm_tls_of(stream) != NULL;
}

enum dm_tls_reason dm_tls_reason(const struct dm_stream *stream)
{
    const struct dm_tls *tls = dm_tls_of(stream);

    return tls ? (enum dm_tls_reason)tls->reason : DM_TLS_REASON_NONE;
}

int dm_tls_alert(const struct dm_stream *stream)
{
    const struct dm_tls *tls = dm_tls_of(stream);

    return tls ? tls->alert : -1;
}

/* RFC 8446 section 6, and of RFC 5246 what is left of TLS 1.2. */
static const char *alert_name(unsigned alert)
{
    switch (alert) {
    case SSL_AD_CLOSE_NOTIFY: return "alert_close_notify";
    case SSL_AD_UNEXPECTED_MESSAGE: return "alert_unexpected_message";
    case SSL_AD_BAD_RECORD_MAC: return "alert_bad_record_mac";
    case SSL_AD_RECORD_OVERFLOW: return "alert_record_overflow";
    case SSL_AD_HANDSHAKE_FAILURE: return "alert_handshake_failure";
    case SSL_AD_BAD_CERTIFICATE: return "alert_bad_certificate";
    case SSL_AD_UNSUPPORTED_CERTIFICATE: return "alert_unsupported_certificate";
    case SSL_AD_CERTIFICATE_REVOKED: return "alert_certificate_revoked";
    case SSL_AD_CERTIFICATE_EXPIRED: return "alert_certificate_expired";
    case SSL_AD_CERTIFICATE_UNKNOWN: return "alert_certificate_unknown";
    case SSL_AD_ILLEGAL_PARAMETER: return "alert_illegal_parameter";
    case SSL_AD_UNKNOWN_CA: return "alert_unknown_ca";
    case SSL_AD_ACCESS_DENIED: return "alert_access_denied";
    case SSL_AD_DECODE_ERROR: return "alert_decode_error";
    case SSL_AD_DECRYPT_ERROR: return "alert_decrypt_error";
    case SSL_AD_PROTOCOL_VERSION: return "alert_protocol_version";
    case SSL_AD_INSUFFICIENT_SECURITY: return "alert_insufficient_security";
    case SSL_AD_INTERNAL_ERROR: return "alert_internal_error";
    case SSL_AD_INAPPROPRIATE_FALLBACK: return "alert_inappropriate_fallback";
    case SSL_AD_USER_CANCELLED: return "alert_user_canceled";
    case SSL_AD_NO_RENEGOTIATION: return "alert_no_renegotiation";
    case SSL_AD_MISSING_EXTENSION: return "alert_missing_extension";
    case SSL_AD_UNSUPPORTED_EXTENSION: return "alert_unsupported_extension";
    case SSL_AD_UNRECOGNIZED_NAME: return "alert_unrecognized_name";
    case SSL_AD_BAD_CERTIFICATE_STATUS_RESPONSE: return "alert_bad_certificate_status_response";
    case SSL_AD_UNKNOWN_PSK_IDENTITY: return "alert_unknown_psk_identity";
    case SSL_AD_CERTIFICATE_REQUIRED: return "alert_certificate_required";
    case SSL_AD_NO_APPLICATION_PROTOCOL: return "alert_no_application_protocol";
    default: return "alert";
    }
}

unsigned dm_tls_failure(const struct dm_stream *stream)
{
    int alert = dm_tls_alert(stream);

    return dm_tls_reason(stream) | (alert > 0 ? (unsigned)alert << ALERT_SHIFT : 0);
}

enum dm_tls_reason dm_tls_failure_reason(unsigned failure)
{
    return (enum dm_tls_reason)(failure & ((1u << ALERT_SHIFT) - 1));
}

const char *dm_tls_failure_name(unsigned failure)
{
    enum dm_tls_reason reason = dm_tls_failure_reason(failure);

    return reason == DM_TLS_REASON_ALERT ? alert_name(failure >> ALERT_SHIFT) : dm_tls_reason_name(reason);
}

bool dm_tls_was_refused(const struct dm_stream *stream)
{
    if (stream->bytes_in > 0)
        return false;
    switch (dm_tls_alert(stream)) {
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_ACCESS_DENIED:
    case SSL_AD_CERTIFICATE_REQUIRED: return true;
    default: return false;
    }
}

struct dm_tls_profile *dm_tls_stream_profile(const struct dm_stream *stream)
{
    const struct dm_tls *tls = dm_tls_of(stream);

    return tls && tls->is_server ? tls->server.profile : NULL;
}

static void describe_client(const struct dm_tls *tls, struct dm_tls_info *info)
{
    X509 *x509 = tls->is_server ? SSL_get0_peer_certificate(tls->ssl) : NULL;

    info->has_client_certificate = x509 && SSL_get_verify_result(tls->ssl) == X509_V_OK;
    info->client_subject[0] = info->client_fingerprint[0] = '\0';
    if (!info->has_client_certificate)
        return;
    dm_certificate_name_text(X509_get_subject_name(x509), info->client_subject);
    dm_certificate_fingerprint(x509, info->client_fingerprint);
}

bool dm_tls_info(const struct dm_stream *stream, struct dm_tls_info *ret)
{
    const struct dm_tls *tls = dm_tls_of(stream);
    const unsigned char *alpn = NULL;
    const char *name;
    unsigned len = 0;

    if (!tls || !tls->is_ready)
        return false;
    SSL_get0_alpn_selected(tls->ssl, &alpn, &len);
    name = tls->server_name ? tls->server_name : SSL_get_servername(tls->ssl, TLSEXT_NAMETYPE_host_name);
    ret->server_name = dm_str_of(name ? name : "");
    ret->alpn = len > 0 ? dm_str_n((const char *)alpn, len) : DM_STR("");
    ret->version = SSL_get_version(tls->ssl);
    ret->cipher = SSL_CIPHER_get_name(SSL_get_current_cipher(tls->ssl));
    ret->is_resumed = SSL_session_reused(tls->ssl) == 1;
    describe_client(tls, ret);
    return true;
}
