/* Text forms of bytes: hexadecimal, base64 (RFC 4648 section 4, padded) and base64url (section 5, not padded). */
#ifndef DM_BASE_ENCODE_H
#define DM_BASE_ENCODE_H

#include "base/err.h"

/* ret holds 2 * len + 1 bytes; lower case, NUL-terminated. */
void dm_hex(const void *ptr, size_t len, char *ret);
/* 16 digits, lower case, not NUL-terminated; the highest first. */
void dm_hex_u64(uint64_t value, char ret[16]);
/* Exactly len bytes from 2 * len digits of either case; DM_EINVAL otherwise. */
DM_MUST_USE int dm_unhex(struct dm_str hex, uint8_t *ret, size_t len);

/* ret holds DM_BASE64_MAX(len) bytes; NUL-terminated; returns the length. */
#define DM_BASE64_MAX(len) (((len) + 2) / 3 * 4 + 1)
size_t dm_base64(struct dm_str bytes, char *ret);
size_t dm_base64url(struct dm_str bytes, char *ret);
/* Strict (canonical padding, no white space). Returns the length, or DM_EINVAL, or DM_EBUDGET if cap is too small. */
DM_MUST_USE ssize_t dm_unbase64(struct dm_str text, uint8_t *ret, size_t cap);
DM_MUST_USE ssize_t dm_unbase64url(struct dm_str text, uint8_t *ret, size_t cap);

#endif
