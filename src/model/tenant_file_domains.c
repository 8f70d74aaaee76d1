/* Rules between domains, certificates and backends. */
#include "base/buf.h"
#include "model/tenant_file_int.h"

static const struct dm_certificate *find_certificate(const struct dm_tenant_file *file, struct dm_str name)
{
    for (size_t i = 0; i < file->n_certificates; i++) {
        if (dm_str_eq(file->certificates[i].name, name))
            return &file->certificates[i];
    }
    return NULL;
}

static void fail_certificate(const struct dm_tenant_file *file, const char *sub, struct dm_str name,
                             struct dm_check *check)
{
    struct dm_str names[DM_CERTIFICATES_MAX];
    size_t n = DM_MIN(file->n_certificates, DM_CERTIFICATES_MAX);

    for (size_t i = 0; i < n; i++)
        names[i] = file->certificates[i].name;
    dm_tenant_file_fail_name(check, sub, "certificate", name, names, n);
}

#define SHOWN_NAMES 5

static void fail_cover(const struct dm_certificate *certificate, struct dm_str domain, struct dm_check *check)
{
    char text[512], shown[DM_SHOW_MAX];
    struct dm_buf names;

    dm_buf_init_fixed(&names, text, sizeof(text));
    for (size_t i = 0; i < certificate->n_names && i < SHOWN_NAMES; i++)
        dm_buf_printf(&names, "%s'%.*s'", i > 0 ? ", " : "", (int)DM_MIN(certificate->names[i].len, 64),
                      certificate->names[i].ptr);
    if (certificate->n_names > SHOWN_NAMES)
        dm_buf_add_lit(&names, " and others");
    dm_check_fail(check, "/certificate", "must cover %s, but certificate '%.*s' is for %.*s", dm_show(domain, shown),
                  DM_STR_ARG(certificate->name),
                  DM_STR_ARG(names.len > 0 ? dm_buf_str(&names) : DM_STR("no host name")));
}

/* What can't be without TLS. */
static void check_needs(const struct dm_domain *domain, struct dm_check *check)
{
    if (domain->redirect_to_https)
        dm_check_fail(check, "/redirect_to_https", "must be false while no certificate covers the domain");
    if (domain->client_certificate != DM_CLIENT_CERTIFICATE_NONE)
        dm_check_fail(check, "/client_certificate", "must be 'none' while no certificate covers the domain");
}

static void check_domain(const struct dm_tenant_file *file, const struct dm_domain *domain, struct dm_check *check)
{
    const struct dm_certificate *certificate;

    if (domain->certificate.len == 0) {
        if (dm_domain_certificate(domain, file->certificates, file->n_certificates) == SIZE_MAX)
            check_needs(domain, check);
        return;
    }
    if (!(certificate = find_certificate(file, domain->certificate)))
        fail_certificate(file, "/certificate", domain->certificate, check);
    else if (!dm_certificate_holds(certificate, domain->name))
        fail_cover(certificate, domain->name, check);
}

/* --- authorities -------------------------------------------------------------------------------------------------- */

struct bundles {
    struct dm_str items[DM_MAX(DM_BACKENDS_MAX, DM_DOMAINS_MAX)]; /* that differ */
    size_t n, bytes;
};

static bool is_known(const struct bundles *bundles, struct dm_str bundle)
{
    for (size_t i = 0; i < bundles->n; i++)
        if (dm_str_eq(bundles->items[i], bundle))
            return true;
    return false;
}

/* The one that goes over the bound is at fault. */
static void add_bundle(struct bundles *bundles, struct dm_str bundle, const char *sub, struct dm_check *check)
{
    size_t before = bundles->bytes;

    if (bundle.len == 0 || bundles->n == DM_COUNT(bundles->items) || is_known(bundles, bundle))
        return;
    bundles->items[bundles->n++] = bundle;
    bundles->bytes += bundle.len;
    if (before <= DM_CA_BUNDLES_BYTES && bundles->bytes > DM_CA_BUNDLES_BYTES)
        dm_check_fail(
            check, sub,
            "must leave all of the tenant's bundles of authorities together within %d bytes, those that are equal "
            "counted once; it makes them %zu",
            DM_CA_BUNDLES_BYTES, bundles->bytes);
}

static void check_client_authorities(const struct dm_tenant_file *file, struct dm_check *check)
{
    struct bundles bundles = {.n = 0};
    char sub[64];

    for (size_t i = 0; i < file->n_domains; i++) {
        snprintf(sub, sizeof(sub), "/domains/%zu/client_ca", i);
        add_bundle(&bundles, file->domains[i].client_ca, sub, check);
    }
}

void dm_tenant_file_check_authorities(const struct dm_tenant_file *file, struct dm_check *check)
{
    struct bundles bundles = {.n = 0};
    char sub[64];

    for (size_t i = 0; i < file->n_backends; i++) {
        snprintf(sub, sizeof(sub), "/backends/%zu/tls/ca", i);
        add_bundle(&bundles, file->backends[i].tls ? file->backends[i].tls->ca : DM_STR(""), sub, check);
    }
}

/* ------------------------------------------------------------------------------------------------------------------ */

void dm_tenant_file_check_domains(const struct dm_tenant_file *file, struct dm_check *check)
{
    for (size_t i = 0; i < file->n_domains; i++) {
        size_t mark = dm_check_enter(check, "/domains/%zu", i);

        check_domain(file, &file->domains[i], check);
        dm_check_leave(check, mark);
    }
    check_client_authorities(file, check);
    for (size_t i = 0; i < file->n_backends; i++) {
        const struct dm_backend_tls *tls = file->backends[i].tls;
        size_t mark = dm_check_enter(check, "/backends/%zu/tls", i);

        if (tls && tls->client_certificate.len > 0 && !find_certificate(file, tls->client_certificate))
            fail_certificate(file, "/client_certificate", tls->client_certificate, check);
        dm_check_leave(check, mark);
    }
}
