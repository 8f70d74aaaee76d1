/* What the tests of keeper, loader and store share: a data directory of their own, and signed documents. */
#ifndef DM_TESTS_UNIT_GATEWAY_KEEPER_FIXTURE_H
#define DM_TESTS_UNIT_GATEWAY_KEEPER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "gateway/process/options.h"
#include "model/document.h"

struct keeper_fixture {
    struct dm_gateway_options options;
    uint8_t public_key[DM_SIGN_PUBLIC_BYTES];
    uint8_t secret[DM_SIGN_SECRET_BYTES];
};

/* For cmocka_unit_test_setup_teardown: *state is a struct keeper_fixture with an empty data directory below /tmp. */
int keeper_fixture_setup(void **state);
int keeper_fixture_teardown(void **state);

/* A release without products, signed; heap bytes in *ret. */
void keeper_fixture_document(const struct keeper_fixture *f, const char *tenant, uint64_t epoch, uint64_t sequence,
                             struct dm_buf *ret);
/* Grants of a tenant with a cell of so many workers; 0: a shared one. */
void keeper_fixture_grants(const struct keeper_fixture *f, const char *tenant, uint64_t epoch, uint64_t sequence,
                           unsigned n_workers, struct dm_buf *ret);
/* One that is signed and not valid: its backend has no endpoint. */
void keeper_fixture_bad_document(const struct keeper_fixture *f, const char *tenant, uint64_t epoch, uint64_t sequence,
                                 struct dm_buf *ret);

/* Changes one byte in the middle of DATA/name. */
void keeper_fixture_damage(const struct keeper_fixture *f, const char *name);
/* Puts a copy with one byte changed in its place: who maps the former file has it whole. */
void keeper_fixture_replace(const struct keeper_fixture *f, const char *name);
bool keeper_fixture_exists(const struct keeper_fixture *f, const char *name);

#endif
