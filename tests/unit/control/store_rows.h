/* What the tests of the store share: transactions, tenants and change records in a store that harness.h opened. They need a `struct
 * harness *h`. */
#ifndef TEST_CONTROL_STORE_ROWS_H
#define TEST_CONTROL_STORE_ROWS_H

#include "harness.h"

#include "control/store/resources.h"

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if ((call) < 0)                                                                                                \
            fail_msg("%s: %s", #call, h->err.message);                                                                 \
    } while (0)
#define CODE(code, call) assert_int_equal((call), (code))

struct dm_txn *begin(struct harness *h, enum dm_txn_kind kind);
struct dm_tenant_handle *create(struct harness *h, struct dm_txn *txn, const char *name);
struct dm_tenant_handle *open_tenant(struct harness *h, struct dm_txn *txn, const char *name);
/* The tenants "a" and "b". */
void make_tenants(struct harness *h);
void remove_tenant(struct harness *h, const char *name);

/* A backend. */
struct dm_resource_row row(const char *name, const char *body, int64_t version);
/* For dm_resources_each(): counts in an int. */
int count_resource(void *arg, const struct dm_resource_row *row_, struct dm_err *err);

/* A change of the tenant, or of the platform (NULL). Returns its sequence. */
int64_t record(struct harness *h, const char *tenant, const char *name);
/* The whole chain of changes. */
int verify(struct harness *h, int64_t *ret_count);

/* On the database itself, beside the store. */
void run_sql(struct harness *h, const char *text);

#endif
