/* The whole controller: puts store, keys, pool, fleet and API together and runs until a signal. */
#ifndef DM_CONTROL_APP_H
#define DM_CONTROL_APP_H

#include "base/sys.h"

struct dm_app_settings {
    const char *data;              /* directory */
    const char *link;              /* NULL = DATA/run/controller.sock */
    const char *master_token_file; /* NULL = standard output */
    struct dm_addr listen;
    uid_t link_uid; /* (uid_t)-1 = the own one alone */
    unsigned threads;
};

void dm_app_defaults(struct dm_app_settings *ret);
/* Returns 0 after SIGTERM or SIGINT; on failure err has one sentence for the person who started it. */
DM_MUST_USE int dm_app_run(const struct dm_app_settings *settings, struct dm_err *err);

#endif
