#include "gateway/limit/table.h"

#include "base/crypto.h"

#include <stdatomic.h>

#define PAGE_VERSION 1
#define PROBES_MAX 32
#define COUNT_BITS 40
#define RATE_KEEP_S 60 /* a bucket that was full this long ago is as good as new */

struct slot {
    _Atomic uint64_t key;       /* 0 = free */
    _Atomic uint64_t value;     /* window << 40 | count, or the bucket's time in ns */
    _Atomic uint64_t expires_s; /* may be claimed after */
    uint64_t unused;
};

struct dm_limit_page {
    _Atomic uint32_t seed_state; /* 0 none, 1 being drawn, 2 there */
    uint8_t seed[16];
    _Atomic uint64_t n_used;
    _Alignas(64) struct slot slots[DM_LIMIT_SLOTS];
};

static void draw_seed(struct dm_limit_page *page)
{
    uint32_t none = 0;

    if (atomic_compare_exchange_strong(&page->seed_state, &none, 1)) {
        dm_crypto_random(page->seed, sizeof(page->seed));
        atomic_store(&page->seed_state, 2);
    }
    while (atomic_load(&page->seed_state) != 2)
        __builtin_ia32_pause();
}

int dm_limit_table_open(struct dm_limit_table *table, const char *path, struct dm_err *err)
{
    int rc = dm_shm_open(&table->shm, path, "limits", PAGE_VERSION, sizeof(struct dm_limit_page), true, err);

    if (rc < 0)
        return rc;
    table->page = table->shm.ptr;
    table->n_full = 0;
    draw_seed(table->page);
    return 0;
}

void dm_limit_table_close(struct dm_limit_table *table)
{
    dm_shm_close(&table->shm);
    table->page = NULL;
}

uint64_t dm_limit_table_used(const struct dm_limit_table *table)
{
    return atomic_load_explicit(&table->page->n_used, memory_order_relaxed);
}

uint64_t dm_limit_key(const struct dm_limit_table *table, uint64_t tenant_id, uint64_t limit_id, uint64_t application_id)
{
    uint64_t parts[3] = {tenant_id, limit_id, application_id};
    uint64_t key = dm_siphash(table->page->seed, dm_str_n((const char *)parts, sizeof(parts)));

    return key ? key : 1;
}

/* Claims the slot for the key if it is free or expired. */
static bool claim(struct dm_limit_page *page, struct slot *slot, uint64_t found, uint64_t key, uint64_t expires_s,
                  uint64_t now_s)
{
    if (found != 0 && atomic_load_explicit(&slot->expires_s, memory_order_relaxed) >= now_s)
        return false;
    if (!atomic_compare_exchange_strong(&slot->key, &found, key))
        return found == key;
    if (found == 0)
        atomic_fetch_add_explicit(&page->n_used, 1, memory_order_relaxed);
    else
        atomic_store(&slot->value, 0);
    atomic_store_explicit(&slot->expires_s, expires_s, memory_order_relaxed);
    return true;
}

/* T1: the key's own slot may stand behind an expired one, so it is looked for first. */
static struct slot *slot_of(struct dm_limit_table *table, uint64_t key, uint64_t expires_s, uint64_t now_s)
{
    struct dm_limit_page *page = table->page;

    for (unsigned i = 0; i < PROBES_MAX; i++) {
        struct slot *slot = &page->slots[(key + i) % DM_LIMIT_SLOTS];
        uint64_t found = atomic_load_explicit(&slot->key, memory_order_acquire);
        if (found == key)
            return slot;
        if (found == 0)
            break;
    }
    for (unsigned i = 0; i < PROBES_MAX; i++) {
        struct slot *slot = &page->slots[(key + i) % DM_LIMIT_SLOTS];
        if (claim(page, slot, atomic_load_explicit(&slot->key, memory_order_acquire), key, expires_s, now_s))
            return slot;
    }
    table->n_full++;
    return NULL;
}

static struct slot *slot_find(struct dm_limit_table *table, uint64_t key)
{
    for (unsigned i = 0; i < PROBES_MAX; i++) {
        struct slot *slot = &table->page->slots[(key + i) % DM_LIMIT_SLOTS];
        if (atomic_load_explicit(&slot->key, memory_order_acquire) == key)
            return slot;
    }
    return NULL;
}

static uint64_t pack(uint32_t window, uint64_t count)
{
    return (uint64_t)(window & 0xffffff) << COUNT_BITS | count;
}

static uint64_t count_in(uint64_t value, uint32_t window)
{
    return value >> COUNT_BITS == (window & 0xffffff) ? value & DM_LIMIT_COUNT_MAX : 0;
}

bool dm_limit_take(struct dm_limit_table *table, uint64_t key, uint32_t window, uint64_t expires_s, uint64_t now_s,
                   uint64_t amount, uint64_t max, uint64_t *ret_count)
{
    struct slot *slot = slot_of(table, key, expires_s, now_s);
    uint64_t value, count;

    *ret_count = 0;
    if (!slot)
        return true;
    max = DM_MIN(max, DM_LIMIT_COUNT_MAX);
    value = atomic_load_explicit(&slot->value, memory_order_relaxed);
    do {
        count = count_in(value, window);
        if (amount > max || count > max - amount) {
            *ret_count = count;
            return false;
        }
    } while (!atomic_compare_exchange_weak(&slot->value, &value, pack(window, count + amount)));
    if (count == 0)
        atomic_store_explicit(&slot->expires_s, expires_s, memory_order_relaxed);
    *ret_count = count + amount;
    return true;
}

void dm_limit_give_back(struct dm_limit_table *table, uint64_t key, uint32_t window, uint64_t amount)
{
    struct slot *slot = slot_find(table, key);
    uint64_t value, count;

    if (!slot)
        return;
    value = atomic_load_explicit(&slot->value, memory_order_relaxed);
    do {
        count = count_in(value, window);
        if (count < amount)
            return;
    } while (!atomic_compare_exchange_weak(&slot->value, &value, pack(window, count - amount)));
}

bool dm_limit_take_rate(struct dm_limit_table *table, uint64_t key, uint64_t now_ns, uint64_t amount, uint64_t interval_ns,
                        uint64_t burst_ns, uint64_t *ret_wait_ns)
{
    uint64_t now_s = now_ns / 1000000000, expires_s = now_s + burst_ns / 1000000000 + RATE_KEEP_S;
    struct slot *slot = slot_of(table, key, expires_s, now_s);
    uint64_t full_at, begin, after;

    *ret_wait_ns = 0;
    if (!slot)
        return true;
    full_at = atomic_load_explicit(&slot->value, memory_order_relaxed);
    do {
        begin = DM_MAX(full_at, now_ns);
        if (begin - now_ns > burst_ns) /* the clock went back, or the limit got smaller */
            begin = now_ns + burst_ns;
        after = begin + amount * interval_ns;
        if (after - now_ns > burst_ns) {
            *ret_wait_ns = after - now_ns - burst_ns;
            return false;
        }
    } while (!atomic_compare_exchange_weak(&slot->value, &full_at, after));
    if (expires_s > atomic_load_explicit(&slot->expires_s, memory_order_relaxed) + RATE_KEEP_S / 2)
        atomic_store_explicit(&slot->expires_s, expires_s, memory_order_relaxed);
    return true;
}

void dm_limit_give_back_rate(struct dm_limit_table *table, uint64_t key, uint64_t amount, uint64_t interval_ns)
{
    struct slot *slot = slot_find(table, key);

    if (slot)
        atomic_fetch_sub(&slot->value, amount * interval_ns);
}
