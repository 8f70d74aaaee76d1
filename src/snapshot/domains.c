#include "snapshot/domains.h"

const struct dm_ucertificate *dm_udomains_certificate(const struct dm_unit *unit, struct dm_str name)
{
    const struct dm_udomains *root = DM_UNIT_ROOT(unit, dm_udomains);
    const struct dm_ucertificate *certificates = dm_unit_at(unit, root->certificates);

    for (uint32_t i = 0; i < root->n_certificates; i++)
        if (dm_str_eq(dm_unit_str(unit, certificates[i].name), name))
            return &certificates[i];
    return NULL;
}
