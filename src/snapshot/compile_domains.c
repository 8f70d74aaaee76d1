#include "snapshot/compile_int.h"
#include "snapshot/domains.h"

#include "base/encode.h"
#include "base/mem.h"

static int add_decoded(struct dm_builder *b, struct dm_str base64, struct dm_ustr *ret, const char *pointer,
                       struct dm_err *err)
{
    uint8_t *bytes DM_CLEANUP(dm_freep) = dm_alloc(base64.len + 1);
    ssize_t n = dm_unbase64(base64, bytes, base64.len);

    if (n < 0)
        return dm_fail(err, DM_EINVAL, pointer, "must be base64");
    *ret = dm_builder_str(b, dm_str_n((const char *)bytes, (size_t)n));
    return 0;
}

static int add_certificate(struct dm_builder *b, const struct dm_certificate *from, struct dm_ucertificate *ret,
                           struct dm_err *err)
{
    ret->name = dm_builder_str(b, from->name);
    ret->chain = dm_builder_str(b, from->chain);
    ret->key_sealed = dm_builder_str(b, from->key_sealed);
    return add_decoded(b, from->ocsp_response, &ret->ocsp, "/ocsp_response", err);
}

static int add_certificates(struct dm_builder *b, const struct dm_domains_body *body, dm_off *ret, struct dm_err *err)
{
    struct dm_ucertificate *out DM_CLEANUP(dm_freep) = dm_calloc(body->n_certificates, sizeof(*out));
    int rc;

    for (size_t i = 0; i < body->n_certificates; i++)
        if ((rc = add_certificate(b, &body->certificates[i], &out[i], err)) < 0)
            return dm_err_prefix(err, "/certificates/%zu", i);
    *ret = DM_BUILDER_ADD(b, out, body->n_certificates, struct dm_ucertificate);
    return 0;
}

/* RFC 6797 section 6.1 */
static struct dm_ustr add_hsts(struct dm_builder *b, const struct dm_domain *domain)
{
    char text[80];
    struct dm_buf buf;

    if (domain->hsts_max_age_s == 0)
        return dm_builder_str(b, DM_STR_NULL);
    dm_buf_init_fixed(&buf, text, sizeof(text));
    dm_buf_printf(&buf, "max-age=%lld%s", (long long)domain->hsts_max_age_s,
                  domain->hsts_include_subdomains ? "; includeSubDomains" : "");
    return dm_builder_str(b, dm_buf_str(&buf));
}

/* The model made sure that one of this name is there. */
static uint32_t certificate_index(const struct dm_domains_body *body, struct dm_str name)
{
    for (size_t i = 0; i < body->n_certificates; i++)
        if (dm_str_eq(body->certificates[i].name, name))
            return (uint32_t)i;
    return DM_UDOMAIN_NO_CERTIFICATE;
}

static dm_off add_domains(struct dm_builder *b, const struct dm_domains_body *body)
{
    struct dm_udomain *out DM_CLEANUP(dm_freep) = dm_calloc(body->n_domains, sizeof(*out));

    for (size_t i = 0; i < body->n_domains; i++) {
        const struct dm_domain *domain = &body->domains[i];
        out[i].is_wildcard = dm_domain_is_wildcard(domain->name);
        out[i].name = dm_builder_str(b, out[i].is_wildcard ? dm_str_skip(domain->name, 1) : domain->name);
        out[i].client_ca = dm_builder_str(b, domain->client_ca);
        out[i].hsts = add_hsts(b, domain);
        out[i].certificate = certificate_index(body, domain->certificate);
        out[i].min_version = (uint8_t)domain->tls_min_version;
        out[i].client_certificate = (uint8_t)domain->client_certificate;
        out[i].allows_http2 = domain->http2;
        out[i].redirects_to_https = domain->redirect_to_https;
    }
    return DM_BUILDER_ADD(b, out, body->n_domains, struct dm_udomain);
}

int dm_compile_domains(struct dm_builder *b, const struct dm_domains_body *body, dm_off *ret, struct dm_err *err)
{
    struct dm_udomains root = {.key_id = (uint64_t)body->key_id,
                               .n_domains = (uint32_t)body->n_domains,
                               .n_certificates = (uint32_t)body->n_certificates};
    int rc;

    if ((rc = add_certificates(b, body, &root.certificates, err)) < 0)
        return rc;
    root.domains = add_domains(b, body);
    *ret = DM_BUILDER_ADD(b, &root, 1, struct dm_udomains);
    return 0;
}
