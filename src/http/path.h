/* The one normal form of a path, made once, before routing, and forwarded (RFC 3986 section 6.2.2).
 *
 * Escapes of unreserved characters are decoded, the others get upper-case digits; repeated slashes become one; dot
 * segments (escaped ones too) are removed. Refused: invalid escapes, escaped controls (%00-%1F, %7F), '\', a dot
 * segment above the root, a dot segment with parameters ("..;x", which some servers take for ".."), bytes that no
 * target may hold. Escaped slashes and backslashes are refused, or kept as escapes by option. Escapes of bytes above
 * 0x7F are kept whatever the character set. The form is final: normalising it again gives the same. */
#ifndef DM_HTTP_PATH_H
#define DM_HTTP_PATH_H

#include "base/str.h"
#include "http/fault.h"

enum dm_path_option {
    DM_PATH_KEEP_ESCAPED_SLASH = 1, /* keep %2F and %5C instead of refusing them */
};

/* path starts with '/' ("*" alone is returned as it is). *ret is `path` itself when it is normal already, else it
 * stands in buf, which holds path.len bytes (the form is never longer). 0, or a negative enum dm_http_fault; then
 * *ret is untouched. */
DM_MUST_USE int dm_path_normalise(struct dm_str path, unsigned options, char *buf, struct dm_str *ret);

#endif
