/* The usual scene of a gateway test: a worker, one backend that answers "hello", and the tenant "orders" (id 1) with the
 * domain orders.test, the product "orders" and an application whose key is "good". */
#ifndef DM_TESTS_STAGE_H
#define DM_TESTS_STAGE_H

#include "rig/rig.h"

#define STAGE_OK "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-From: origin\r\n\r\nhello"
#define STAGE_GET(path, fields) "GET " path " HTTP/1.1\r\nHost: orders.test\r\n" fields "\r\n"
#define STAGE_KEY "X-Api-Key: good\r\n"
#define STAGE_GRANTS                                                                                                   \
    "{\"state\":\"active\",\"weight\":100,\"domains\":[{\"name\":\"orders.test\"}],"                                   \
    "\"endpoints\":[{\"address\":\"127.0.0.0/8\",\"port\":0}]}"

/* Of a backend that fails more often than its breaker would have it. */
#define STAGE_NO_BREAKER ",\"breaker\":{\"mode\":\"closed\"}"

struct stage {
    struct rig rig;
    struct rig_origin origin;
};

/* Parts of the release, as JSON; NULL for the usual. */
struct stage_release {
    const char *endpoints; /* of the backend, without brackets */
    const char *backend;   /* further members: ",\"connect_timeout_ms\":100" */
    const char *policies;  /* further ones: ",{…}" */
    const char *rules;     /* all, without brackets */
    const char *version;   /* further members: ",\"errors\":{…}" */
    const char *metrics;   /* without brackets */
    const char *plan;      /* further members: ",\"limits\":[…]" */
    const char *mounts;    /* without brackets */
};

int stage_setup(void **state);
int stage_teardown(void **state);
void stage_release(struct stage *s, const struct stage_release *release);
/* state, subscriptions: of the application; NULL for the usual. */
void stage_applications(struct stage *s, const char *state, const char *subscriptions);
/* All three units. */
void stage_apply(struct stage *s, const struct stage_release *release);
/* What is counted of the tenant. */
struct dm_tenant_counters *stage_counters(struct stage *s);
/* Sends a request on a new connection and waits for the text. */
struct rig_socket *stage_ask(struct stage *s, const char *request, const char *expected);
/* The same, and closes. */
void stage_try(struct stage *s, const char *request, const char *expected);

#endif
