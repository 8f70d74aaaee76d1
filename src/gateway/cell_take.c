#include "gateway/cell_take.h"

#include <unistd.h>

#include "gateway/cell_message.h"
#include "gateway/connection.h"
#include "gateway/worker.h"

static const struct dm_worker_listener *find_listener(const struct dm_worker *worker, struct dm_str address)
{
    char text[DM_ADDR_TEXT_MAX];

    for (size_t i = 0; i < worker->n_listeners; i++)
        if (dm_str_eq(dm_str_n(text, dm_addr_format(&worker->listeners[i].spec->addr, true, text)), address))
            return &worker->listeners[i];
    return NULL;
}

/* There is one, once its units are here. */
static struct dm_live_tenant *own_tenant(const struct dm_worker *worker)
{
    size_t at = 0;
    const struct dm_map_slot *slot = dm_map_next(&worker->tenants, &at);

    return slot ? slot->value : NULL;
}

/* What TLS made sure of is known, though the shared worker has it. */
static void take_relayed(const struct dm_worker_listener *listener, const struct dm_cell_message *message, int fd)
{
    struct dm_live_tenant *tenant = own_tenant(listener->worker);
    struct dm_http_conn *conn;

    if (message->is_tls != listener->spec->is_tls || (message->is_tls && !tenant)) {
        close(fd);
        return;
    }
    conn = dm_http_server_accept_clear(listener->server, fd, &message->peer);
    if (conn && message->is_tls)
        dm_connection_adopt(conn, tenant, message);
}

void dm_cell_take(struct dm_worker *worker, struct dm_str bytes, int fd)
{
    const struct dm_worker_listener *listener = NULL;
    struct dm_cell_message message;

    if (dm_cell_message_read(bytes, &message) == 0)
        listener = find_listener(worker, message.listener);
    if (!listener)
        close(fd);
    else if (message.kind == DM_CELL_DIRECT)
        dm_http_server_accept(listener->server, fd, &message.peer);
    else
        take_relayed(listener, &message, fd);
}
