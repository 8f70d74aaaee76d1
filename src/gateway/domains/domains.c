#include "gateway/domains/domains.h"

#include "base/log.h"
#include "base/mem.h"

/* --- digests ------------------------------------------------------------------------------------------------------ */

static void add_u64(struct dm_digest_state *state, uint64_t value)
{
    dm_digest_update(state, &value, sizeof(value));
}

static void add_str(struct dm_digest_state *state, struct dm_str s)
{
    add_u64(state, s.len);
    dm_digest_update(state, s.ptr, s.len);
}

static void digest_client_policy(const struct dm_unit *unit, const struct dm_udomain *settings,
                                 uint8_t ret[DM_DIGEST_BYTES])
{
    struct dm_digest_state state;

    dm_digest_init(&state, NULL);
    add_u64(&state, dm_unit_header(unit)->tenant_id);
    add_u64(&state, settings->client_certificate);
    add_str(&state, dm_unit_str(unit, settings->client_ca));
    dm_digest_final(&state, ret);
}

/* Whose tickets: one domain's, under one set of rules for its connections. A new certificate leaves them good. */
static void digest_scope(const struct dm_unit *unit, const struct dm_udomain *settings, const uint8_t *client_policy,
                         uint8_t ret[DM_TLS_SCOPE_BYTES])
{
    struct dm_digest_state state;

    dm_digest_init(&state, NULL);
    dm_digest_update(&state, client_policy, DM_DIGEST_BYTES);
    add_str(&state, dm_unit_str(unit, settings->name));
    add_u64(&state, settings->min_version);
    add_u64(&state, settings->allows_http2);
    dm_digest_final(&state, ret);
}

/* The key is the chain's: what is sealed anew with every document need not be looked at. */
static void digest_identity(const struct dm_unit *unit, const struct dm_ucertificate *certificate, const uint8_t *scope,
                            uint8_t ret[DM_DIGEST_BYTES])
{
    struct dm_digest_state state;

    dm_digest_init(&state, NULL);
    dm_digest_update(&state, scope, DM_TLS_SCOPE_BYTES);
    add_str(&state, dm_unit_str(unit, certificate->chain));
    add_str(&state, dm_unit_str(unit, certificate->ocsp));
    dm_digest_final(&state, ret);
}

/* --- keys --------------------------------------------------------------------------------------------------------- */

int dm_live_certificate_key(const struct dm_unit *unit, const struct dm_ucertificate *certificate,
                            const struct dm_vault *vault, char **ret, size_t *ret_len, struct dm_err *err)
{
    uint64_t tenant_id = dm_unit_header(unit)->tenant_id, key_id = DM_UNIT_ROOT(unit, dm_udomains)->key_id;
    struct dm_str name = dm_unit_str(unit, certificate->name);
    int rc = dm_vault_certificate_key(vault, tenant_id, key_id, name, dm_unit_str(unit, certificate->key_sealed), ret,
                                      ret_len);

    if (rc == DM_EAGAIN)
        return dm_fail(err, rc, "", "the data key %llu that certificate %.*s is sealed with is not here yet",
                       (unsigned long long)key_id, DM_STR_ARG(name));
    return rc < 0 ? dm_fail(err, rc, "", "the key of certificate %.*s does not open", DM_STR_ARG(name)) : 0;
}

/* --- profiles ----------------------------------------------------------------------------------------------------- */

static struct dm_tls_profile *find_profile(const struct dm_live_domains *former, const uint8_t *identity)
{
    for (uint32_t i = 0; former && i < former->n; i++)
        if (former->items[i].profile && memcmp(former->items[i].identity, identity, DM_DIGEST_BYTES) == 0)
            return dm_tls_profile_ref(former->items[i].profile);
    return NULL;
}

static int make_profile(const struct dm_unit *unit, const struct dm_udomain *settings,
                        const struct dm_ucertificate *certificate, const uint8_t *scope, const struct dm_vault *vault,
                        struct dm_tls_profile **ret, struct dm_err *err)
{
    struct dm_tls_profile_settings tls = {
        .chain_pem = dm_unit_str(unit, certificate->chain),
        .ocsp_der = dm_unit_str(unit, certificate->ocsp),
        .client_ca_pem = dm_unit_str(unit, settings->client_ca),
        .min_version = (enum dm_tls_version)settings->min_version,
        .client_auth = (enum dm_tls_client_auth)settings->client_certificate,
        .allows_http2 = settings->allows_http2,
    };
    char *key;
    size_t len;
    int rc;

    if ((rc = dm_live_certificate_key(unit, certificate, vault, &key, &len, err)) < 0)
        return rc;
    memcpy(tls.scope, scope, sizeof(tls.scope));
    tls.key_pem = dm_str_n(key, len);
    rc = dm_tls_profile_new(&tls, ret, err);
    dm_secret_free(key);
    return rc;
}

static const struct dm_ucertificate *certificate_of(const struct dm_unit *unit, const struct dm_udomain *settings)
{
    const struct dm_ucertificate *certificates = dm_unit_at(unit, DM_UNIT_ROOT(unit, dm_udomains)->certificates);

    return &certificates[settings->certificate];
}

struct dm_tls_profile *dm_live_domains_profile(struct dm_live_domains *domains, const struct dm_live_domain *domain,
                                               const struct dm_vault *vault)
{
    struct dm_live_domain *mine = &domains->items[domain - domains->items];
    const struct dm_unit *unit = domains->unit;
    struct dm_err err = {0};

    if (DM_LIKELY(mine->profile != NULL) || mine->is_unusable)
        return mine->profile;
    if (make_profile(unit, mine->settings, certificate_of(unit, mine->settings), mine->scope, vault, &mine->profile,
                     &err) < 0) {
        mine->is_unusable = true;
        dm_log(DM_LOG_ERROR, "domain_unusable", "%.*s of tenant %s has no TLS: %s",
               DM_STR_ARG(dm_unit_str(unit, mine->settings->name)), dm_unit_header(unit)->tenant, err.message);
    }
    return mine->profile;
}

/* M1 */
static int check_key(const struct dm_unit *unit, const struct dm_ucertificate *certificate,
                     const struct dm_vault *vault, struct dm_err *err)
{
    size_t len;
    char *key;
    int rc = dm_live_certificate_key(unit, certificate, vault, &key, &len, err);

    if (rc == 0)
        dm_secret_free(key);
    return rc;
}

static int init_domain(const struct dm_unit *unit, const struct dm_udomain *settings, const struct dm_vault *vault,
                       const struct dm_live_domains *former, struct dm_live_domain *ret, struct dm_err *err)
{
    ret->settings = settings;
    digest_client_policy(unit, settings, ret->client_policy);
    if (!dm_live_domain_has_tls(ret))
        return 0;
    digest_scope(unit, settings, ret->client_policy, ret->scope);
    digest_identity(unit, certificate_of(unit, settings), ret->scope, ret->identity);
    if ((ret->profile = find_profile(former, ret->identity)))
        return 0;
    return check_key(unit, certificate_of(unit, settings), vault, err);
}

/* --- domains ------------------------------------------------------------------------------------------------------ */

int dm_live_domains_new(struct dm_unit *unit, const struct dm_vault *vault, const struct dm_live_domains *former,
                        struct dm_live_domains **ret, struct dm_err *err)
{
    const struct dm_udomains *root = DM_UNIT_ROOT(unit, dm_udomains);
    const struct dm_udomain *settings = dm_unit_at(unit, root->domains);
    struct dm_live_domains *domains = dm_calloc(1, sizeof(*domains) + root->n_domains * sizeof(domains->items[0]));
    int rc = 0;

    for (domains->n = 0; rc == 0 && domains->n < root->n_domains; domains->n++)
        if ((rc = init_domain(unit, &settings[domains->n], vault, former, &domains->items[domains->n], err)) < 0)
            dm_err_prefix(err, "/domains/%u", domains->n);
    if (rc < 0) {
        dm_live_domains_free(domains);
        return rc;
    }
    domains->unit = unit;
    *ret = domains;
    return 0;
}

void dm_live_domains_free(struct dm_live_domains *domains)
{
    if (!domains)
        return;
    for (uint32_t i = 0; i < domains->n; i++)
        dm_tls_profile_unref(domains->items[i].profile);
    dm_unit_unref(domains->unit);
    dm_free(domains);
}

/* Names of wildcards begin with the dot. */
static bool holds(const struct dm_unit *unit, const struct dm_udomain *settings, struct dm_str host)
{
    struct dm_str name = dm_unit_str(unit, settings->name);

    if (!settings->is_wildcard)
        return dm_str_eq(name, host);
    return host.len >= name.len && dm_str_ends(host, name);
}

const struct dm_live_domain *dm_live_domains_find(const struct dm_live_domains *domains, struct dm_str host)
{
    const struct dm_live_domain *best = NULL;

    for (uint32_t i = 0; domains && i < domains->n; i++) {
        const struct dm_live_domain *domain = &domains->items[i];
        if (!holds(domains->unit, domain->settings, host))
            continue;
        if (!best || (best->settings->is_wildcard &&
                      (!domain->settings->is_wildcard || domain->settings->name.len > best->settings->name.len)))
            best = domain;
    }
    return best;
}
