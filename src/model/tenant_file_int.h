/* What the files of the tenant file's rules share. */
#ifndef DM_MODEL_TENANT_FILE_INT_H
#define DM_MODEL_TENANT_FILE_INT_H

#include "model/tenant_file.h"

/* A name that does not resolve: "no <what> 'x'", with the nearest of the names that would. */
void dm_tenant_file_fail_name(struct dm_check *check, const char *sub, const char *what, struct dm_str name,
                              const struct dm_str *names, size_t n);

/* What all backends trust together stays within DM_CA_BUNDLES_BYTES. */
void dm_tenant_file_check_authorities(const struct dm_tenant_file *file, struct dm_check *check);

#endif
