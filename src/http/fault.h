/* Why a message, body, target or host was refused. Parsers return the negative of a fault; the name is a stable code
 * for logs and answers, the status is what a server answers with (a gateway answers 502 when the fault is the
 * backend's). */
#ifndef DM_HTTP_FAULT_H
#define DM_HTTP_FAULT_H

#include "base/defs.h"

/* X(ID, name, status) */
#define DM_HTTP_FAULTS(X)                                                                                              \
    X(BAD_METHOD, "bad_method", 400)                                                                                   \
    X(METHOD_TOO_LONG, "method_too_long", 400)                                                                         \
    X(CONNECT_REFUSED, "connect_refused", 400)                                                                         \
    X(BAD_TARGET, "bad_target", 400)                                                                                   \
    X(TARGET_FRAGMENT, "target_fragment", 400)                                                                         \
    X(TARGET_USERINFO, "target_userinfo", 400)                                                                         \
    X(URL_TOO_LONG, "url_too_long", 414)                                                                               \
    X(BAD_VERSION, "bad_version", 400)                                                                                 \
    X(VERSION_NOT_SUPPORTED, "version_not_supported", 505)                                                             \
    X(BAD_REQUEST_LINE, "bad_request_line", 400)                                                                       \
    X(BAD_STATUS_LINE, "bad_status_line", 400)                                                                         \
    X(BAD_STATUS, "bad_status", 400)                                                                                   \
    X(BARE_CR, "bare_cr", 400)                                                                                         \
    X(BARE_LF, "bare_lf", 400)                                                                                         \
    X(BAD_BYTE, "bad_byte", 400)                                                                                       \
    X(OBS_FOLD, "obs_fold", 400)                                                                                       \
    X(EMPTY_FIELD_NAME, "empty_field_name", 400)                                                                       \
    X(BAD_FIELD_NAME, "bad_field_name", 400)                                                                           \
    X(SPACE_BEFORE_COLON, "space_before_colon", 400)                                                                   \
    X(BAD_FIELD_VALUE, "bad_field_value", 400)                                                                         \
    X(TOO_MANY_FIELDS, "too_many_fields", 431)                                                                         \
    X(HEAD_TOO_LARGE, "head_too_large", 431)                                                                           \
    X(NO_HOST, "no_host", 400)                                                                                         \
    X(BAD_HOST, "bad_host", 400)                                                                                       \
    X(DUPLICATE_HOST, "duplicate_host", 400)                                                                           \
    X(DUPLICATE_FIELD, "duplicate_field", 400)                                                                         \
    X(BAD_CONTENT_LENGTH, "bad_content_length", 400)                                                                   \
    X(DUPLICATE_CONTENT_LENGTH, "duplicate_content_length", 400)                                                       \
    X(LENGTH_AND_ENCODING, "length_and_encoding", 400)                                                                 \
    X(BAD_TRANSFER_ENCODING, "bad_transfer_encoding", 400)                                                             \
    X(ENCODING_IN_HTTP10, "encoding_in_http10", 400)                                                                   \
    X(BODY_NOT_ALLOWED, "body_not_allowed", 400)                                                                       \
    X(BAD_CONNECTION, "bad_connection", 400)                                                                           \
    X(CONNECTION_NAMES_FIELD, "connection_names_field", 400)                                                           \
    X(BAD_EXPECT, "bad_expect", 417)                                                                                   \
    X(BAD_CHUNK_SIZE, "bad_chunk_size", 400)                                                                           \
    X(BAD_CHUNK_EXTENSION, "bad_chunk_extension", 400)                                                                 \
    X(CHUNK_EXTENSIONS_TOO_LARGE, "chunk_extensions_too_large", 400)                                                   \
    X(BAD_CHUNK_END, "bad_chunk_end", 400)                                                                             \
    X(BODY_TOO_LARGE, "body_too_large", 413)                                                                           \
    X(BODY_CUT, "body_cut", 400)                                                                                       \
    X(BAD_TRAILER, "bad_trailer", 400)                                                                                 \
    X(TRAILER_TOO_LARGE, "trailer_too_large", 431)                                                                     \
    X(BAD_ESCAPE, "bad_escape", 400)                                                                                   \
    X(ESCAPED_CONTROL, "escaped_control", 400)                                                                         \
    X(ESCAPED_SLASH, "escaped_slash", 400)                                                                             \
    X(PATH_ABOVE_ROOT, "path_above_root", 400)                                                                         \
    X(BAD_PATH, "bad_path", 400)                                                                                       \
    X(BAD_PSEUDO_FIELD, "bad_pseudo_field", 400)                                                                       \
    X(CONNECTION_FIELD, "connection_field", 400)                                                                       \
    X(HOST_MISMATCH, "host_mismatch", 400)                                                                             \
    X(BODY_LENGTH, "body_length", 400)                                                                                 \
    X(TOO_MANY_INTERIM, "too_many_interim", 400)

enum dm_http_fault {
    DM_HTTP_NO_FAULT = 0,
#define DM_HTTP_FAULT_ENUM(id, name, status) DM_HTTP_##id,
    DM_HTTP_FAULTS(DM_HTTP_FAULT_ENUM)
#undef DM_HTTP_FAULT_ENUM
        DM_HTTP_FAULT_COUNT
};

/* Static storage; "none" for 0, "unknown" outside the enumeration. */
const char *dm_http_fault_name(enum dm_http_fault fault);
/* 400, 413, 414, 417, 431, 501 or 505; 0 for DM_HTTP_NO_FAULT. */
unsigned dm_http_fault_status(enum dm_http_fault fault);

#endif
