/* A stream at one end of a pair of sockets, and plain calls at the other. Compiled twice: with WITH_TLS, TLS is between the two, and
 * plain OpenSSL at the other end. */
#ifndef DM_TESTS_UNIT_IO_STREAM_RIG_H
#define DM_TESTS_UNIT_IO_STREAM_RIG_H

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "fake_clock.h"
#include "io/stream.h"

#ifndef WITH_TLS
#define WITH_TLS 0
#endif

enum { HOLD_ALL = -1 };

struct conn {
    struct dm_stream stream;
    char seen[1 << 20];
    size_t n_seen, n_seen_at_eof, last_len, n_reads;
    long consume; /* at most this many of each read; HOLD_ALL: none */
    unsigned n_connect, n_eof, n_writable, n_error, n_closed;
    int error;
    bool pauses, closes, echoes, closes_in_writable;
};

extern struct fake_clock fake;
extern struct dm_loop *loop;
extern struct conn *conn;
extern int peer_fd; /* -1: the test has closed it */
extern const struct dm_stream_type conn_type;

/* Fixtures of cmocka: of the group, and of a test. */
int make_tls(void **state);
int free_tls(void **state);
int setup(void **state);
int teardown(void **state);

void turn_until_quiet(void);
/* What conn_type does with bytes: notes conn->consume of them, and then what the conn is told to do. */
size_t conn_read(struct dm_stream *stream, const char *ptr, size_t len);
/* A conn that takes all, without a stream. */
struct conn *conn_new(void);

void peer_sends(const char *ptr, size_t len);
void peer_ends(void);
bool peer_sees_end(void);
/* What there is now. */
size_t peer_reads(char *ret, size_t len);
/* Bytes that differ from place to place; the caller frees them. */
char *pattern(size_t len);

#endif
