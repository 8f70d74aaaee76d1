/* Filling and naming of errors. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>

/* Length of the longest prefix of text below max bytes that ends at a character, text being max bytes or longer. */
static size_t cut_at_character(const char *text, size_t max)
{
    size_t len = max - 1;

    while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
        len--;
    return len;
}

static void set_message(struct dm_err *err, const char *message, size_t len)
{
    if (len >= sizeof(err->message))
        len = cut_at_character(message, sizeof(err->message));
    memcpy(err->message, message, len);
    err->message[len] = '\0';
}

/* A pointer that lost part of a token would name another member, so it loses whole tokens. */
static void set_pointer(struct dm_err *err, const char *pointer, size_t len)
{
    if (len >= sizeof(err->pointer)) {
        len = sizeof(err->pointer) - 1;
        while (len > 0 && pointer[len] != '/')
            len--;
    }
    memcpy(err->pointer, pointer, len);
    err->pointer[len] = '\0';
}

int dm_fail(struct dm_err *err, int code, const char *pointer, const char *fmt, ...)
{
    char message[DM_ERR_MESSAGE_MAX + 4]; /* the arguments may lie in *err */
    char pointer_copy[DM_ERR_POINTER_MAX + 1];
    va_list args;
    int n;

    if (!err)
        return code;
    snprintf(pointer_copy, sizeof(pointer_copy), "%s", pointer ? pointer : "");
    va_start(args, fmt);
    n = vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    err->code = code;
    set_pointer(err, pointer_copy, strlen(pointer_copy));
    set_message(err, message, n < 0 ? 0 : strlen(message));
    return code;
}

int dm_err_prefix(struct dm_err *err, const char *fmt, ...)
{
    char joined[2 * DM_ERR_POINTER_MAX + 2];
    va_list args;
    size_t len;

    if (!err)
        return DM_EINVAL;
    va_start(args, fmt);
    vsnprintf(joined, DM_ERR_POINTER_MAX + 1, fmt, args);
    va_end(args);
    len = strlen(joined);
    snprintf(joined + len, sizeof(joined) - len, "%s", err->pointer);
    set_pointer(err, joined, strlen(joined));
    return err->code;
}

int dm_err_of_errno(int negative_errno)
{
    switch (negative_errno) {
    case -ENOENT: return DM_ENOENT;
    case -EAGAIN: return DM_EAGAIN;
    default: return DM_EIO;
    }
}

const char *dm_err_name(int code)
{
    switch ((enum dm_error)code) {
    case DM_OK: return "ok";
    case DM_EINVAL: return "invalid";
    case DM_ENOENT: return "not found";
    case DM_EEXIST: return "already exists";
    case DM_EBUDGET: return "limit exceeded";
    case DM_EAGAIN: return "try again";
    case DM_EIO: return "system error";
    case DM_EPERM: return "not permitted";
    case DM_ECONFLICT: return "conflict";
    case DM_ECORRUPT: return "corrupt";
    case DM_EVERSION: return "other version";
    case DM_ETIMEOUT: return "timed out";
    case DM_ECLOSED: return "closed";
    case DM_ETLS: return "TLS failed";
    }
    return "unknown error";
}
