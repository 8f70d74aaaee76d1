#include "control/tenancy/certificates.h"
#include "control/release/keys.h"
#include "control/release/stamp.h"
#include "control/store/certificate_keys.h"
#include "base/encode.h"
#include "base/mem.h"
#include "io/certificate.h"
#include "model/backend.h"
#include "model/domain.h"

/* --- what it says of itself --------------------------------------------------------------------------------------- */

static int keep(struct dm_arena *arena, const char *text, struct dm_str *ret)
{
    return dm_arena_str(arena, dm_str_of(text), ret);
}

static int keep_names(const struct dm_certificate_info *info, struct dm_arena *arena, struct dm_certificate *ret)
{
    struct dm_str *names = dm_arena_calloc(arena, DM_MAX(info->n_names, 1) * sizeof(*names));

    if (names == NULL)
        return DM_EBUDGET;
    for (unsigned i = 0; i < info->n_names; i++)
        if (keep(arena, info->names[i], &names[i]) < 0)
            return DM_EBUDGET;
    ret->names = names;
    ret->n_names = info->n_names;
    return 0;
}

static int describe(const struct dm_certificate_info *info, struct dm_arena *arena, struct dm_certificate *ret)
{
    char from[DM_STAMP_MAX], to[DM_STAMP_MAX];

    dm_stamp(info->not_before_s * 1000, from);
    dm_stamp(info->not_after_s * 1000, to);
    if (keep(arena, info->subject, &ret->subject) < 0 || keep(arena, info->issuer, &ret->issuer) < 0 ||
        keep(arena, from, &ret->not_before) < 0 || keep(arena, to, &ret->not_after) < 0 ||
        keep(arena, info->fingerprint, &ret->fingerprint) < 0 || keep(arena, info->key_type, &ret->key_type) < 0)
        return DM_EBUDGET;
    return keep_names(info, arena, ret);
}

static void take_described(struct dm_certificate *certificate, const struct dm_certificate *before)
{
    certificate->subject = before->subject;
    certificate->issuer = before->issuer;
    certificate->names = before->names;
    certificate->n_names = before->n_names;
    certificate->not_before = before->not_before;
    certificate->not_after = before->not_after;
    certificate->fingerprint = before->fingerprint;
    certificate->key_type = before->key_type;
}

/* --- what its parts are to each other ------------------------------------------------------------------------------- */

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
    int64_t stale_at_s;
    ssize_t n;

    if (certificate->ocsp_response.len == 0)
        return 0;
    if ((n = dm_unbase64(certificate->ocsp_response, der, sizeof(der))) < 0) {
        dm_fail(&err, DM_EINVAL, "", "must be base64 of at most %d bytes", DM_CERTIFICATE_OCSP_MAX);
        return fail_member(write, at, "ocsp_response", &err);
    }
    if (dm_certificate_ocsp_check(certificate->chain, dm_str_n((const char *)der, (size_t)n), &stale_at_s, &err) < 0)
        return fail_member(write, at, "ocsp_response", &err);
    return 0;
}

static int read_chain(struct dm_write *write, struct dm_certificate *certificate, const char *at)
{
    struct dm_certificate_info info;
    struct dm_err err = {0};

    if (dm_certificate_read(certificate->chain, &info, &err) < 0)
        return fail_member(write, at, "chain", &err);
    return describe(&info, dm_write_arena(write), certificate) < 0 ? dm_write_no_memory(write) : 0;
}

/* Reading X.509 is dear: what is there as it stands was read when it came. */
int dm_certificates_resolve(struct dm_write *write, const struct dm_certificate *before,
                            struct dm_certificate *certificate, const char *at)
{
    bool has_chain = before != NULL && dm_str_eq(before->chain, certificate->chain);
    bool has_ocsp = has_chain && dm_str_eq(before->ocsp_response, certificate->ocsp_response);
    int rc = 0;

    if (has_chain)
        take_described(certificate, before);
    else
        rc = read_chain(write, certificate, at);
    if (rc < 0 || (rc = check_key(write, before, certificate, at)) < 0)
        return rc;
    return has_ocsp ? 0 : check_ocsp(write, certificate, at);
}

/* --- authorities -------------------------------------------------------------------------------------------------- */

static struct dm_str bundle_of(enum dm_kind kind, const void *object)
{
    const struct dm_backend *backend = object;

    if (object == NULL)
        return DM_STR("");
    if (kind == DM_KIND_DOMAIN)
        return ((const struct dm_domain *)object)->client_ca;
    return kind == DM_KIND_BACKEND && backend->tls != NULL ? backend->tls->ca : DM_STR("");
}

/* Here too: what is there as it stands was read when it came. */
int dm_certificates_check_authorities(struct dm_write *write, enum dm_kind kind, const void *before, const void *object,
                                      const char *at)
{
    struct dm_str bundle = bundle_of(kind, object);
    struct dm_err err = {0};

    if (bundle.len == 0 || dm_str_eq(bundle, bundle_of(kind, before)) ||
        dm_certificate_ca_bundle_check(bundle, &err) == 0)
        return 0;
    return fail_member(write, at, kind == DM_KIND_DOMAIN ? "client_ca" : "tls/ca", &err);
}

/* --- keys at rest ------------------------------------------------------------------------------------------------- */

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
