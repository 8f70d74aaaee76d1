/* An HTTP/2 client that misbehaves by hand, and what becomes of it. */
#ifndef DM_TESTS_UNIT_HTTP_SERVER_H2_GUARD_H
#define DM_TESTS_UNIT_HTTP_SERVER_H2_GUARD_H

#include "server_h2_rig.h"

enum { ENHANCE_YOUR_CALM = 11, PROTOCOL_ERROR = 1 };

/* A fixture of cmocka, with h2_teardown: data is not noted. */
int guard_setup(void **state);
const struct dm_http2_counters *counters(void);
/* The last word seen is GOAWAY with this code, and the connection is over. */
void check_ended_with(int code);
/* Another client is served as ever. */
void check_served(void);

#endif
