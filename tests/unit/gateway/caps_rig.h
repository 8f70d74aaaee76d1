/* What the tests of a tenant's caps share: grants with caps, exchanges that stay in hand, other workers' pages, clients of HTTP/2. */
#ifndef DM_TESTS_UNIT_GATEWAY_CAPS_RIG_H
#define DM_TESTS_UNIT_GATEWAY_CAPS_RIG_H

#include "rig/stage.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <nghttp2/nghttp2.h>

#include "base/mem.h"
#include "gateway/caps.h"

#define GET STAGE_GET("/", STAGE_KEY)
#define OK "hello"
#define OVER_CAP "\"tenant_over_cap\""
#define CROWDED "\"too_many_connections\""

/* How often the cap has refused. */
uint64_t refused(struct stage *s, enum dm_cap cap);
/* caps: members of the object. */
void apply_grants(struct stage *s, const char *caps);
void apply_caps(struct stage *s, const char *caps);
/* On a connection that is there. */
void ask(struct stage *s, struct rig_socket *socket, const char *request, const char *expected);
/* Asks the backend, which answers nothing. */
struct rig_socket *begin(struct stage *s);
void leave(struct stage *s, struct rig_socket *socket);
/* The backend answers after all, what was asked on its n-th connection. */
void finish(struct stage *s, size_t n, struct rig_socket *socket);
/* Another worker's page, with what the tenant holds there. */
struct dm_counters_page *add_other_worker(struct stage *s);
void trust_everybody(struct stage *s);

/* --- HTTP/2 clients ----------------------------------------------------------------------------------------------- */

/* What came, one word each: "1:200" a status, "1!7" a reset, "1." the end of a stream, "G" GOAWAY; and the reasons' fields. */
struct h2 {
    struct rig_socket *socket;
    nghttp2_session *session;
    struct dm_buf seen;
    const char *upload; /* text of the body that is sent */
};

struct h2 *h2_connect(struct stage *s);
/* GET, or a POST of the upload; extra: the value of a field. */
void h2_request(struct h2 *h2, const char *path, const char *extra, const char *upload);
/* Gives the session what came, and sends what it has. */
void h2_pump(struct h2 *h2);
/* Until it has seen the text. */
void h2_expect(struct stage *s, struct h2 *h2, const char *text);
void h2_close(struct stage *s, struct h2 *h2);

#endif
