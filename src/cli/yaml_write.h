/* Writing a JSON tree as YAML that dm_yaml_read reads back the same. Small lists and objects of scalars stand on one
 * line. */
#ifndef DM_CLI_YAML_WRITE_H
#define DM_CLI_YAML_WRITE_H

#include "base/buf.h"

struct dm_json;

/* One document, appended to buf. */
void dm_yaml_write(const struct dm_json *value, struct dm_buf *buf);

#endif
