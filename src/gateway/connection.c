#include "gateway/connection.h"

#include "base/mem.h"
#include "gateway/cell_message.h"
#include "gateway/caps.h"
#include "gateway/entrance.h"
#include "gateway/worker.h"
#include "model/domain.h"

/* NULL: it would be above the tenant's cap (N3). */
static struct dm_connection *connection_new(struct dm_http_conn *conn, struct dm_live_tenant *tenant)
{
    const struct dm_worker_listener *listener = dm_http_conn_arg(conn);
    struct dm_connection *connection;

    if (!dm_caps_take_connection(listener, tenant))
        return NULL;
    dm_entrance_leave(listener, conn);
    connection = dm_freelist_take(&listener->worker->connections);
    *connection = (struct dm_connection){.worker = listener->worker, .tenant = dm_live_tenant_ref(tenant)};
    dm_http_conn_set_user(conn, connection);
    dm_http_conn_set_account(conn, &tenant->counters->buffered_bytes);
    dm_http_conn_set_traffic(conn, &tenant->counters->client);
    dm_http_conn_set_flow(conn, &tenant->flow);
    dm_caps_bound_connection(listener, tenant, conn);
    return connection;
}

void dm_connection_end(void *arg, struct dm_http_conn *conn)
{
    struct dm_connection *connection = dm_http_conn_user(conn);

    if (!connection) {
        dm_entrance_end(arg, conn);
        return;
    }
    dm_http_conn_set_flow(conn, NULL);
    dm_caps_give_connection(connection->tenant);
    dm_live_tenant_unref(connection->tenant);
    dm_free(connection->fingerprint);
    dm_free(connection->subject);
    dm_freelist_give(&connection->worker->connections, connection);
}

/* --- TLS ---------------------------------------------------------------------------------------------------------- */

/* What costs most of a handshake comes after this. */
static bool is_shed(const struct dm_worker *worker, struct dm_live_tenant *tenant)
{
    if (DM_LIKELY(!dm_overload_refuses(&tenant->flow.overload, dm_loop_now_ns(worker->loop))))
        return false;
    tenant->counters->shed_handshakes++;
    return true;
}

struct dm_tls_profile *dm_connection_select(void *arg, struct dm_stream *stream, struct dm_str server_name)
{
    struct dm_worker *worker = arg;
    const struct dm_route *route = server_name.len > 0 ? dm_routes_find(&worker->routes, server_name) : NULL;
    struct dm_http_conn *conn = dm_http_conn_of_stream(stream);
    const struct dm_worker_listener *listener = dm_http_conn_arg(conn);
    struct dm_connection *connection;
    struct dm_tls_profile *profile;

    if (DM_UNLIKELY(route && route->tenant->cell)) { /* which did not take it (gate.h) */
        route->tenant->counters->reasons[DM_REASON_CELL_UNAVAILABLE]++;
        return dm_tls_refused;
    }
    if (!route || !route->domain || !dm_live_domain_has_tls(route->domain))
        return NULL;
    if (is_shed(worker, route->tenant))
        return dm_tls_refused;
    if (!dm_caps_take_handshake(worker, route->tenant))
        return dm_tls_too_many;
    if (!(connection = connection_new(conn, route->tenant)) ||
        !(profile = dm_live_domains_profile(route->tenant->domains, route->domain, worker->vault)))
        return dm_tls_refused;
    if (!listener->spec->has_http2)
        dm_tls_forbid_http2(stream);
    memcpy(connection->client_policy, route->domain->client_policy, DM_DIGEST_BYTES);
    return profile;
}

static char *copy(struct dm_str text)
{
    return text.len > 0 ? dm_strdup(text) : NULL;
}

void dm_connection_adopt(struct dm_http_conn *conn, struct dm_live_tenant *tenant,
                         const struct dm_cell_message *message)
{
    struct dm_connection *connection = connection_new(conn, tenant);

    if (!connection) {
        dm_http_conn_turn_away(conn, DM_HTTP_REFUSED_CROWDED);
        return;
    }
    connection->is_relayed = connection->is_certificate_known = true;
    connection->is_tls_1_3 = message->is_tls_1_3;
    connection->is_http2 = message->is_http2;
    memcpy(connection->client_policy, message->client_policy, DM_DIGEST_BYTES);
    connection->has_certificate = message->has_certificate;
    connection->fingerprint = copy(message->fingerprint);
    connection->subject = copy(message->subject);
}

enum dm_http_protocol dm_connection_first_bytes(void *arg, struct dm_http_conn *conn)
{
    const struct dm_worker_listener *listener = arg;
    struct dm_connection *connection = dm_http_conn_user(conn);
    struct dm_tls_info info;

    if (!listener->spec->is_tls)
        return DM_HTTP_PROTOCOL_ANY;
    if (DM_UNLIKELY(connection && connection->is_relayed))
        return connection->is_http2 ? DM_HTTP_PROTOCOL_2 : DM_HTTP_PROTOCOL_1;
    if (!dm_tls_info(dm_http_conn_stream(conn), &info))
        return DM_HTTP_PROTOCOL_1;
    if (info.is_resumed)
        listener->worker->counters->worker.tls_resumed++;
    else
        listener->worker->counters->worker.tls_handshakes++;
    connection->is_tls_1_3 = strcmp(info.version, "TLSv1.3") == 0;
    connection->is_http2 = dm_str_eq(info.alpn, DM_STR("h2"));
    return connection->is_http2 ? DM_HTTP_PROTOCOL_2 : DM_HTTP_PROTOCOL_1;
}

void dm_connection_broken(void *arg, struct dm_http_conn *conn, int error)
{
    const struct dm_worker_listener *listener = arg;

    if (error == DM_ETLS)
        listener->worker->counters->worker.tls_failures[dm_tls_reason(dm_http_conn_stream(conn))]++;
}

/* --- bounds ------------------------------------------------------------------------------------------------------- */

void dm_connection_timeout(void *arg, struct dm_http_conn *conn, enum dm_http_timeout what)
{
    const struct dm_connection *connection = dm_http_conn_user(conn);

    if (connection)
        connection->tenant->counters->timeouts[what]++;
}

void dm_connection_stream_refused(void *arg, struct dm_http_conn *conn)
{
    const struct dm_connection *connection = dm_http_conn_user(conn);

    if (!connection)
        return;
    connection->tenant->counters->reasons[DM_REASON_TOO_MANY_STREAMS]++;
    if (connection->tenant->caps->streams > 0)
        connection->tenant->counters->refused[DM_CAP_STREAMS]++;
}

/* --- whose -------------------------------------------------------------------------------------------------------- */

/* Would the domain have made the connection as it is? */
static bool suits(const struct dm_connection *connection, const struct dm_live_domain *domain)
{
    return memcmp(domain->client_policy, connection->client_policy, DM_DIGEST_BYTES) == 0 &&
           (connection->is_tls_1_3 || domain->settings->min_version != DM_DOMAIN_TLS_1_3) &&
           (!connection->is_http2 || domain->settings->allows_http2);
}

static bool is_policy(const struct dm_connection *connection, const struct dm_route *route)
{
    return route->domain && dm_live_domain_has_tls(route->domain) && suits(connection, route->domain);
}

static bool admits(const struct dm_connection *connection, const struct dm_exchange *ex, const struct dm_route *route)
{
    if (connection->tenant != route->tenant)
        return false;
    return !ex->listener->spec->is_tls || route->tenant->cell /* who decides */ || is_policy(connection, route);
}

/* N4 */
static bool is_unsecured(const struct dm_exchange *ex)
{
    return DM_UNLIKELY(dm_str_ieq(ex->head->scheme, DM_STR("https"))) && ex->is_direct && !ex->listener->spec->is_tls;
}

enum dm_reason dm_connection_enter(const struct dm_exchange *ex, const struct dm_route *route)
{
    struct dm_http_conn *conn = dm_http_request_conn(ex->caller);
    const struct dm_connection *connection = dm_http_conn_user(conn);

    if (is_unsecured(ex))
        return DM_REASON_MISDIRECTED_REQUEST;
    if (DM_LIKELY(connection != NULL))
        return DM_LIKELY(admits(connection, ex, route)) ? DM_REASON_NONE : DM_REASON_MISDIRECTED_REQUEST;
    if (ex->is_direct && !connection_new(conn, route->tenant))
        return DM_REASON_TOO_MANY_CONNECTIONS;
    dm_loop_enter(ex->worker->loop, &route->tenant->flow);
    return DM_REASON_NONE;
}

const struct dm_connection *dm_connection_certificate(const struct dm_exchange *ex)
{
    struct dm_http_conn *conn = dm_http_request_conn(ex->caller);
    struct dm_connection *connection = dm_http_conn_user(conn);
    struct dm_tls_info info;

    if (!connection || !ex->listener->spec->is_tls)
        return NULL;
    if (!connection->is_certificate_known && dm_tls_info(dm_http_conn_stream(conn), &info)) {
        connection->is_certificate_known = true;
        if ((connection->has_certificate = info.has_client_certificate)) {
            connection->fingerprint = dm_strdup(dm_str_of(info.client_fingerprint));
            connection->subject = dm_strdup(dm_str_of(info.client_subject));
        }
    }
    return connection->has_certificate ? connection : NULL;
}
