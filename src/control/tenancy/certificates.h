/* Certificates as they are written: what the parts of one must be to each other, where its key goes, and whom others trust. */
#ifndef DM_CONTROL_TENANCY_CERTIFICATES_H
#define DM_CONTROL_TENANCY_CERTIFICATES_H

#include "control/tenancy/write.h"
#include "model/certificate.h"

/* Chain, key and OCSP response belong together; a key that is left out is the one there is. Fills the read-only members.
 * before: what is there, or NULL. at: pointer of the certificate in what was sent, "" or "/certificates/3". */
DM_MUST_USE int dm_certificates_resolve(struct dm_write *write, const struct dm_certificate *before,
                                        struct dm_certificate *certificate, const char *at);
/* The authorities that a domain or backend trusts, if it names any, are certificates that can be used so. before, at: as above;
 * before may also be another one of the kind that was looked at. */
DM_MUST_USE int dm_certificates_check_authorities(struct dm_write *write, enum dm_kind kind, const void *before,
                                                  const void *object, const char *at);
/* Seals the key that was given, and wipes it; nothing when none was. */
DM_MUST_USE int dm_certificates_store_key(struct dm_write *write, struct dm_certificate *certificate);
DM_MUST_USE int dm_certificates_drop_key(struct dm_write *write, struct dm_str certificate);

#endif
