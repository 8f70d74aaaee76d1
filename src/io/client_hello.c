#include "io/client_hello.h"

enum { RECORD_HEAD = 5, RECORD_MAX = 1 << 14, HANDSHAKE = 22, CLIENT_HELLO = 1, HELLO_HEAD = 4, HELLO_MAX = 1 << 14 };
enum { RANDOM = 32, EXTENSION_SERVER_NAME = 0, NAME_TYPE_HOST = 0 };

/* What is left to read; failed once something did not fit. */
struct reader {
    const uint8_t *ptr;
    size_t len;
    bool failed;
};

static const uint8_t *take(struct reader *r, size_t n)
{
    const uint8_t *ptr = r->ptr;

    if (r->failed || n > r->len) {
        r->failed = true;
        return NULL;
    }
    r->ptr += n;
    r->len -= n;
    return ptr;
}

static size_t take_number(struct reader *r, size_t bytes)
{
    const uint8_t *ptr = take(r, bytes);
    size_t number = 0;

    for (size_t i = 0; ptr && i < bytes; i++)
        number = number << 8 | ptr[i];
    return number;
}

/* A vector with a length in front. */
static struct reader take_vector(struct reader *r, size_t length_bytes)
{
    size_t len = take_number(r, length_bytes);
    const uint8_t *ptr = take(r, len);

    return ptr ? (struct reader){ptr, len, false} : (struct reader){NULL, 0, true};
}

/* --- names -------------------------------------------------------------------------------------------------------- */

static char lower(uint8_t c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

static bool is_host_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

/* "" when it can be no host's. */
static void keep_name(struct reader name, char *ret)
{
    ret[0] = '\0';
    if (name.len == 0 || name.len > DM_CLIENT_HELLO_NAME_MAX)
        return;
    for (size_t i = 0; i < name.len; i++)
        if (!is_host_byte(lower(name.ptr[i])))
            return;
    for (size_t i = 0; i < name.len; i++)
        ret[i] = lower(name.ptr[i]);
    ret[name.len] = '\0';
}

/* A list of one name of the one type that there is. */
static bool read_server_name(struct reader extension, char *ret)
{
    struct reader list = take_vector(&extension, 2), name;

    if (extension.len > 0 || take_number(&list, 1) != NAME_TYPE_HOST)
        return false;
    name = take_vector(&list, 2);
    if (name.failed || list.failed || list.len > 0)
        return false;
    keep_name(name, ret);
    return true;
}

/* --- the message -------------------------------------------------------------------------------------------------- */

static bool read_extensions(struct reader extensions, char *ret)
{
    bool has_name = false;

    while (extensions.len > 0) {
        size_t type = take_number(&extensions, 2);
        struct reader extension = take_vector(&extensions, 2);
        if (extensions.failed)
            return false;
        if (type != EXTENSION_SERVER_NAME)
            continue;
        if (has_name || !read_server_name(extension, ret))
            return false;
        has_name = true;
    }
    return true;
}

static bool read_hello(struct reader hello, char *ret)
{
    ret[0] = '\0';
    (void)take_number(&hello, 2); /* legacy_version */
    (void)take(&hello, RANDOM);
    (void)take_vector(&hello, 1); /* legacy_session_id */
    (void)take_vector(&hello, 2); /* cipher_suites */
    (void)take_vector(&hello, 1); /* legacy_compression_methods */
    if (hello.failed)
        return false;
    if (hello.len == 0)
        return true;
    return read_extensions(take_vector(&hello, 2), ret) && hello.len == 0 && !hello.failed;
}

/* --- records ------------------------------------------------------------------------------------------------------ */

/* Bytes of the ClientHello, with its head; 0 when they are not there yet. */
static size_t hello_bytes(const uint8_t *message, size_t len)
{
    return len < HELLO_HEAD ? 0 : HELLO_HEAD + ((size_t)message[1] << 16 | (size_t)message[2] << 8 | message[3]);
}

/* What can't be one is refused as soon as it shows. */
static bool may_be_hello(const uint8_t *message, size_t len)
{
    return len == 0 || (message[0] == CLIENT_HELLO && hello_bytes(message, len) <= HELLO_HEAD + HELLO_MAX);
}

enum { AGAIN = 2 };

/* Appends the next record's part of the message. 1: that was all of it; AGAIN: there is more; 0: more bytes are needed. */
static int take_record(struct reader *r, uint8_t *message, size_t *len)
{
    size_t part, there;

    if (r->len == 0)
        return 0;
    if (r->ptr[0] != HANDSHAKE || (r->len > 1 && r->ptr[1] != 3))
        return DM_EINVAL;
    if (r->len < RECORD_HEAD)
        return 0;
    part = (size_t)r->ptr[3] << 8 | r->ptr[4];
    if (part == 0 || part > RECORD_MAX)
        return DM_EINVAL;
    (void)take(r, RECORD_HEAD);
    there = DM_MIN(part, r->len);
    there = DM_MIN(there, HELLO_HEAD + (size_t)HELLO_MAX - *len);
    memcpy(message + *len, r->ptr, there);
    *len += there;
    if (!may_be_hello(message, *len))
        return DM_EINVAL;
    if (hello_bytes(message, *len) > 0 && *len >= hello_bytes(message, *len))
        return 1;
    return take(r, part) ? AGAIN : 0;
}

int dm_client_hello_name(const char *ptr, size_t len, char ret_name[DM_CLIENT_HELLO_NAME_MAX + 1])
{
    struct reader r = {(const uint8_t *)ptr, len, false};
    uint8_t message[HELLO_HEAD + HELLO_MAX];
    size_t n = 0;
    int rc;

    while ((rc = take_record(&r, message, &n)) == AGAIN)
        ;
    if (rc <= 0)
        return rc;
    return read_hello((struct reader){message + HELLO_HEAD, hello_bytes(message, n) - HELLO_HEAD, false}, ret_name)
               ? 1
               : DM_EINVAL;
}
