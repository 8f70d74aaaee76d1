/* Units compiled in memory from document bodies, for tests. */
#ifndef DM_TESTS_COMPILED_H
#define DM_TESTS_COMPILED_H

#include "snapshot/compile.h"
#include "snapshot/unit.h"

struct compiled {
    struct dm_builder builder;
    struct dm_unit *unit;
};

/* Fails the test when the body is refused. */
void compiled_init(struct compiled *compiled, enum dm_unit_kind kind, const char *body);
void compiled_done(struct compiled *compiled);

#endif
