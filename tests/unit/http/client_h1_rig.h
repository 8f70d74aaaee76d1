/* A backend for client_rig.h that speaks the raw bytes of HTTP/1.1. */
#ifndef DM_TESTS_UNIT_HTTP_CLIENT_H1_RIG_H
#define DM_TESTS_UNIT_HTTP_CLIENT_H1_RIG_H

#include "client_rig.h"

#define GET "GET / HTTP/1.1\r\nHost: b\r\n\r\n" /* what `get` is in bytes */
#define OK2 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define SWITCH "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n"

extern const struct dm_http_message get;

/* Fixtures of cmocka. */
int h1_setup(void **state);
int h1_teardown(void **state);

/* A connection with its first call open. */
void connect_call(void);
/* The first call's message, to the end if it has no body. */
void send_message(const struct dm_http_message *m);
/* A connection with a GET on its way. */
void begin_get(void);
/* One more GET on the same. */
void get_again(void);

void answer_n(const char *ptr, size_t len);
void answer(const char *text);
/* Reads what the backend received so far. */
void receive(size_t max);
#define check_got(text) (receive(SIZE_MAX), check_text(&rig.got, (text), __FILE__, __LINE__))
/* The client has ended its direction, and nothing is left to read. */
void check_backend_at_end(void);
/* With everything read, so that it is no reset. */
void close_backend(void);

#endif
