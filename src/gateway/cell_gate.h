/* Cells as a shared worker sees them: whose requests are not its to serve, and where they go.
 *
 * The keeper says which tenants have a cell, and gives the giving end of the cell's queue (io/handover.h). From there on the worker
 * keeps nothing of the tenant but its grants, for its host names:
 *
 *   a client's own connection        its first bytes name the tenant (SNI, Host): the descriptor goes to the cell, nothing was read
 *   one that names it too late,      each exchange is relayed (relay.h): a trusted front's, HTTP/2 in clear text with prior
 *   or mixes tenants                 knowledge, one that was here before the tenant had a cell, a head that comes by the byte
 *   the queue is full, the cell is   CELL_UNAVAILABLE; with TLS, of which the worker has no certificate, the handshake is refused
 *   held back
 *
 * C1. While no tenant has a cell, nothing of this costs a connection or request anything.
 * C2. A cell can refuse connections and nothing else: nothing that it says is read here, but responses, as a backend's are.
 * C3. What a tenant with a cell has in hand here is bounded: by its queue, and relays as its exchanges are (caps.h, K2).
 *
 * Threads: the worker's. */
#ifndef DM_GATEWAY_CELL_GATE_H
#define DM_GATEWAY_CELL_GATE_H

#include "base/str.h"
#include "http/server.h"

struct dm_cell_message;
struct dm_worker;

struct dm_cell_gate {
    struct dm_cell_gate *next;
    int giving_fd; /* -1: the cell is held back, nothing is given */
    bool is_stale; /* no keeper that is connected has spoken of it */
    char tenant[]; /* its name */
};

/* The tenant has a cell; takes over the descriptor, in place of a former one. The worker forgets the tenant's units but the grants. */
void dm_cell_gate_open(struct dm_worker *worker, struct dm_str tenant, int giving_fd);
/* It has none any more: its units, which the worker has got, hold again. */
void dm_cell_gate_close(struct dm_worker *worker, struct dm_str tenant);
/* NULL: it has none. */
struct dm_cell_gate *dm_cell_gate_find(const struct dm_worker *worker, struct dm_str tenant);
/* A keeper begins to say all that it knows; when it has, gates that it did not speak of are closed. */
void dm_cell_gates_expect(struct dm_worker *worker);
void dm_cell_gates_settle(struct dm_worker *worker);
void dm_cell_gates_done(struct dm_worker *worker);

/* Gives the descriptor, which stays the caller's. False: the cell does not take it now. */
bool dm_cell_gate_give(struct dm_cell_gate *gate, const struct dm_cell_message *message, int fd);

#endif
