/* Bringing documents to the controller: what `apply` does and `diff` only asks. */
#ifndef DM_CLI_APPLY_H
#define DM_CLI_APPLY_H

#include "base/defs.h"

struct dm_cli;
struct dm_input;
struct dm_inputs;
struct dm_json;

struct dm_apply_mode {
    bool is_dry_run; /* asks what would change and changes nothing */
    bool is_waiting; /* until it is live */
    bool may_prune;  /* may delete all of a section that the document does not mention */
};

/* Zero-initialise; dm_applied_done when finished. */
struct dm_applied {
    bool is_new_tenant;          /* it was made (would be) for this document */
    struct dm_json *changes;     /* [{op, pointer, before?, after?}] */
    struct dm_json *credentials; /* [{application, name, key}], shown once; NULL = none */
    struct dm_json *live;        /* {gateways, of, lagging, refused}; NULL when not asked for */
    uint64_t took_ms;
};
void dm_applied_done(struct dm_applied *applied);

/* One document. Returns an enum dm_exit; anything but DM_EXIT_OK has been reported. */
DM_MUST_USE int dm_apply_input(struct dm_cli *cli, const struct dm_input *input, const struct dm_apply_mode *mode,
                               struct dm_applied *ret);
/* Does a document before this one make its tenant? Then a dry run need not say so again. */
bool dm_apply_is_made_before(const struct dm_inputs *inputs, size_t at);

/* Appends "?wait=live&timeout_ms=…" to a NUL-terminated path, when waiting. */
struct dm_buf;
void dm_apply_add_wait(const struct dm_cli *cli, bool is_waiting, struct dm_buf *path);

#endif
