/* Exit codes: what a script can rely on. */
#ifndef DM_CLI_EXIT_H
#define DM_CLI_EXIT_H

#include "base/defs.h"

enum dm_exit {
    DM_EXIT_OK,
    DM_EXIT_DIFFERENT,
    DM_EXIT_USAGE,
    DM_EXIT_REFUSED,
    DM_EXIT_NOT_AUTHORISED,
    DM_EXIT_UNREACHABLE,
    DM_EXIT_NOT_LIVE,
    DM_EXIT_FAILED,
    DM_EXIT_COUNT,
};

/* One sentence: "differences were found (daemun diff)". Static storage. */
const char *dm_exit_text(enum dm_exit code);

#endif
