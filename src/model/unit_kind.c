#include "model/unit_kind.h"

#include <stddef.h>

const char *const dm_unit_kind_names[] = {"", "release", "applications", "grants", "domains", NULL};
