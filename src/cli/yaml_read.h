/* Reading declarative files: YAML (on libyaml) or JSON.
 *
 * YAML is read as a safe subset, with the core schema of 1.2: documents of mappings, sequences and scalars. Anchors,
 * aliases, tags, merge keys, repeated keys and keys that are not text are refused, each with its line. Caps: bytes,
 * depth, documents. */
#ifndef DM_CLI_YAML_READ_H
#define DM_CLI_YAML_READ_H

#include "base/err.h"
#include "base/vec.h"

struct dm_json;
struct dm_places;

#define DM_YAML_BYTES_MAX (8u << 20)
#define DM_YAML_DEPTH_MAX 32
#define DM_YAML_DOCUMENTS_MAX 1024

struct dm_yaml_document {
    struct dm_json *json;     /* never null */
    struct dm_places *places; /* NULL when they could not be found (JSON that is no YAML) */
};

/* Zero-initialise; dm_yaml_done also after a failure. */
struct dm_yaml {
    DM_VEC(struct dm_yaml_document) documents;
};
void dm_yaml_done(struct dm_yaml *yaml);

/* All documents of the text that are not empty. name stands before messages: "team.yaml:12:3: …". DM_EINVAL;
 * DM_EBUDGET above a cap. */
DM_MUST_USE int dm_yaml_read(const char *name, struct dm_str text, struct dm_yaml *ret, struct dm_err *err);
/* One JSON document, by the rules of JSON alone. */
DM_MUST_USE int dm_yaml_read_json(const char *name, struct dm_str text, struct dm_yaml *ret, struct dm_err *err);

#endif
