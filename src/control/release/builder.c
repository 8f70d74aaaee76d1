#include "control/release/builder.h"
#include "control/identity/keyring.h"
#include "control/release/keys.h"
#include "control/release/load.h"
#include "control/release/stamp.h"
#include "control/store/credentials.h"
#include "base/buf.h"
#include "base/encode.h"
#include "base/mem.h"
#include "model/document.h"

static int no_memory(struct dm_err *err)
{
    return dm_fail(err, DM_EBUDGET, "", "the document needs more memory than one request may use");
}

/* --- digest key --------------------------------------------------------------------------------------------------- */

static struct dm_str key_context(const struct dm_tenant_handle *handle, char ret[64])
{
    int len = snprintf(ret, 64, "tenant %lld digest key", (long long)dm_tenants_number(handle));

    return dm_str_n(ret, (size_t)len);
}

static int make_digest_key(struct dm_tenant_handle *handle, const struct dm_keyring *keyring, uint8_t ret_key[32],
                           struct dm_err *err)
{
    uint8_t sealed[32 + DM_SEAL_OVERHEAD];
    char context[64];

    dm_crypto_random(ret_key, 32);
    dm_seal(keyring->sealing, dm_str_n((const char *)ret_key, 32), key_context(handle, context), sealed);
    return dm_credentials_set_digest_key(handle, 1, dm_str_n((const char *)sealed, sizeof(sealed)), err);
}

int dm_builder_digest_key(struct dm_tenant_handle *handle, const struct dm_keyring *keyring, int64_t *ret_id,
                          uint8_t ret_key[32], struct dm_err *err)
{
    struct dm_str sealed;
    char context[64];
    int rc = dm_credentials_digest_key(handle, ret_id, &sealed, err);

    if (rc == DM_ENOENT) {
        *ret_id = 1;
        return make_digest_key(handle, keyring, ret_key, err);
    }
    if (rc < 0)
        return rc;
    if (sealed.len != 32 + DM_SEAL_OVERHEAD ||
        dm_seal_open(keyring->sealing, sealed, key_context(handle, context), ret_key) < 0)
        return dm_fail(err, DM_ECORRUPT, "",
                       "the tenant's digest key can't be opened: keys/sealing.key is not the one it was sealed with");
    return 0;
}

/* --- bodies ------------------------------------------------------------------------------------------------------- */

static int fill_release(struct dm_tenant_handle *handle, const struct dm_keyring *keyring, struct dm_document *document,
                        struct dm_err *err)
{
    void *backends, *products;
    int rc = dm_load_all(handle, DM_KIND_BACKEND, 0, &backends, &document->release.n_backends, err);

    if (rc < 0 || (rc = dm_load_all(handle, DM_KIND_PRODUCT, 0, &products, &document->release.n_products, err)) < 0)
        return rc;
    document->release.backends = backends;
    document->release.products = products;
    return 0;
}

static int fill_applications(struct dm_tenant_handle *handle, const struct dm_keyring *keyring,
                             struct dm_document *document, struct dm_err *err)
{
    struct dm_applications_body *body = &document->applications;
    char hex[65];
    uint8_t key[32];
    void *applications;
    int rc = dm_builder_digest_key(handle, keyring, &body->digest_key_id, key, err);

    if (rc < 0 || (rc = dm_load_all(handle, DM_KIND_APPLICATION, 0, &applications, &body->n_applications, err)) < 0)
        return rc;
    body->applications = applications;
    dm_hex(key, sizeof(key), hex);
    rc = dm_arena_str(dm_txn_arena(dm_tenants_txn(handle)), dm_str_of(hex), &body->digest_key);
    dm_mem_wipe(key, sizeof(key));
    dm_mem_wipe(hex, sizeof(hex));
    return rc < 0 ? no_memory(err) : 0;
}

static int fill_grants(struct dm_tenant_handle *handle, const struct dm_keyring *keyring, struct dm_document *document,
                       struct dm_err *err)
{
    struct dm_grants grants;
    struct dm_tenant tenant;
    int64_t version;
    int rc = dm_load_grants(handle, &grants, &version, err);

    if (rc < 0 || (rc = dm_load_tenant(handle, &tenant, &version, err)) < 0)
        return rc;
    document->grants = (struct dm_grants_body){
        .state = tenant.state,
        .weight = tenant.weight,
        .caps = tenant.caps,
        .tenancy = tenant.tenancy,
        .cell = tenant.cell,
        .domains = grants.domains,
        .n_domains = grants.n_domains,
        .endpoints = grants.endpoints,
        .n_endpoints = grants.n_endpoints,
    };
    return 0;
}

static void keep_granted(struct dm_domains_body *body, const struct dm_grants *grants)
{
    size_t kept = 0;

    for (size_t i = 0; i < body->n_domains; i++)
        if (dm_grants_allow_domain(grants, body->domains[i].name))
            body->domains[kept++] = body->domains[i];
    body->n_domains = kept;
}

static void choose_certificates(struct dm_domains_body *body)
{
    for (size_t i = 0; i < body->n_domains; i++) {
        size_t at = dm_domain_certificate(&body->domains[i], body->certificates, body->n_certificates);

        body->domains[i].certificate = at == SIZE_MAX ? DM_STR("") : body->certificates[at].name;
    }
}

static int seal_key(struct dm_tenant_handle *handle, const struct dm_keyring *keyring, const struct dm_tenant_key *key,
                    struct dm_certificate *certificate, struct dm_err *err)
{
    uint8_t clear[DM_CHAIN_KEY_BYTES];
    struct dm_str pem;
    int rc = dm_keys_certificate(handle, keyring, certificate->name, clear, &pem, err);

    if (rc >= 0 && dm_certificate_key_seal(key->key, key->tenant_id, certificate->name, pem,
                                           dm_txn_arena(dm_tenants_txn(handle)), &certificate->key_sealed) < 0)
        rc = no_memory(err);
    dm_mem_wipe(clear, sizeof(clear));
    return rc;
}

static int seal_keys(struct dm_tenant_handle *handle, const struct dm_keyring *keyring, struct dm_domains_body *body,
                     struct dm_err *err)
{
    struct dm_tenant_key key;
    int rc = 0;

    if (body->n_certificates == 0)
        return 0;
    if ((rc = dm_keys_make_data(handle, keyring, &key, err)) < 0)
        return rc;
    body->key_id = (int64_t)key.key_id;
    for (size_t i = 0; rc >= 0 && i < body->n_certificates; i++)
        rc = seal_key(handle, keyring, &key, &body->certificates[i], err);
    dm_mem_wipe(&key, sizeof(key));
    return rc;
}

static int fill_domains(struct dm_tenant_handle *handle, const struct dm_keyring *keyring, struct dm_document *document,
                        struct dm_err *err)
{
    struct dm_domains_body body = {0};
    struct dm_grants grants;
    void *domains, *certificates;
    int64_t version;
    int rc = dm_load_grants(handle, &grants, &version, err);

    if (rc < 0 || (rc = dm_load_all(handle, DM_KIND_DOMAIN, 0, &domains, &body.n_domains, err)) < 0 ||
        (rc = dm_load_all(handle, DM_KIND_CERTIFICATE, 0, &certificates, &body.n_certificates, err)) < 0)
        return rc;
    body.domains = domains;
    body.certificates = certificates;
    keep_granted(&body, &grants);
    choose_certificates(&body);
    if ((rc = seal_keys(handle, keyring, &body, err)) < 0)
        return rc;
    document->domains = body;
    return 0;
}

typedef int (*fill_body)(struct dm_tenant_handle *, const struct dm_keyring *, struct dm_document *, struct dm_err *);
static const fill_body fill[DM_UNIT_KINDS] = {
    [DM_UNIT_RELEASE] = fill_release,
    [DM_UNIT_APPLICATIONS] = fill_applications,
    [DM_UNIT_GRANTS] = fill_grants,
    [DM_UNIT_DOMAINS] = fill_domains,
};

/* --- document ----------------------------------------------------------------------------------------------------- */

static int compat_date(struct dm_tenant_handle *handle, struct dm_str *ret, struct dm_err *err)
{
    char buf[DM_STAMP_MAX];
    struct dm_tenant_row row;
    struct dm_tenant tenant;
    int rc = dm_tenants_get(handle, &row, err);

    if (rc < 0 || (rc = dm_load_body(dm_tenants_txn(handle), &dm_schema_tenant, row.body, &tenant, err)) < 0)
        return rc;
    *ret = tenant.compat_date;
    if (ret->len > 0)
        return 0;
    rc = dm_arena_str(dm_txn_arena(dm_tenants_txn(handle)), dm_stamp_date(row.created_ms, buf), ret);
    return rc < 0 ? no_memory(err) : 0;
}

static int seal(struct dm_tenant_handle *handle, const struct dm_keyring *keyring, const struct dm_document *document,
                struct dm_str *ret, struct dm_err *err)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf bytes = {0};
    int rc;

    dm_buf_init(&bytes, DM_DOCUMENT_MAX);
    if ((rc = dm_document_seal(keyring->sign_secret, document, &bytes, err)) < 0)
        return rc;
    rc = dm_arena_str(dm_txn_arena(dm_tenants_txn(handle)), dm_buf_str(&bytes), ret);
    return rc < 0 ? no_memory(err) : 0;
}

int dm_builder_make(struct dm_tenant_handle *handle, const struct dm_keyring *keyring, enum dm_unit_kind kind,
                    struct dm_unit_row *ret, struct dm_err *err)
{
    struct dm_unit_row unit = {.tenant = dm_tenants_name(handle), .kind = kind};
    struct dm_document document = {
        .format = DM_DOCUMENT_FORMAT,
        .kind = kind,
        .tenant = unit.tenant,
        .tenant_id = dm_tenants_number(handle),
    };
    int rc = dm_units_next(handle, kind, &unit.mark, err);

    if (rc < 0 || (rc = compat_date(handle, &document.compat_date, err)) < 0 ||
        (rc = fill[kind](handle, keyring, &document, err)) < 0)
        return rc;
    document.epoch = (int64_t)unit.mark.epoch;
    document.sequence = (int64_t)unit.mark.sequence;
    if ((rc = seal(handle, keyring, &document, &unit.document, err)) < 0 ||
        (rc = dm_units_put(handle, kind, unit.mark, unit.document, err)) < 0)
        return rc;
    *ret = unit;
    return 0;
}
