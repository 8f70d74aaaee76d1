/* What a worker remembers of a client's connection, over all requests on it: whose it is.
 *
 * N1. A connection with TLS belongs to the tenant of its server name, from the handshake on. One in clear text belongs to the first
 *     tenant that it names, unless it comes from a trusted front, which mixes callers on one connection: that one is nobody's.
 * N2. A request for a domain of another tenant, or, with TLS, of one with other rules for client certificates, is misdirected
 *     (RFC 9110 section 15.5.20). So is one for a domain that would not have let the connection in: it asks for a newer version of
 *     TLS, or has no HTTP/2. So is every request, once the domain of the handshake is not served with TLS any more.
 * N3. A connection that would be above the tenant's cap does not become its: the handshake is refused before its cost, the request is
 *     answered and the connection ends behind it. What the tenant's caps say of connections holds from where it becomes its on.
 * N4. A request that names https (absolute form, or :scheme) in clear text is misdirected too, unless a trusted front brings it
 *     (RFC 9110 section 7.4).
 *
 * Lives from its first handshake or request to the end of the connection. Threads: the worker's. */
#ifndef DM_GATEWAY_CONNECTION_H
#define DM_GATEWAY_CONNECTION_H

#include "gateway/domains/domains.h"
#include "gateway/route.h"
#include "http/server.h"

struct dm_cell_message;
struct dm_exchange;
struct dm_worker;

struct dm_connection {
    struct dm_worker *worker;
    struct dm_live_tenant *tenant; /* one reference */
    char *fingerprint, *subject;   /* of the client's certificate; heap, NULL until asked for or when there is none */
    uint8_t client_policy[DM_DIGEST_BYTES]; /* with TLS */
    bool is_tls_1_3, is_http2;              /* with TLS, once the handshake is through */
    bool has_certificate, is_certificate_known;
    bool is_relayed; /* its TLS is a shared worker's, who said what is known of it */
};

/* The acceptor's: the profile for this server name, and whose connection it is (N1). arg: the worker. */
struct dm_tls_profile *dm_connection_select(void *arg, struct dm_stream *stream, struct dm_str server_name);
/* The handler's, of connections; arg: the listener. */
void dm_connection_timeout(void *arg, struct dm_http_conn *conn, enum dm_http_timeout what);
void dm_connection_stream_refused(void *arg, struct dm_http_conn *conn);
enum dm_http_protocol dm_connection_first_bytes(void *arg, struct dm_http_conn *conn);
void dm_connection_broken(void *arg, struct dm_http_conn *conn, int error);
void dm_connection_end(void *arg, struct dm_http_conn *conn);

/* Of a cell: the connection is the tenant's, as TLS elsewhere made sure. Above the tenant's cap it is ended. */
void dm_connection_adopt(struct dm_http_conn *conn, struct dm_live_tenant *tenant,
                         const struct dm_cell_message *message);

/* May this request of the connection go this way? NONE, or MISDIRECTED_REQUEST (N2, N4), TOO_MANY_CONNECTIONS (N3). */
enum dm_reason dm_connection_enter(const struct dm_exchange *ex, const struct dm_route *route);

/* The connection with its client's certificate, verified; NULL when there is none. */
const struct dm_connection *dm_connection_certificate(const struct dm_exchange *ex);

#endif
