/* What `daemun login` keeps: $XDG_CONFIG_HOME/daemun/config.json (or ~/.config/daemun/config.json), mode 0600. */
#ifndef DM_CLI_CONFIG_H
#define DM_CLI_CONFIG_H

#include "base/err.h"

struct dm_cli_world;

/* Heap strings, NULL = not there. Zero-initialise; dm_config_done when finished. */
struct dm_config {
    char *server, *token, *tenant;
};
void dm_config_done(struct dm_config *config);

/* Its path into ret. DM_ENOENT when neither HOME nor XDG_CONFIG_HOME is set. */
#define DM_CONFIG_PATH_MAX 1024
DM_MUST_USE int dm_config_path(const struct dm_cli_world *world, char ret[DM_CONFIG_PATH_MAX], struct dm_err *err);

/* No file is an empty config. DM_EPERM when others than the owner may read it. */
DM_MUST_USE int dm_config_read(const struct dm_cli_world *world, struct dm_config *ret, struct dm_err *err);
DM_MUST_USE int dm_config_write(const struct dm_cli_world *world, const struct dm_config *config, struct dm_err *err);

#endif
