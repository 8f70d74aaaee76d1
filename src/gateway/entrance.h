/* How connections come in: into the lobby of their listener (lobby.h), and out of it when they are a tenant's or end.
 *
 * I1. A connection that a trusted front makes is not in the lobby: it stays nobody's. One that begins with a PROXY header is in it from
 *     there on, with the source that is announced; before, and when none is, it is its sender's, who is trusted.
 * I2. Who is turned away costs an accept and a close: nothing is read, and no handshake begins.
 * I3. Bytes are charged to the tenant from the message on that names it: a whole connection in clear text, and of TLS what comes behind the
 *     ClientHello. All others are the lobby's, but for what trusted fronts send and get, which is charged to the tenants of its requests.
 *
 * Threads: the worker's. */
#ifndef DM_GATEWAY_ENTRANCE_H
#define DM_GATEWAY_ENTRANCE_H

#include "gateway/worker.h"

/* The listener's lobby, if its limits want one. */
void dm_entrance_init(struct dm_worker_listener *listener, struct dm_sys *sys);
/* Its connections are gone. */
void dm_entrance_done(struct dm_worker_listener *listener);

/* Takes over a descriptor that was accepted. */
void dm_entrance_accept(const struct dm_worker_listener *listener, int fd, const struct dm_addr *peer);
/* The handler's; arg: the listener. */
int dm_entrance_on_source(void *arg, struct dm_http_conn *conn);
/* The connection is a tenant's from here on. Nothing when it is not in the lobby. */
void dm_entrance_leave(const struct dm_worker_listener *listener, struct dm_http_conn *conn);
/* It is gone, and was never a tenant's. */
void dm_entrance_end(const struct dm_worker_listener *listener, struct dm_http_conn *conn);

#endif
