/* A unit file with any content under a right checksum is refused, or can be read through without leaving it. */
#include "base/mem.h"
#include "snapshot/applications.h"
#include "snapshot/domains.h"
#include "snapshot/grants.h"
#include "snapshot/release.h"
#include "snapshot/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool no_args(const void *ctx, struct dm_str name, const struct dm_str *value)
{
    return name.len % 2 == 0;
}

static void read_release(const struct dm_unit *unit)
{
    const struct dm_urelease *root = DM_UNIT_ROOT(unit, dm_urelease);
    const struct dm_uproduct *products = dm_unit_at(unit, root->products);
    struct dm_rules_request request = {DM_STR("GET"), DM_STR("/a/bb/ccc"), no_args, NULL};
    struct dm_usage usage;
    uint32_t first;

    for (uint32_t i = 0; i < root->n_products; i++) {
        const struct dm_uversion *versions = dm_unit_at(unit, products[i].versions);
        for (uint32_t k = 0; k < products[i].n_versions; k++)
            dm_rules_match(unit, versions[k].rules, products[i].metrics, &request, &usage, &first);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *bytes;
    struct dm_unit *unit;

    if (dm_crypto_init() < 0 || size < sizeof(struct dm_unit_header) || size > 1u << 16)
        return 0;
    bytes = dm_alloc(size);
    memcpy(bytes, data, size);
    dm_unit_seal(bytes, size);
    if (dm_unit_from_memory(bytes, size, &unit, NULL) == 0) {
        uint8_t digest[DM_DIGEST_BYTES] = {data[size - 1]};
        struct dm_addr addr;
        if (dm_unit_header(unit)->kind == DM_UNIT_RELEASE)
            read_release(unit);
        else if (dm_unit_header(unit)->kind == DM_UNIT_APPLICATIONS)
            (void)dm_uapplications_find(unit, digest);
        else if (dm_unit_header(unit)->kind == DM_UNIT_DOMAINS)
            (void)dm_udomains_certificate(unit, dm_str_n(bytes, size % 9));
        else if (dm_addr_parse(DM_STR("10.1.2.3:80"), &addr, NULL) == 0)
            (void)dm_ugrants_allow(unit, &addr);
        dm_unit_unref(unit);
    }
    dm_free(bytes);
    return 0;
}
