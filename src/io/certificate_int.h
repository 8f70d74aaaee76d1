/* Certificates and keys in OpenSSL's form, for io's own files. Needs <openssl/x509.h> before the headers of this project. */
#ifndef DM_IO_CERTIFICATE_INT_H
#define DM_IO_CERTIFICATE_INT_H

#include <openssl/x509.h>

#include "io/certificate.h"

/* A checked chain; the caller frees it with sk_X509_pop_free(, X509_free). */
DM_MUST_USE int dm_certificate_parse_chain(struct dm_str pem, STACK_OF(X509) * *ret, struct dm_err *err);
/* A checked bundle of CA certificates; freed alike. */
DM_MUST_USE int dm_certificate_parse_bundle(struct dm_str pem, STACK_OF(X509) * *ret, struct dm_err *err);
/* A key of a kind that is served; the caller frees it with EVP_PKEY_free. */
DM_MUST_USE int dm_certificate_parse_key(struct dm_str pem, EVP_PKEY **ret, struct dm_err *err);

/* RFC 2253, ASCII, NUL-terminated. False when it does not fit, and then ret is "": a cut name could pass for another's. */
bool dm_certificate_name_text(const X509_NAME *name, char ret[DM_CERTIFICATE_SUBJECT_MAX]);
/* Unix time; 0 when it can't be read. */
int64_t dm_certificate_time_s(const ASN1_TIME *time);
void dm_certificate_fingerprint(const X509 *x509, char ret[DM_CERTIFICATE_FINGERPRINT_MAX]);

/* For DM_CLEANUP. */
static inline void dm_x509_stack_freep(STACK_OF(X509) * *stack)
{
    sk_X509_pop_free(*stack, X509_free);
}

static inline void dm_evp_pkey_freep(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}

#endif
