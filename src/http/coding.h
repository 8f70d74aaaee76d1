/* Content codings that a request accepts (RFC 9110, 12.5.3). */
#ifndef DM_HTTP_CODING_H
#define DM_HTTP_CODING_H

#include "http/head.h"

#define DM_HTTP_WEIGHT_UNSAID (-1)

/* How much the request wants this coding (lower case), in thousandths: 0 = not acceptable, DM_HTTP_WEIGHT_UNSAID when
 * Accept-Encoding neither names it nor holds "*". All its lines are one list; of several elements for one coding the first
 * counts, a name before "*"; "x-gzip" is "gzip" (8.4.1.3); an element that is no coding with at most a weight is passed over. */
int dm_http_coding_weight(const struct dm_http_head *head, struct dm_str coding);

#endif
