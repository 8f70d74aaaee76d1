#ifndef DM_SNAPSHOT_CHECK_INT_H
#define DM_SNAPSHOT_CHECK_INT_H

#include "base/defs.h"

/* U1 for everything behind the header: does every offset, count, index and string stay inside the file? */
bool dm_unit_check_content(const char *bytes, size_t size);

#endif
