/* HTTP to the controller, on libcurl: one blocking call at a time, no redirects, http and https only. */
#ifndef DM_CLI_CLIENT_H
#define DM_CLI_CLIENT_H

#include "base/buf.h"
#include "base/err.h"

struct dm_client;

struct dm_client_config {
    const char *server;  /* "http://127.0.0.1:9080", without a slash at the end */
    const char *token;   /* NULL = none */
    const char *ca_file; /* NULL = the system's */
    uint32_t timeout_ms;
};

#define DM_REPLY_MAX (64u << 20)

/* Zero-initialise; dm_reply_done when finished, also after a failure. */
struct dm_reply {
    long status;
    struct dm_buf body;
    char etag[128]; /* "" = none */
};
void dm_reply_done(struct dm_reply *reply);

/* Strings are copied. */
struct dm_client *dm_client_new(const struct dm_client_config *config);
/* NULL is fine. */
void dm_client_free(struct dm_client *client);

/* path begins with '/', query included. body: JSON, DM_STR_NULL = none. wait_ms is added to the time it may take.
 * 0 when there is an answer, whatever its status; DM_ETIMEOUT or DM_EIO with a sentence. */
DM_MUST_USE int dm_client_call(struct dm_client *client, const char *method, const char *path, struct dm_str body,
                               uint32_t wait_ms, struct dm_reply *reply, struct dm_err *err);

/* s with all but unreserved characters as %XX (RFC 3986), appended to buf. */
void dm_client_escape(struct dm_buf *buf, struct dm_str s);

/* "http://host[:port]" or "https://…" without path, user or query; DM_EINVAL otherwise. A slash at the end is left
 * out. */
DM_MUST_USE int dm_client_server(struct dm_str url, struct dm_buf *ret, struct dm_err *err);
/* Does this server stand on this machine, so that clear text is seen by nobody? */
bool dm_client_is_local(const char *server);

#endif
