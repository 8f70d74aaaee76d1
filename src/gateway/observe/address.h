/* Text of an address without its port, as logs and X-Forwarded-For hold it: "192.0.2.1", "2001:db8::1" (RFC 5952, no
 * brackets), an IPv4-mapped one as IPv4. No system or library call: it runs for every request. */
#ifndef DM_GATEWAY_OBSERVE_ADDRESS_H
#define DM_GATEWAY_OBSERVE_ADDRESS_H

#include "base/sys.h"

#define DM_ADDRESS_TEXT_MAX 48

/* Returns the length; not NUL-terminated. What is no IP address is "unknown". */
size_t dm_address_text(const struct dm_addr *addr, char ret[DM_ADDRESS_TEXT_MAX]);

#endif
