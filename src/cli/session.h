/* Talking to the controller with the right server, token and tenant.
 *
 * Each is taken from its option, else from the environment (DAEMUN_SERVER, DAEMUN_TOKEN, DAEMUN_TENANT), else from what
 * `daemun login` kept. A kept token is sent to the server that it was kept for and to no other.
 *
 * Calls return an enum dm_exit; anything but DM_EXIT_OK has been reported. */
#ifndef DM_CLI_SESSION_H
#define DM_CLI_SESSION_H

#include "cli/client.h"
#include "cli/cli.h"

#define DM_SERVER_DEFAULT "http://127.0.0.1:9080"

/* Finds server and token. Every other call here does it by itself. */
DM_MUST_USE int dm_session_open(struct dm_cli *cli);
/* The same with this token instead of any other; copied. */
DM_MUST_USE int dm_session_use_token(struct dm_cli *cli, const char *token);
void dm_session_close(struct dm_cli *cli);

/* The tenant to work on; for a tenant's own token its tenant. *ret lives as long as cli. */
DM_MUST_USE int dm_session_tenant(struct dm_cli *cli, const char **ret);
/* As above, but the master without a tenant gets NULL. */
DM_MUST_USE int dm_session_tenant_or_platform(struct dm_cli *cli, const char **ret);
/* Is the token the master's? */
DM_MUST_USE int dm_session_is_master(struct dm_cli *cli, bool *ret);

/* DM_EXIT_OK when there is an answer, whatever its status. */
DM_MUST_USE int dm_session_call(struct dm_cli *cli, const char *method, const char *path, const struct dm_json *body,
                                uint32_t wait_ms, struct dm_reply *reply);
/* The same, and a status other than 2xx is reported. *ret is the caller's; NULL when the answer has no body. ret may be
 * NULL. */
DM_MUST_USE int dm_session_do(struct dm_cli *cli, const char *method, const char *path, const struct dm_json *body,
                              uint32_t wait_ms, struct dm_json **ret);
/* All pages of a list as one {"items": […]}. */
DM_MUST_USE int dm_session_list(struct dm_cli *cli, const char *path, struct dm_json **ret);

/* The JSON of an answer that must have one. */
DM_MUST_USE int dm_session_json(struct dm_cli *cli, const struct dm_reply *reply, struct dm_json **ret);

/* "/api/v1/tenants/<tenant>" and more, NUL-terminated: pieces are escaped, each with a '/' before it; they end with NULL.
 * tenant NULL: below /api/v1. The caller ends it with dm_buf_done. */
struct dm_buf dm_session_path_of(const char *tenant, const char *const *pieces);
#define dm_session_path(tenant, ...) dm_session_path_of((tenant), (const char *const[]){__VA_ARGS__})

/* A whole file, or standard input for "-", with the white space at its ends cut; NUL-terminated in ret, which is the
 * caller's to wipe and end. A terminal is asked for one line, which it does not show. For tokens and keys. */
DM_MUST_USE int dm_session_read_secret(struct dm_cli *cli, const char *path, struct dm_buf *ret);

#endif
