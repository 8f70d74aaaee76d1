/* A validated document -> the bytes of a unit file. What the model's rules let pass compiles; what can still fail is size. */
#ifndef DM_SNAPSHOT_COMPILE_H
#define DM_SNAPSHOT_COMPILE_H

#include "model/document.h"
#include "snapshot/builder.h"

/* document_hash: BLAKE2b-256 of the document's body. On success b->buf holds the file; b was initialised by the caller, who
 * also ends it. DM_EBUDGET: too large. DM_EINVAL: two names of the tenant share an id (rename one), err names them. */
DM_MUST_USE int dm_compile(const struct dm_document *document, const uint8_t document_hash[DM_DIGEST_BYTES],
                           struct dm_builder *b, struct dm_err *err);

#endif
