/* The tenant "orders" with a product, made through the API of a serving harness. */
#ifndef TEST_CONTROL_SHOP_H
#define TEST_CONTROL_SHOP_H

#include "harness.h"

#define T "/api/v1/tenants/orders"

/* The body of its product "shop". */
extern const char product[];
/* Tenant, grants, the backend "service", the product. */
void make_orders(struct harness *h);
/* A token of a new tenant admin; the caller frees it. */
char *tenant_token(struct harness *h, const char *tenant);

#endif
