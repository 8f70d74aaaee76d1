#include "shop.h"

const char product[] =
    "{\"domains\":[\"orders.localhost\"],\"versions\":[{\"name\":\"v1\",\"path\":\"/\",\"policies\":[{\"type\":\"api_key\"}],"
    "\"mapping_rules\":[{\"method\":\"GET\",\"pattern\":\"/\"}],\"backends\":[{\"path\":\"/\",\"backend\":\"service\"}]}],"
    "\"plans\":[{\"name\":\"basic\"},{\"name\":\"gold\"}]}";

void make_orders(struct harness *h)
{
    done(POST(201, NULL, "/api/v1/tenants", "{\"name\":\"orders\"}"));
    done(PUT(
        200, NULL, T "/grants",
        "{\"domains\":[{\"name\":\"orders.localhost\"}],\"endpoints\":[{\"address\":\"127.0.0.1\",\"port\":9101}]}"));
    done(PUT(201, NULL, T "/backends/service", "{\"endpoints\":[{\"host\":\"127.0.0.1\",\"port\":9101}]}"));
    done(PUT(201, NULL, T "/products/shop", product));
}

char *tenant_token(struct harness *h, const char *tenant)
{
    char target[128];

    snprintf(target, sizeof(target), "/api/v1/tenants/%s/tokens", tenant);
    return POST(201, "token", target, "{\"name\":\"admin\",\"role\":\"tenant_admin\"}");
}
