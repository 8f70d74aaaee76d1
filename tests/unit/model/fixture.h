/* What the tests of the model share: a whole tenant file, changes of it by JSON pointer, and reading. JSON in tests is
 * written with single quotes. */
#ifndef DM_TESTS_MODEL_FIXTURE_H
#define DM_TESTS_MODEL_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/json.h"
#include "model/field.h"

/* A file with every kind of resource and policy, in which all rules hold. */
extern const char *const fixture_file;

/* Parses single-quoted JSON; fails the test when it is not JSON. The caller frees. */
struct dm_json *fixture_json(const char *text);

/* A copy of root in which `pointer` holds `value` ("" in the place of a member's value removes it; an index equal to the
 * length appends). The caller frees. */
struct dm_json *fixture_with(const struct dm_json *root, const char *pointer, const char *value);

/* The value at a pointer, or NULL. */
const struct dm_json *fixture_at(const struct dm_json *root, const char *pointer);

/* Reads single-quoted JSON by a schema; fails the test when that fails. */
void fixture_read(const struct dm_schema *schema, const char *text, struct dm_arena *arena, void *ret);

/* Canonical text of an object, NUL-terminated, in the arena. */
const char *fixture_text(const struct dm_schema *schema, const void *object, unsigned write_flags,
                         struct dm_arena *arena);

/* cmocka group set-up. */
int fixture_crypto(void **state);

#endif
