/* The API over HTTP: takes requests on the event loop, runs each as a job on the pool (dm_call_run), answers on the loop,
 * and holds answers with ?wait=live until the change is live. */
#ifndef DM_CONTROL_API_SERVER_H
#define DM_CONTROL_API_SERVER_H

#include "control/api/call.h"
#include "io/loop.h"

struct dm_api_server;
struct dm_pool;

/* api and pool are borrowed. */
struct dm_api_server *dm_api_server_new(struct dm_loop *loop, struct dm_pool *pool, const struct dm_api *api);
/* DM_EEXIST when the address is in use, DM_EPERM, DM_EIO. */
DM_MUST_USE int dm_api_server_listen(struct dm_api_server *server, const struct dm_addr *addr, struct dm_err *err);
/* Where it listens, with the real port. */
const struct dm_addr *dm_api_server_addr(const struct dm_api_server *server);
/* Takes over a connected descriptor. */
void dm_api_server_accept(struct dm_api_server *server, int fd, const struct dm_addr *peer);
/* Accepts no more; connections end after the request in hand. */
void dm_api_server_drain(struct dm_api_server *server);
/* Requests in hand and connections open. */
size_t dm_api_server_busy(const struct dm_api_server *server);
/* After the pool has ended. */
void dm_api_server_free(struct dm_api_server *server);

#endif
