/* The whole declarative file of a tenant, and the rules that hold between its resources. */
#ifndef DM_MODEL_TENANT_FILE_H
#define DM_MODEL_TENANT_FILE_H

#include "model/application.h"
#include "model/backend.h"
#include "model/certificate.h"
#include "model/domain.h"
#include "model/field.h"
#include "model/grants.h"
#include "model/product.h"

struct dm_tenant_file {
    int64_t daemun; /* format of the file: 1 */
    struct dm_str tenant;
    struct dm_grants *grants; /* NULL = left out: not changed */
    struct dm_backend *backends;
    size_t n_backends;
    struct dm_product *products;
    size_t n_products;
    struct dm_domain *domains;
    size_t n_domains;
    struct dm_certificate *certificates;
    size_t n_certificates;
    struct dm_application *applications;
    size_t n_applications;
};

#define DM_BACKENDS_MAX 1024
#define DM_PRODUCTS_MAX 1024
#define DM_APPLICATIONS_MAX 20000

/* Reading it checks dm_tenant_file_check too; and dm_grants_check when it has grants. */
extern const struct dm_schema dm_schema_tenant_file;

/* Names unique; mounts, subscriptions and plans resolve; no two versions on one domain and path; no key twice. For a
 * change of one resource: put it among the others and ask again. */
void dm_tenant_file_check(const struct dm_tenant_file *file, struct dm_check *check);

/* Certificates that domains and backends name are there and cover the domain; a domain that asks for TLS has one. For who
 * has filled in what certificates say of themselves: reading the file does not ask. */
void dm_tenant_file_check_domains(const struct dm_tenant_file *file, struct dm_check *check);

/* Domains, those of products and literal addresses of endpoints lie within the grants; DM_EPERM otherwise, at
 * /domains/i/name, /products/i/domains/j and /backends/i/endpoints/j. Names are checked by port here and by address at connect time. */
void dm_grants_check(const struct dm_grants *grants, const struct dm_tenant_file *file, struct dm_check *check);

#endif
