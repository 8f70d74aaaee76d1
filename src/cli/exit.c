#include "cli/exit.h"

static const char *const texts[DM_EXIT_COUNT] = {
    [DM_EXIT_OK] = "Done. For `diff`: there is no difference.",
    [DM_EXIT_DIFFERENT] = "`diff` found differences, or `status` found a gateway that is behind.",
    [DM_EXIT_USAGE] = "The command line, or a file that it names, can't be understood. Nothing was sent.",
    [DM_EXIT_REFUSED] =
        "The controller refused the request: not valid, not granted, not there, or in conflict. Nothing changed.",
    [DM_EXIT_NOT_AUTHORISED] = "There is no token, it is not valid, or it may not do this.",
    [DM_EXIT_UNREACHABLE] = "The controller could not be reached, or did not answer in time.",
    [DM_EXIT_NOT_LIVE] =
        "The change is stored, but was not live on every gateway in time. It will be when they catch up.",
    [DM_EXIT_FAILED] = "Something failed on this machine or in the controller; the message says what.",
};

const char *dm_exit_text(enum dm_exit code)
{
    return texts[code];
}
