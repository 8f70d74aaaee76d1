/* What a document would change, found on this side by the tables of the model. */
#ifndef DM_CLI_COMPARE_H
#define DM_CLI_COMPARE_H

#include "base/defs.h"

struct dm_cli;
struct dm_input;
struct dm_json;
struct dm_schema;

/* *ret: [{op, pointer, before?, after?}] as the API answers it. before: what the API gave, NULL = nothing is there.
 * Returns an enum dm_exit; a document that is not valid has been reported. */
DM_MUST_USE int dm_compare(struct dm_cli *cli, const struct dm_input *input, const struct dm_schema *schema,
                           const struct dm_json *before, struct dm_json **ret);

#endif
