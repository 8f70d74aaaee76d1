/* What -f names: documents from files, directories and standard input, ready to be sent. */
#ifndef DM_CLI_INPUT_H
#define DM_CLI_INPUT_H

#include "base/vec.h"

struct dm_cli;
struct dm_json;
struct dm_places;

/* In the order in which they are applied. */
enum dm_input_kind { DM_INPUT_TENANT, DM_INPUT_GRANTS, DM_INPUT_FILE };

struct dm_input {
    enum dm_input_kind kind;
    char *file; /* as messages name it */
    char *tenant;
    struct dm_json *body; /* what the API takes: of tenant and grants without `daemun`, `kind` and `tenant` */
    struct dm_places *places;
    size_t line; /* where the document begins */
};

/* Zero-initialise; dm_inputs_done also after a failure. */
struct dm_inputs {
    DM_VEC(struct dm_input) items;
};
void dm_inputs_done(struct dm_inputs *inputs);

/* Reads all that --file names, checks what tells documents apart, and sorts them by kind. Returns an enum dm_exit;
 * anything but DM_EXIT_OK has been reported. */
DM_MUST_USE int dm_inputs_read(struct dm_cli *cli, struct dm_inputs *ret);

#endif
