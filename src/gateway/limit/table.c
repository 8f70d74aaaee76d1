/* A slot's owner word: 40 bits of the key above 24 bits of time in units of 64 s, at which it may be taken over. With the
 * place in the table that is 58 bits of the key; two keys in one slot are as likely as an equal digest of that length. */
#include "gateway/limit/table.h"

#include "base/crypto.h"
#include "base/mix.h"

#include <stdatomic.h>

#define PAGE_VERSION 3
#define PROBES_MAX 32
#define COUNT_BITS 40
#define WINDOW_MASK 0xffffffu
#define TICK_SHIFT 6 /* 64 s */
#define TICK_MASK 0xffffffu
#define TICK_NEVER TICK_MASK
#define GRACE_TICKS 2 /* clocks of workers differ by less */
#define NS_PER_S UINT64_C(1000000000)
#define BUCKET_KEEP_S (UINT64_C(5) * 365 * 86400) /* a bucket that takes longer to fill is forgotten sooner */

struct slot {
    _Atomic uint64_t owner; /* 0 = free */
    _Atomic uint64_t value; /* window << 40 | count, or the bucket's time in ns */
};

struct dm_limit_page {
    _Atomic uint64_t seed[2]; /* 0 = not drawn */
    _Atomic uint64_t n_used;
    _Alignas(64) struct slot counts[DM_LIMIT_SLOTS];
    struct slot buckets[DM_LIMIT_SLOTS];
};

/* Each word is drawn once, by whoever comes first; the others take what is there. */
static void draw_seed(struct dm_limit_page *page)
{
    for (int i = 0; i < 2; i++) {
        uint64_t none = 0, drawn;

        dm_crypto_random(&drawn, sizeof(drawn));
        atomic_compare_exchange_strong(&page->seed[i], &none, drawn | 1);
    }
}

int dm_limit_table_open(struct dm_limit_table *table, const char *path, struct dm_err *err)
{
    int rc = dm_shm_open(&table->shm, path, "limits", PAGE_VERSION, sizeof(struct dm_limit_page), true, err);

    if (rc < 0)
        return rc;
    dm_shm_populate(&table->shm); /* a request touches pages of its own here */
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

uint64_t dm_limit_scope(const struct dm_limit_table *table, uint64_t tenant_id, uint64_t application_id)
{
    uint64_t seed[2] = {atomic_load_explicit(&table->page->seed[0], memory_order_relaxed),
                        atomic_load_explicit(&table->page->seed[1], memory_order_relaxed)};

    return dm_mix64(dm_mix64(tenant_id ^ seed[0]) ^ application_id ^ seed[1]);
}

uint64_t dm_limit_key(uint64_t scope, uint64_t limit_id)
{
    uint64_t key = (scope ^ limit_id) * UINT64_C(0x9e3779b97f4a7c15);

    return key ^ key >> 32;
}

/* --- slots -------------------------------------------------------------------------------------------------------- */

/* Never 0, so that an owned slot is told from a free one. */
static uint64_t tag_of(uint64_t key)
{
    return (key >> (64 - 40) | 1) << 24;
}

static uint64_t tag_in(uint64_t owner)
{
    return owner & ~(uint64_t)TICK_MASK;
}

static uint32_t tick_of(uint64_t s)
{
    uint32_t tick = (uint32_t)(s >> TICK_SHIFT) & TICK_MASK;

    return tick == TICK_NEVER ? tick - 1 : tick;
}

/* The tick from which on the slot is anybody's. */
static uint32_t expiry_of(uint64_t expires_s)
{
    return expires_s == UINT64_MAX ? TICK_NEVER : tick_of(expires_s + (GRACE_TICKS << TICK_SHIFT));
}

/* Ticks run round: what is less than half a round ahead is later. */
static bool is_later(uint32_t a, uint32_t b)
{
    return b != TICK_NEVER &&
           (a == TICK_NEVER || (((a - b) & TICK_MASK) != 0 && ((a - b) & TICK_MASK) < TICK_MASK / 2));
}

static struct slot *probe(struct slot *slots, uint64_t key, unsigned i)
{
    return &slots[(key + i) % DM_LIMIT_SLOTS];
}

/* Makes sure that the slot stays the key's until `expiry`. False: it is no longer the key's. */
static bool keep(struct slot *slot, uint64_t tag, uint32_t expiry)
{
    uint64_t owner = atomic_load(&slot->owner);

    while (tag_in(owner) == tag) {
        if (!is_later(expiry, (uint32_t)owner & TICK_MASK) ||
            atomic_compare_exchange_weak(&slot->owner, &owner, tag | expiry))
            return true;
    }
    return false;
}

static struct slot *find(struct slot *slots, uint64_t key)
{
    uint64_t tag = tag_of(key), owner;

    for (unsigned i = 0; i < PROBES_MAX; i++) {
        struct slot *slot = probe(slots, key, i);
        owner = atomic_load(&slot->owner);
        if (tag_in(owner) == tag)
            return slot;
        if (owner == 0) /* a slot that was owned once is never free again */
            return NULL;
    }
    return NULL;
}

/* Claims the slot for the key if it is free or expired. */
static bool claim(struct dm_limit_page *page, struct slot *slot, uint64_t tag, uint32_t expiry, uint32_t now)
{
    uint64_t owner = atomic_load(&slot->owner);
    bool was_free = owner == 0;

    if (!was_free && tag_in(owner) != tag && !is_later(now, (uint32_t)owner & TICK_MASK))
        return false;
    if (!atomic_compare_exchange_strong(&slot->owner, &owner, tag | expiry))
        return keep(slot, tag, expiry); /* somebody was faster, perhaps for the same key */
    if (was_free)
        atomic_fetch_add_explicit(&page->n_used, 1, memory_order_relaxed);
    return true;
}

/* T1: the key's own slot may stand behind an expired one, so it is looked for first. */
static struct slot *slot_of(struct dm_limit_table *table, struct slot *slots, uint64_t key, uint64_t expires_s,
                            uint64_t now_s)
{
    uint64_t tag = tag_of(key);
    uint32_t expiry = expiry_of(expires_s);
    struct slot *slot = find(slots, key);

    if (slot && keep(slot, tag, expiry))
        return slot;
    for (unsigned i = 0; i < PROBES_MAX; i++) {
        slot = probe(slots, key, i);
        if (claim(table->page, slot, tag, expiry, tick_of(now_s)))
            return slot;
    }
    table->n_full++;
    return NULL;
}

/* --- counts ------------------------------------------------------------------------------------------------------- */

static uint64_t pack(uint32_t window, uint64_t count)
{
    return (uint64_t)(window & WINDOW_MASK) << COUNT_BITS | count;
}

static uint64_t count_in(uint64_t value, uint32_t window)
{
    return value >> COUNT_BITS == (window & WINDOW_MASK) ? value & DM_LIMIT_COUNT_MAX : 0;
}

/* T4 */
static uint32_t window_to_use(uint64_t value, uint32_t window)
{
    return value >> COUNT_BITS == ((window + 1) & WINDOW_MASK) ? window + 1 : window;
}

bool dm_limit_take(struct dm_limit_table *table, uint64_t key, uint32_t window, uint64_t expires_s, uint64_t now_s,
                   uint64_t amount, uint64_t max, uint64_t *ret_count)
{
    struct slot *slot;
    uint64_t value, count;
    uint32_t used;

    *ret_count = 0;
    max = DM_MIN(max, DM_LIMIT_COUNT_MAX);
    if (amount > max)
        return false;
    if (!(slot = slot_of(table, table->page->counts, key, expires_s, now_s)))
        return true;
    value = atomic_load(&slot->value);
    do {
        used = window_to_use(value, window);
        *ret_count = count = count_in(value, used);
        if (count > max - amount)
            return false;
    } while (!atomic_compare_exchange_weak(&slot->value, &value, pack(used, count + amount)));
    *ret_count = count + amount;
    return true;
}

void dm_limit_give_back(struct dm_limit_table *table, uint64_t key, uint32_t window, uint64_t amount)
{
    struct slot *slot = find(table->page->counts, key);
    uint64_t value, count;

    if (!slot)
        return;
    value = atomic_load(&slot->value);
    do {
        count = count_in(value, window);
        if (count < amount)
            return;
    } while (!atomic_compare_exchange_weak(&slot->value, &value, pack(window, count - amount)));
}

/* --- buckets ------------------------------------------------------------------------------------------------------ */

bool dm_limit_take_rate(struct dm_limit_table *table, uint64_t key, uint64_t now_ns, uint64_t amount,
                        uint64_t interval_ns, uint64_t burst_ns, uint64_t *ret_wait_ns)
{
    uint64_t now_s = now_ns / NS_PER_S, full_at, begin, after;
    struct slot *slot;

    *ret_wait_ns = 0;
    if (amount > burst_ns / interval_ns)
        return false;
    if (!(slot = slot_of(table, table->page->buckets, key, now_s + DM_MIN(burst_ns / NS_PER_S, BUCKET_KEEP_S), now_s)))
        return true;
    full_at = atomic_load(&slot->value);
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
    return true;
}

void dm_limit_give_back_rate(struct dm_limit_table *table, uint64_t key, uint64_t amount, uint64_t interval_ns)
{
    struct slot *slot = find(table->page->buckets, key);
    uint64_t full_at;

    if (!slot)
        return;
    full_at = atomic_load(&slot->value);
    do {
        if (full_at < amount * interval_ns)
            return;
    } while (!atomic_compare_exchange_weak(&slot->value, &full_at, full_at - amount * interval_ns));
}
