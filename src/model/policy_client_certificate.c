#include "model/policy_int.h"

static const char *const match_names[] = {"fingerprint", "subject", NULL};

static const struct dm_field fields[] = {
    DM_POLICY_TYPE_FIELD,
    {"match", DM_FIELD_FLAGS, 0, DM_AT(struct dm_policy, client_certificate.match), .min = 1,
     .def_int = DM_MATCH_FINGERPRINT | DM_MATCH_SUBJECT, .names = match_names,
     .doc =
         "What of the certificate is looked up among the credentials, in this order; the first that one has counts."},
    {"forward_header", DM_FIELD_STRING, DM_FIELD_UNSET, DM_AT(struct dm_policy, client_certificate.forward_header),
     .max = DM_HEADER_NAME_MAX, .format = &dm_format_header,
     .doc =
         "Header in which the backend gets what counted, as `fingerprint:…` or `subject:…`; what a caller sends under "
         "this name is taken out. Left out: the backend gets nothing."},
};

const struct dm_schema dm_schema_policy_client_certificate = {
    .name = "PolicyClientCertificate",
    .doc = "Tells applications apart by the certificate of the caller's connection, which the domain's `client_ca` "
           "verified. No certificate: `auth_missing`; one that is nobody's credential: `auth_invalid`.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_policy),
};
