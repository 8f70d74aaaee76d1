/* One end of a TLS connection that takes note of all it is told, for the tests of both sides. */
#ifndef DM_TESTS_UNIT_IO_TLS_CONN_H
#define DM_TESTS_UNIT_IO_TLS_CONN_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "io/stream.h"
#include "io/tls.h"

#define NOW_S INT64_C(1750000000) /* the wall clock of all tests */

struct conn {
    struct dm_stream stream;
    struct conn *next; /* of whoever keeps several */
    unsigned n_connect, n_eof, n_error, n_closed;
    int error;
    enum dm_tls_reason reason;
    int alert;
    bool echoes, says_early; /* "early", when it stands */
    size_t room, n_seen;
    char seen[];
};

extern const struct dm_stream_type conn_type;

/* Notes up to so many bytes. Freed with dm_free(). */
struct conn *conn_new(size_t room);

#endif
