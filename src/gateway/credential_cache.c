#include "gateway/credential_cache.h"

#include "base/mem.h"

#define ENTRIES 4096

struct entry {
    uint64_t unit[2]; /* head of the unit's checksum */
    uint64_t tag[2];
    dm_off credential; /* 0 = the entry is free */
    uint32_t type;
};

struct dm_credential_cache {
    uint8_t secret[16];
    struct entry entries[ENTRIES];
};

struct dm_credential_cache *dm_credential_cache_new(const uint8_t secret[16])
{
    struct dm_credential_cache *cache = dm_calloc(1, sizeof(*cache));

    memcpy(cache->secret, secret, sizeof(cache->secret));
    return cache;
}

void dm_credential_cache_free(struct dm_credential_cache *cache)
{
    if (cache)
        dm_mem_wipe(cache, sizeof(*cache));
    dm_free(cache);
}

/* Without leaving early. */
static bool is_same(const struct entry *a, const struct entry *b)
{
    return ((a->unit[0] ^ b->unit[0]) | (a->unit[1] ^ b->unit[1]) | (a->tag[0] ^ b->tag[0]) | (a->tag[1] ^ b->tag[1]) |
            (a->type ^ b->type)) == 0;
}

static const struct dm_ucredential *find_by_digest(const struct dm_unit *unit, enum dm_credential_type type,
                                                   struct dm_str key)
{
    uint8_t digest[DM_DIGEST_BYTES];

    dm_credential_digest(DM_UNIT_ROOT(unit, dm_uapplications)->digest_key, type, key, digest);
    return dm_uapplications_find(unit, digest);
}

const struct dm_ucredential *dm_credential_cache_find(struct dm_credential_cache *cache, const struct dm_unit *unit,
                                                      enum dm_credential_type type, struct dm_str key)
{
    struct entry wanted = {.type = type}, *entry;
    const struct dm_ucredential *found;

    memcpy(wanted.unit, dm_unit_header(unit)->checksum, sizeof(wanted.unit));
    dm_siphash128(cache->secret, key, wanted.tag);
    entry = &cache->entries[(wanted.tag[0] ^ wanted.unit[0]) % ENTRIES];
    if (DM_LIKELY(entry->credential != 0 && is_same(entry, &wanted)))
        return DM_UNIT_GET(unit, dm_ucredential, entry->credential);
    if (!(found = find_by_digest(unit, type, key)))
        return NULL;
    wanted.credential = (dm_off)((const char *)found - unit->base);
    *entry = wanted;
    return found;
}
