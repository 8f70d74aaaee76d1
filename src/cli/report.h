/* Changes in plain words. */
#ifndef DM_CLI_REPORT_H
#define DM_CLI_REPORT_H

#include "base/defs.h"

struct dm_applied;
struct dm_cli;
struct dm_input;
struct dm_json;

enum dm_report_style { DM_REPORT_APPLIED, DM_REPORT_DRY_RUN, DM_REPORT_DIFF };

/* A line for each resource of the document and for each that goes, with what changes inside below it. A diff leaves
 * out what is unchanged. */
void dm_report_changes(const struct dm_cli *cli, const struct dm_input *input, const struct dm_applied *applied,
                       enum dm_report_style style);
/* Keys that were made, shown even with --quiet. */
void dm_report_keys(const struct dm_cli *cli, const struct dm_applied *applied);
/* "live on 1 of 1 gateways after 4 ms", or why not. Returns DM_EXIT_OK or DM_EXIT_NOT_LIVE. live may be NULL. */
int dm_report_live(const struct dm_cli *cli, const struct dm_json *live, uint64_t took_ms);
/* The same facts for a script. */
struct dm_json *dm_report_json(const struct dm_input *input, const struct dm_applied *applied);

#endif
