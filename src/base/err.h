/* Errors. Negative = failure, 0 = done, positive = progress.
 *
 * The hot path returns the code alone. What a person will read also fills a struct dm_err: a JSON pointer (RFC 6901)
 * to the member at fault and a sentence that says what was expected and what was found. */
#ifndef DM_BASE_ERR_H
#define DM_BASE_ERR_H

#include "base/defs.h"
#include "base/str.h"

enum dm_error {
    DM_OK = 0,
    DM_EINVAL = -1001,    /* malformed or out of range */
    DM_ENOENT = -1002,    /* no such thing */
    DM_EEXIST = -1003,    /* already there */
    DM_EBUDGET = -1004,   /* a budget, cap or limit is exhausted */
    DM_EAGAIN = -1005,    /* would block; try when ready */
    DM_EIO = -1006,       /* the system failed; see the message */
    DM_EPERM = -1007,     /* not allowed */
    DM_ECONFLICT = -1008, /* changed by somebody else meanwhile */
    DM_ECORRUPT = -1009,  /* a file or message fails its checksum, header or signature */
    DM_EVERSION = -1010,  /* made by another version of the program */
    DM_ETIMEOUT = -1011,
    DM_ECLOSED = -1012, /* the peer closed */
    DM_ETLS = -1013,    /* the peer's TLS, or its certificate, is not acceptable; dm_tls_reason() says why */
};

#define DM_ERR_POINTER_MAX 256
#define DM_ERR_MESSAGE_MAX 512

/* By value, no ownership. Zero-initialise before use. */
struct dm_err {
    int code;
    char pointer[DM_ERR_POINTER_MAX]; /* "" is the whole document */
    char message[DM_ERR_MESSAGE_MAX];
};

/* Sets err (which may be NULL) and returns code. A message too long is cut, a pointer too long is cut at a '/'. */
int dm_fail(struct dm_err *err, int code, const char *pointer, const char *fmt, ...) DM_PRINTF(4, 5);

/* Puts `prefix` (e.g. "/products/3") before the pointer of an error that came from deeper inside; returns err->code. */
int dm_err_prefix(struct dm_err *err, const char *fmt, ...) DM_PRINTF(2, 3);

/* The code of the current errno-style negative system error: -ENOENT -> DM_ENOENT, -EAGAIN -> DM_EAGAIN, others DM_EIO. */
int dm_err_of_errno(int negative_errno);

/* Short English name of a code ("invalid", "not found", …). Static storage. */
const char *dm_err_name(int code);

#endif
