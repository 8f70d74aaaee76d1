/* The variants of dm_schema_document, one per document_*.c. */
#ifndef DM_MODEL_DOCUMENT_INT_H
#define DM_MODEL_DOCUMENT_INT_H

#include "model/document.h"
#include "model/format.h"

extern const struct dm_schema dm_schema_document_release;
extern const struct dm_schema dm_schema_document_applications;
extern const struct dm_schema dm_schema_document_grants;
extern const struct dm_schema dm_schema_document_domains;

/* The members that all documents have, before `body`. */
#define DM_DOCUMENT_FIELDS                                                                                             \
    {"kind",                                                                                                           \
     DM_FIELD_ENUM,                                                                                                    \
     DM_FIELD_REQUIRED,                                                                                                \
     DM_AT(struct dm_document, kind),                                                                                  \
     .def_int = DM_UNIT_RELEASE,                                                                                       \
     .names = dm_unit_kind_names,                                                                                      \
     .doc = "Which unit."},                                                                                            \
        {"format",                                                                                                     \
         DM_FIELD_INT,                                                                                                 \
         DM_FIELD_REQUIRED,                                                                                            \
         DM_AT(struct dm_document, format),                                                                            \
         .min = DM_DOCUMENT_FORMAT,                                                                                    \
         .max = DM_DOCUMENT_FORMAT,                                                                                    \
         .doc = "Format of the document."},                                                                            \
        {"tenant",                                                                                                     \
         DM_FIELD_STRING,                                                                                              \
         DM_FIELD_REQUIRED,                                                                                            \
         DM_AT(struct dm_document, tenant),                                                                            \
         .max = 63,                                                                                                    \
         .format = &dm_format_tenant,                                                                                  \
         .doc = "Name of the tenant."},                                                                                \
        {"tenant_id",                                                                                                  \
         DM_FIELD_INT,                                                                                                 \
         DM_FIELD_REQUIRED,                                                                                            \
         DM_AT(struct dm_document, tenant_id),                                                                         \
         .min = 1,                                                                                                     \
         .max = INT64_MAX,                                                                                             \
         .doc = "Number of the tenant."},                                                                              \
        {"epoch",           DM_FIELD_INT,                                                                              \
         DM_FIELD_REQUIRED, DM_AT(struct dm_document, epoch),                                                          \
         .max = INT64_MAX,  .doc = "Epoch of the mark."},                                                              \
        {"sequence",                                                                                                   \
         DM_FIELD_INT,                                                                                                 \
         DM_FIELD_REQUIRED,                                                                                            \
         DM_AT(struct dm_document, sequence),                                                                          \
         .min = 1,                                                                                                     \
         .max = INT64_MAX,                                                                                             \
         .doc = "Sequence of the mark."},                                                                              \
    {                                                                                                                  \
        "compat_date", DM_FIELD_STRING, DM_FIELD_REQUIRED, DM_AT(struct dm_document, compat_date),                     \
            .max = 10, .format = &dm_format_date, .doc = "Behaviour level of the tenant."                              \
    }

#endif
