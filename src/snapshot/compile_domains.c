#include "snapshot/compile_int.h"
#include "snapshot/domains.h"

dm_off dm_compile_domains(struct dm_builder *b, const struct dm_domains_body *body)
{
    struct dm_udomains root = {.key_id = (uint64_t)body->key_id,
                               .n_domains = (uint32_t)body->n_domains,
                               .n_certificates = (uint32_t)body->n_certificates};

    return DM_BUILDER_ADD(b, &root, 1, struct dm_udomains);
}
