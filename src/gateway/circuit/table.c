/* limit: 32 bits of the base as a float, 31 of the limit in sixteenths, 1 of whether it is proven.
 * word:  12 bits of the tag, 2 of the state, 5 of the level (31: held), 7 of probes that passed, 38 of the time in ms (of the state's
 *        beginning; of HALF_OPEN when the lease was last renewed, 0: nobody has it).
 * hold:  62 bits of Unix time in ms, 2 of the mode. */
#include "gateway/circuit/table.h"

#include "base/crypto.h"
#include "base/mix.h"
#include "model/backend.h"
#include "snapshot/unit.h"

#define PAGE_VERSION 1
#define TAG_BITS 12
#define TIME_BITS 38
#define TIME_MASK ((UINT64_C(1) << TIME_BITS) - 1)
#define PASSED_SHIFT TIME_BITS
#define PASSED_MASK 127u
#define LEVEL_SHIFT (PASSED_SHIFT + 7)
#define LEVEL_MASK 31u
#define LEVEL_HELD 31u
#define STATE_SHIFT (LEVEL_SHIFT + 5)
#define STATE_MASK 3u
#define TAG_SHIFT (STATE_SHIFT + 2)
#define HOLD_MODE_MASK 3u
#define CHANGE_WORDS 5
#define LIMIT_UNIT 16.0f

_Static_assert(TAG_SHIFT + TAG_BITS == 64, "a word is full");
_Static_assert(DM_BREAKER_LEVEL_MAX < LEVEL_HELD, "a level is told from held");

struct entry {
    struct dm_circuit_entry head;
    _Atomic uint64_t key; /* 0 = free */
    _Atomic uint64_t touched_ms;
    _Atomic uint64_t tenant_id;
    _Atomic uint64_t limit;
    _Atomic uint32_t n_told;
    uint32_t unused[3];
    char tenant[DM_CIRCUIT_NAME_MAX], backend[DM_CIRCUIT_NAME_MAX];
    _Atomic uint64_t changes[DM_CIRCUIT_CHANGES][CHANGE_WORDS];
};
_Static_assert(sizeof(struct entry) == 512, "whole cache lines, the words that are read for each call in the first");

struct dm_circuit_page {
    _Atomic uint64_t seed[2]; /* 0 = not drawn */
    _Atomic uint64_t n_used, n_changes;
    _Alignas(64) struct entry entries[DM_CIRCUIT_ENTRIES];
};

/* Each word is drawn once, by whoever comes first. */
static void draw_seed(struct dm_circuit_page *page)
{
    for (int i = 0; i < 2; i++) {
        uint64_t none = 0, drawn;

        dm_crypto_random(&drawn, sizeof(drawn));
        atomic_compare_exchange_strong(&page->seed[i], &none, drawn | 1);
    }
}

int dm_circuit_table_open(struct dm_circuit_table *table, const char *path, struct dm_err *err)
{
    int rc = dm_shm_open(&table->shm, path, "circuits", PAGE_VERSION, sizeof(struct dm_circuit_page), true, err);

    if (rc < 0)
        return rc;
    table->page = table->shm.ptr;
    table->n_full = 0;
    draw_seed(table->page);
    return 0;
}

void dm_circuit_table_close(struct dm_circuit_table *table)
{
    dm_shm_close(&table->shm);
    table->page = NULL;
}

uint64_t dm_circuit_table_changes(const struct dm_circuit_table *table)
{
    return atomic_load(&table->page->n_changes);
}

uint64_t dm_circuit_table_used(const struct dm_circuit_table *table)
{
    return atomic_load_explicit(&table->page->n_used, memory_order_relaxed);
}

/* --- words -------------------------------------------------------------------------------------------------------- */

static uint64_t tag_in(uint64_t word)
{
    return word >> TAG_SHIFT;
}

static uint64_t pack(uint64_t tag, const struct dm_breaker_view *view)
{
    uint64_t level = view->is_held ? LEVEL_HELD : view->level;

    return tag << TAG_SHIFT | (uint64_t)view->state << STATE_SHIFT | level << LEVEL_SHIFT |
           (uint64_t)(view->passed & PASSED_MASK) << PASSED_SHIFT | (view->since_ms & TIME_MASK);
}

static struct dm_breaker_view unpack(uint64_t word)
{
    uint64_t level = word >> LEVEL_SHIFT & LEVEL_MASK, state = word >> STATE_SHIFT & STATE_MASK;

    return (struct dm_breaker_view){.state =
                                        state < DM_BREAKER_STATES ? (enum dm_breaker_state)state : DM_BREAKER_CLOSED,
                                    .is_held = level == LEVEL_HELD,
                                    .level = level == LEVEL_HELD ? 0 : (uint8_t)level,
                                    .passed = (uint8_t)(word >> PASSED_SHIFT & PASSED_MASK),
                                    .since_ms = word & TIME_MASK};
}

/* Never 0, so that a word which was written is told from one that was not. */
static uint64_t tag_of(uint64_t key, uint64_t what)
{
    uint64_t tag = dm_mix64(key ^ what) >> (64 - TAG_BITS);

    return tag > 0 ? tag : 1;
}

/* --- entries ------------------------------------------------------------------------------------------------------ */

static struct entry *entry_of(struct dm_circuit_entry *head)
{
    return DM_CONTAINER_OF(head, struct entry, head);
}

static uint64_t key_of(const struct dm_circuit_page *page, uint64_t tenant_id, struct dm_str tenant,
                       struct dm_str backend)
{
    uint64_t seed[2] = {atomic_load_explicit(&page->seed[0], memory_order_relaxed),
                        atomic_load_explicit(&page->seed[1], memory_order_relaxed)};
    uint64_t key = dm_mix64(dm_mix64(tenant_id ^ seed[0]) ^ dm_unit_name_id(tenant) ^ seed[1]);

    key = dm_mix64(key ^ dm_unit_name_id(backend));
    return key > 0 ? key : 1;
}

/* A time ahead of ours by more than processes differ is of another boot. */
static bool is_stale(const struct entry *entry, uint64_t now_ms)
{
    uint64_t touched_ms = atomic_load_explicit(&entry->touched_ms, memory_order_relaxed);

    return touched_ms + DM_CIRCUIT_STALE_MS < now_ms || touched_ms > now_ms + DM_CIRCUIT_STALE_MS;
}

static struct entry *place(struct dm_circuit_page *page, uint64_t key, unsigned i)
{
    return &page->entries[(key + i) % DM_CIRCUIT_ENTRIES];
}

static struct entry *find(struct dm_circuit_page *page, uint64_t key)
{
    for (unsigned i = 0; i < DM_CIRCUIT_PROBES; i++) {
        struct entry *entry = place(page, key, i);
        uint64_t owner = atomic_load(&entry->key);
        if (owner == key)
            return entry;
        if (owner == 0) /* one that was owned once is never free again */
            return NULL;
    }
    return NULL;
}

/* Touched first, so that it is not taken away again before it is ours. */
static bool claim(struct dm_circuit_page *page, struct entry *entry, uint64_t key, uint64_t now_ms)
{
    uint64_t owner = atomic_load(&entry->key);

    if (owner != 0 && !is_stale(entry, now_ms))
        return false;
    atomic_store_explicit(&entry->touched_ms, now_ms, memory_order_relaxed);
    if (!atomic_compare_exchange_strong(&entry->key, &owner, key))
        return owner == key;
    if (owner == 0)
        atomic_fetch_add_explicit(&page->n_used, 1, memory_order_relaxed);
    atomic_store(&entry->head.hold, 0);
    return true;
}

static void set_name(char ret[DM_CIRCUIT_NAME_MAX], struct dm_str name)
{
    char padded[DM_CIRCUIT_NAME_MAX] = {0};

    memcpy(padded, name.ptr, DM_MIN(name.len, sizeof(padded)));
    if (memcmp(ret, padded, sizeof(padded)) != 0)
        memcpy(ret, padded, sizeof(padded));
}

/* All that name it write the same, so it is there whoever dies. */
static struct entry *entry_for(struct dm_circuit_table *table, const struct dm_circuit_name *name, uint64_t now_ms,
                               uint64_t *ret_key)
{
    uint64_t key = key_of(table->page, name->tenant_id, name->tenant, name->backend);
    struct entry *entry = find(table->page, key);

    for (unsigned i = 0; !entry && i < DM_CIRCUIT_PROBES; i++)
        if (claim(table->page, place(table->page, key, i), key, now_ms))
            entry = place(table->page, key, i);
    if (!entry) {
        table->n_full++;
        return NULL;
    }
    atomic_store_explicit(&entry->touched_ms, now_ms, memory_order_relaxed);
    atomic_store_explicit(&entry->tenant_id, name->tenant_id, memory_order_relaxed);
    set_name(entry->tenant, name->tenant);
    set_name(entry->backend, name->backend);
    *ret_key = key;
    return entry;
}

/* X4 */
static void begin_anew(struct dm_circuit *c, uint64_t now_ms)
{
    struct dm_breaker_view closed = {.state = DM_BREAKER_CLOSED, .since_ms = now_ms};
    uint64_t word = atomic_load(&c->entry->word);

    while (tag_in(word) != c->tag)
        if (atomic_compare_exchange_weak(&c->entry->word, &word, pack(c->tag, &closed))) {
            atomic_store(&entry_of(c->entry)->limit, 0);
            return;
        }
}

void dm_circuit_join(struct dm_circuit_table *table, struct dm_circuit *c, const struct dm_circuit_name *name,
                     uint64_t what, uint64_t now_ms)
{
    struct entry *entry;
    uint64_t key;

    *c = (struct dm_circuit){0};
    if (!table || !table->page || !(entry = entry_for(table, name, now_ms, &key)))
        return;
    c->entry = &entry->head;
    c->tag = tag_of(key, what);
    c->touched_ms = now_ms;
    begin_anew(c, now_ms);
}

bool dm_circuit_read(struct dm_circuit *c, struct dm_breaker_view *ret)
{
    uint64_t word;

    if (!c->entry)
        return false;
    word = atomic_load(&c->entry->word);
    if (tag_in(word) != c->tag) {
        *c = (struct dm_circuit){0};
        return false;
    }
    c->seen = word;
    *ret = unpack(word);
    return true;
}

int dm_circuit_hold(struct dm_circuit *c)
{
    if (!c->entry)
        return DM_BREAKER_AUTO;
    c->seen_hold = atomic_load(&c->entry->hold);
    return (int)(c->seen_hold & HOLD_MODE_MASK) % DM_BREAKER_MODES;
}

bool dm_circuit_put(struct dm_circuit *c, const struct dm_breaker_view *view)
{
    uint64_t word = pack(c->tag, view), seen = c->seen;

    if (!c->entry || word == seen)
        return true;
    if (!atomic_compare_exchange_strong(&c->entry->word, &seen, word))
        return false;
    c->seen = word;
    return true;
}

bool dm_circuit_is_lease_over(const struct dm_circuit *c, uint64_t now_ms)
{
    uint64_t since_ms = unpack(c->seen).since_ms;

    return c->entry && (since_ms + DM_CIRCUIT_LEASE_MS <= now_ms || since_ms > now_ms + DM_CIRCUIT_LEASE_MS);
}

void dm_circuit_touch(struct dm_circuit *c, uint64_t now_ms)
{
    if (!c->entry || now_ms - c->touched_ms < DM_CIRCUIT_TOUCH_MS)
        return;
    c->touched_ms = now_ms;
    if (tag_in(atomic_load(&c->entry->word)) == c->tag)
        atomic_store_explicit(&entry_of(c->entry)->touched_ms, now_ms, memory_order_relaxed);
}

/* --- limits ------------------------------------------------------------------------------------------------------- */

static uint64_t pack_limit(const struct dm_circuit_limit *limit)
{
    uint64_t units = (uint64_t)DM_MIN(DM_MAX(limit->limit, 0.0f) * LIMIT_UNIT, 2e9f);
    uint32_t base;

    memcpy(&base, &limit->base, sizeof(base));
    return (uint64_t)base << 32 | units << 1 | limit->is_proven;
}

static struct dm_circuit_limit unpack_limit(uint64_t packed)
{
    struct dm_circuit_limit limit = {.limit = (float)((uint32_t)packed >> 1) / LIMIT_UNIT, .is_proven = packed & 1};
    uint32_t base = (uint32_t)(packed >> 32);

    memcpy(&limit.base, &base, sizeof(base));
    return limit;
}

struct dm_circuit_limit dm_circuit_limit(const struct dm_circuit *c)
{
    if (!c->entry || tag_in(atomic_load(&c->entry->word)) != c->tag)
        return (struct dm_circuit_limit){0};
    return unpack_limit(atomic_load(&entry_of(c->entry)->limit));
}

void dm_circuit_set_limit(struct dm_circuit *c, struct dm_circuit_limit limit)
{
    if (c->entry && tag_in(atomic_load(&c->entry->word)) == c->tag)
        atomic_store(&entry_of(c->entry)->limit, pack_limit(&limit));
}

/* --- changes ------------------------------------------------------------------------------------------------------- */

/* The first word: its number above the lower half of the key (X3). */
static uint64_t change_head(uint64_t key, uint32_t number)
{
    return (uint64_t)number << 32 | (uint32_t)key;
}

static void write_change(struct entry *entry, const struct dm_circuit_change *e, uint32_t number)
{
    _Atomic uint64_t *to = entry->changes[number % DM_CIRCUIT_CHANGES];
    uint64_t words[CHANGE_WORDS] = {
        0,
        e->at_ms << 16 | e->run,
        (uint64_t)e->open_for_ms << 32 | (uint64_t)e->from << 30 | (uint64_t)e->to << 28 | (uint64_t)e->cause << 24 |
            (uint64_t)e->endpoints << 8 | e->endpoints_out,
        (uint64_t)e->calls << 32 | e->failed,
        (uint64_t)e->slow << 32 | e->lasted_ms,
    };

    atomic_store(&to[0], 0);
    for (int i = 1; i < CHANGE_WORDS; i++)
        atomic_store(&to[i], words[i]);
    atomic_store(&to[0], change_head(atomic_load(&entry->key), number));
}

/* X6. False: it is not there, or not whole. */
static bool read_change(const struct entry *entry, uint64_t key, uint32_t number, struct dm_circuit_change *ret)
{
    const _Atomic uint64_t *from = entry->changes[number % DM_CIRCUIT_CHANGES];
    uint64_t words[CHANGE_WORDS];

    for (int i = 0; i < CHANGE_WORDS; i++)
        words[i] = atomic_load(&from[i]);
    if (words[0] != change_head(key, number) || atomic_load(&from[0]) != words[0])
        return false;
    *ret = (struct dm_circuit_change){.number = number,
                                      .at_ms = words[1] >> 16,
                                      .run = (uint16_t)words[1],
                                      .open_for_ms = (uint32_t)(words[2] >> 32),
                                      .from = (enum dm_breaker_state)(words[2] >> 30 & 3),
                                      .to = (enum dm_breaker_state)(words[2] >> 28 & 3),
                                      .cause = (enum dm_breaker_cause)(words[2] >> 24 & 15),
                                      .endpoints = (uint8_t)(words[2] >> 8),
                                      .endpoints_out = (uint8_t)words[2],
                                      .calls = (uint32_t)(words[3] >> 32),
                                      .failed = (uint32_t)words[3],
                                      .slow = (uint32_t)(words[4] >> 32),
                                      .lasted_ms = (uint32_t)words[4]};
    return ret->from < DM_BREAKER_STATES && ret->to < DM_BREAKER_STATES && ret->cause < DM_BREAKER_CAUSES;
}

void dm_circuit_tell(struct dm_circuit *c, struct dm_circuit_table *table, const struct dm_circuit_change *change)
{
    struct entry *entry = c->entry ? entry_of(c->entry) : NULL;

    if (!entry)
        return;
    write_change(entry, change, atomic_fetch_add(&entry->n_told, 1) + 1);
    atomic_fetch_add(&table->page->n_changes, 1);
}

/* --- the keeper's ------------------------------------------------------------------------------------------------- */

static void read_changes(const struct entry *entry, uint64_t key, struct dm_circuit_report *ret)
{
    ret->n_changes = atomic_load(&entry->n_told);
    for (uint32_t i = DM_CIRCUIT_CHANGES; i-- > 0;)
        if (i < ret->n_changes && read_change(entry, key, ret->n_changes - i, &ret->changes[ret->n_listed]))
            ret->n_listed++;
}

static struct dm_str read_name(const char from[DM_CIRCUIT_NAME_MAX], char ret[DM_CIRCUIT_NAME_MAX + 1])
{
    memcpy(ret, from, DM_CIRCUIT_NAME_MAX);
    ret[DM_CIRCUIT_NAME_MAX] = '\0';
    return dm_str_of(ret);
}

/* Names that do not belong to the key are those of who had it before, or half written. */
static bool read_entry(const struct dm_circuit_page *page, const struct entry *entry, struct dm_circuit_info *ret)
{
    uint64_t key = atomic_load(&entry->key), hold = atomic_load(&entry->head.hold);
    struct dm_breaker_view view = unpack(atomic_load(&entry->head.word));
    struct dm_circuit_report *report = &ret->report;

    *report = (struct dm_circuit_report){.tenant_id = atomic_load_explicit(&entry->tenant_id, memory_order_relaxed),
                                         .tenant = read_name(entry->tenant, ret->names[0]),
                                         .backend = read_name(entry->backend, ret->names[1]),
                                         .state = view.state,
                                         .is_held = view.is_held,
                                         .hold = (int)(hold & HOLD_MODE_MASK) % DM_BREAKER_MODES,
                                         .hold_until_ms = hold >> 2};
    ret->limit = unpack_limit(atomic_load_explicit(&entry->limit, memory_order_relaxed));
    read_changes(entry, key, report);
    return key == key_of(page, report->tenant_id, report->tenant, report->backend) && atomic_load(&entry->key) == key;
}

bool dm_circuit_table_next(const struct dm_circuit_table *table, size_t *at, uint64_t now_ms,
                           struct dm_circuit_info *ret)
{
    while (*at < DM_CIRCUIT_ENTRIES) {
        const struct entry *entry = &table->page->entries[(*at)++];
        if (atomic_load_explicit(&entry->key, memory_order_relaxed) != 0 && !is_stale(entry, now_ms) &&
            read_entry(table->page, entry, ret))
            return true;
    }
    return false;
}

void dm_circuit_table_touch(struct dm_circuit_table *table, size_t at, uint64_t now_ms)
{
    atomic_store_explicit(&table->page->entries[at - 1].touched_ms, now_ms, memory_order_relaxed);
}

/* The state that people's word makes of what is there. */
static struct dm_breaker_view held_view(int mode, uint64_t now_ms)
{
    return (struct dm_breaker_view){.state = mode == DM_BREAKER_HELD_OPEN ? DM_BREAKER_OPEN : DM_BREAKER_CLOSED,
                                    .is_held = mode != DM_BREAKER_AUTO,
                                    .since_ms = now_ms};
}

static void tell_hold(struct dm_circuit_table *table, struct dm_circuit *c, const struct dm_breaker_view *before,
                      const struct dm_breaker_view *after, uint64_t wall_ms)
{
    struct dm_circuit_change change = {.at_ms = wall_ms,
                                       .from = before->state,
                                       .to = after->state,
                                       .cause = DM_BREAKER_HAND,
                                       .open_for_ms = after->state == DM_BREAKER_OPEN ? DM_CIRCUIT_FOREVER : 0};

    if (before->state != DM_BREAKER_HALF_OPEN && after->since_ms > before->since_ms)
        change.lasted_ms = (uint32_t)DM_MIN(after->since_ms - before->since_ms, (uint64_t)UINT32_MAX);
    dm_circuit_tell(c, table, &change);
}

bool dm_circuit_table_hold(struct dm_circuit_table *table, const struct dm_circuit_hold *hold, uint64_t now_ms,
                           uint64_t wall_ms)
{
    struct dm_circuit_name name = {hold->tenant_id, hold->tenant, hold->backend};
    struct dm_breaker_view after = held_view(hold->mode, now_ms), before;
    struct dm_circuit c = {0};
    struct entry *entry;
    uint64_t key;

    if (!(entry = entry_for(table, &name, now_ms, &key)))
        return false;
    c.entry = &entry->head;
    atomic_store(&c.entry->hold, hold->mode == DM_BREAKER_AUTO ? 0 : hold->until_ms << 2 | (uint64_t)hold->mode);
    do {
        c.seen = atomic_load(&c.entry->word);
        c.tag = tag_in(c.seen);
        before = unpack(c.seen);
    } while (!dm_circuit_put(&c, &after));
    if (before.state != after.state)
        tell_hold(table, &c, &before, &after, wall_ms);
    else
        atomic_fetch_add(&table->page->n_changes, 1);
    return true;
}
