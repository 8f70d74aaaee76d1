#include "control/tenancy/certificates.h"
#include "control/release/describe.h"
#include "control/release/keys.h"
#include "control/store/certificate_keys.h"
#include "base/encode.h"
#include "base/mem.h"

/* What io/certificate.h said of one member. */
static int fail_member(struct dm_write *write, const char *at, const char *member, const struct dm_err *err)
{
    char pointer[DM_ERR_POINTER_MAX];

    snprintf(pointer, sizeof(pointer), "%s/%s", at, member);
    return dm_failure_add(write->failure, DM_EINVAL, NULL, pointer, "%s", err->message);
}

static int check_given_key(struct dm_write *write, const struct dm_certificate *certificate, const char *at)
{
    struct dm_err err = {0};

    if (dm_certificate_key_check(certificate->chain, certificate->key, &err) < 0)
        return fail_member(write, at, "key", &err);
    return 0;
}

/* The chain is another one, the key is not sent: is it the same key? */
static int check_kept_key(struct dm_write *write, const struct dm_certificate *certificate, const char *at)
{
    uint8_t key[DM_CHAIN_KEY_BYTES];
    struct dm_err err = {0};
    struct dm_str pem;
    int rc = dm_keys_certificate(write->tenant, write->keyring, certificate->name, key, &pem, &err);

    if (rc < 0)
        return dm_write_fail(write, &err);
    rc = dm_certificate_key_check(certificate->chain, pem, &err);
    dm_mem_wipe(key, sizeof(key));
    if (rc < 0)
        return dm_failure_add(write->failure, DM_EINVAL, NULL, at,
                              "member 'key' is required: the key that is there does not belong to the new chain");
    return 0;
}

static int check_key(struct dm_write *write, const struct dm_certificate *before,
                     const struct dm_certificate *certificate, const char *at)
{
    if (certificate->key.len > 0)
        return check_given_key(write, certificate, at);
    if (before == NULL)
        return dm_failure_add(write->failure, DM_EINVAL, NULL, at, "member 'key' is required for a new certificate");
    if (dm_str_eq(before->chain, certificate->chain))
        return 0;
    return check_kept_key(write, certificate, at);
}

static int check_ocsp(struct dm_write *write, const struct dm_certificate *certificate, const char *at)
{
    uint8_t der[DM_CERTIFICATE_OCSP_MAX];
    struct dm_err err = {0};
    int64_t next_update_s;
    ssize_t n;

    if (certificate->ocsp_response.len == 0)
        return 0;
    if ((n = dm_unbase64(certificate->ocsp_response, der, sizeof(der))) < 0) {
        dm_fail(&err, DM_EINVAL, "", "must be base64 of at most %d bytes", DM_CERTIFICATE_OCSP_MAX);
        return fail_member(write, at, "ocsp_response", &err);
    }
    if (dm_certificate_ocsp_check(certificate->chain, dm_str_n((const char *)der, (size_t)n), &next_update_s, &err) < 0)
        return fail_member(write, at, "ocsp_response", &err);
    return 0;
}

int dm_certificates_resolve(struct dm_write *write, const struct dm_certificate *before,
                            struct dm_certificate *certificate, const char *at)
{
    struct dm_certificate_info info;
    struct dm_err err = {0};
    int rc;

    if (dm_certificate_read(certificate->chain, &info, &err) < 0)
        return fail_member(write, at, "chain", &err);
    if (dm_describe_certificate(&info, dm_write_arena(write), certificate) < 0)
        return dm_write_no_memory(write);
    if ((rc = check_key(write, before, certificate, at)) < 0)
        return rc;
    return check_ocsp(write, certificate, at);
}

int dm_certificates_store_key(struct dm_write *write, struct dm_certificate *certificate)
{
    struct dm_err err = {0};
    int rc;

    if (certificate->key.len == 0)
        return 0;
    rc = dm_keys_put_certificate(write->tenant, write->keyring, certificate->name, certificate->key, &err);
    dm_mem_wipe((void *)(uintptr_t)certificate->key.ptr, certificate->key.len);
    certificate->key = DM_STR("");
    return rc < 0 ? dm_write_fail(write, &err) : 0;
}

int dm_certificates_drop_key(struct dm_write *write, struct dm_str certificate)
{
    struct dm_err err = {0};
    int rc = dm_certificate_keys_remove(write->tenant, certificate, &err);

    return rc < 0 && rc != DM_ENOENT ? dm_write_fail(write, &err) : 0;
}
