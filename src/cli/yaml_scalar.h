/* Plain scalars of YAML as the core schema of YAML 1.2 reads them (10.3.2): "no", "on", "12:30" and "1_000" are
 * strings. */
#ifndef DM_CLI_YAML_SCALAR_H
#define DM_CLI_YAML_SCALAR_H

#include "base/err.h"

struct dm_json;

/* The value of a plain (unquoted) scalar. DM_EINVAL for what JSON can't hold: .inf, .nan, an integer outside 64 bits.
 * */
DM_MUST_USE int dm_yaml_scalar_read(struct dm_str text, struct dm_json **ret, struct dm_err *err);

/* Must this string be quoted, so that it is read as a string: here, and by readers of YAML 1.1 too? */
bool dm_yaml_scalar_needs_quotes(struct dm_str text);

#endif
