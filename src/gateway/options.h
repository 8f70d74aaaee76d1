/* What the command line of daemun-gateway says, checked. One struct for all roles: the keeper starts workers and its loader
 * with the same options and its own --role. Lives as long as the process. */
#ifndef DM_GATEWAY_OPTIONS_H
#define DM_GATEWAY_OPTIONS_H

#include "base/log.h"
#include "base/sys.h"
#include "model/cidr.h"

enum dm_gateway_role { DM_ROLE_KEEPER, DM_ROLE_WORKER, DM_ROLE_LOADER };

#define DM_GATEWAY_LISTEN_MAX 16
#define DM_GATEWAY_TRUSTED_MAX 64
#define DM_GATEWAY_WORKERS_MAX 256
#define DM_GATEWAY_ID_MAX 64
#define DM_GATEWAY_DATA_MAX 256 /* bytes of data_dir, so that every path below it fits DM_GATEWAY_PATH_MAX */
#define DM_GATEWAY_PATH_MAX 512

struct dm_gateway_options {
    enum dm_gateway_role role;
    const char *data_dir;          /* DATA/gateway: documents, units, run, log lie below it; no slash at its end */
    struct dm_addr listen[DM_GATEWAY_LISTEN_MAX];
    size_t n_listen;
    unsigned n_workers;
    unsigned slot;                 /* of a worker: 0 … n_workers - 1 */
    struct dm_cidr trusted_fronts[DM_GATEWAY_TRUSTED_MAX]; /* peers whose Forwarded and X-Forwarded-* count */
    size_t n_trusted_fronts;
    bool access_log;
    bool log_is_text;
    enum dm_log_level log_level;
    struct dm_addr admin;          /* metrics, healthz, status */
    struct dm_addr controller;     /* the link */
    bool has_controller;
    uint32_t drain_ms;             /* how long workers may finish at SIGTERM */
    char id[DM_GATEWAY_ID_MAX + 1]; /* "": kept in data_dir/id */
    const char *const *args;       /* the options as given, NULL-terminated, to start workers and loader with */
    size_t n_args;
};

/* Writes `<data_dir>/<name>` into ret. name has at most 200 bytes. */
void dm_gateway_path(const struct dm_gateway_options *options, const char *name, char ret[DM_GATEWAY_PATH_MAX]);

/* Reads the command line (without argv[0]). 0; 1 when --help or --version was asked for and printed on standard output;
 * DM_EINVAL with a sentence that names the option. */
DM_MUST_USE int dm_gateway_options_read(struct dm_gateway_options *options, int n_args, const char *const *args,
                                        struct dm_err *err);

#endif
