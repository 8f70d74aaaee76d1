#include "gateway/lobby.h"

#include "base/crypto.h"
#include "base/freelist.h"
#include "base/mem.h"
#include "model/cidr.h"

#define CLASSES 32
#define KEY_BYTES 17 /* family, address */

struct link {
    struct link *next, *prev;
};

struct source {
    struct source *next_in_bucket;
    struct link link;   /* among those of its class; the one that is longest in it first */
    struct link guests; /* head; who came first is first */
    uint32_t count;
    uint8_t key[KEY_BYTES];
};

struct dm_lobby_guest {
    struct link link;
    struct source *source;
    void *who;
};

struct dm_lobby {
    struct dm_lobby_settings settings;
    uint8_t seed[16];
    struct link classes[CLASSES]; /* heads; by the power of two in the source's count */
    uint32_t occupied;            /* a bit for each class that has any */
    size_t n_guests, n_sources;
    struct dm_freelist guests, sources;
    size_t n_buckets; /* a power of two */
    struct source *buckets[];
};

/* --- lists -------------------------------------------------------------------------------------------------------- */

static void list_init(struct link *head)
{
    head->next = head->prev = head;
}

static bool list_is_empty(const struct link *head)
{
    return head->next == head;
}

static void list_add(struct link *head, struct link *link)
{
    link->prev = head->prev;
    link->next = head;
    head->prev->next = link;
    head->prev = link;
}

static void list_del(struct link *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
}

/* --- sources ------------------------------------------------------------------------------------------------------ */

static unsigned class_of(uint32_t count)
{
    return 31u - (unsigned)__builtin_clz(count);
}

static void enter_class(struct dm_lobby *lobby, struct source *source)
{
    unsigned class = class_of(source->count);

    list_add(&lobby->classes[class], &source->link);
    lobby->occupied |= UINT32_C(1) << class;
}

static void leave_class(struct dm_lobby *lobby, struct source *source)
{
    unsigned class = class_of(source->count);

    list_del(&source->link);
    if (list_is_empty(&lobby->classes[class]))
        lobby->occupied &= ~(UINT32_C(1) << class);
}

/* The bits behind the prefix are 0. */
static void key_of(const struct dm_lobby *lobby, const struct dm_addr *from, uint8_t ret[KEY_BYTES])
{
    struct dm_cidr address;
    unsigned bits;

    memset(ret, 0, KEY_BYTES);
    if (dm_cidr_of_addr(from, &address) < 0)
        return;
    bits = address.family == 4 ? lobby->settings.ipv4_bits : lobby->settings.ipv6_bits;
    ret[0] = address.family;
    memcpy(ret + 1, address.bytes, bits / 8);
    if (bits % 8 != 0)
        ret[1 + bits / 8] = (uint8_t)(address.bytes[bits / 8] & (0xffu << (8 - bits % 8)));
}

/* Where the pointer to it is, or would be. */
static struct source **find(struct dm_lobby *lobby, const uint8_t key[KEY_BYTES])
{
    uint64_t hash = dm_siphash(lobby->seed, dm_str_n((const char *)key, KEY_BYTES));
    struct source **at = &lobby->buckets[hash & (lobby->n_buckets - 1)];

    while (*at && memcmp((*at)->key, key, KEY_BYTES) != 0)
        at = &(*at)->next_in_bucket;
    return at;
}

static struct source *source_new(struct dm_lobby *lobby, struct source **at, const uint8_t key[KEY_BYTES])
{
    struct source *source = dm_freelist_take(&lobby->sources);

    source->next_in_bucket = NULL;
    source->count = 0;
    memcpy(source->key, key, KEY_BYTES);
    list_init(&source->guests);
    lobby->n_sources++;
    return *at = source;
}

static void source_free(struct dm_lobby *lobby, struct source *source)
{
    struct source **at = find(lobby, source->key);

    *at = source->next_in_bucket;
    lobby->n_sources--;
    dm_freelist_give(&lobby->sources, source);
}

/* --- guests ------------------------------------------------------------------------------------------------------- */

static struct dm_lobby_guest *guest_new(struct dm_lobby *lobby, struct source *source)
{
    struct dm_lobby_guest *guest = dm_freelist_take(&lobby->guests);

    *guest = (struct dm_lobby_guest){.source = source};
    list_add(&source->guests, &guest->link);
    if (source->count > 0)
        leave_class(lobby, source);
    source->count++;
    enter_class(lobby, source);
    lobby->n_guests++;
    return guest;
}

void dm_lobby_leave(struct dm_lobby *lobby, struct dm_lobby_guest *guest)
{
    struct source *source = guest->source;

    list_del(&guest->link);
    leave_class(lobby, source);
    if (--source->count > 0)
        enter_class(lobby, source);
    else
        source_free(lobby, source);
    lobby->n_guests--;
    dm_freelist_give(&lobby->guests, guest);
}

void dm_lobby_set_who(struct dm_lobby_guest *guest, void *who)
{
    guest->who = who;
}

static unsigned highest_class(const struct dm_lobby *lobby)
{
    return class_of(lobby->occupied);
}

/* Y2 */
static bool has_many(const struct dm_lobby *lobby, const struct source *source)
{
    return source && class_of(source->count + 1) >= highest_class(lobby);
}

static void *send_one_away(struct dm_lobby *lobby)
{
    struct source *largest = DM_CONTAINER_OF(lobby->classes[highest_class(lobby)].next, struct source, link);
    struct dm_lobby_guest *guest = DM_CONTAINER_OF(largest->guests.next, struct dm_lobby_guest, link);
    void *who = guest->who;

    dm_lobby_leave(lobby, guest);
    return who;
}

enum dm_lobby_verdict dm_lobby_enter(struct dm_lobby *lobby, const struct dm_addr *from, struct dm_lobby_guest **ret,
                                     void **ret_gone)
{
    uint8_t key[KEY_BYTES];
    struct source **at;

    *ret_gone = NULL;
    key_of(lobby, from, key);
    at = find(lobby, key);
    if (*at && (*at)->count >= lobby->settings.source_max)
        return DM_LOBBY_SOURCE_HAS_MANY;
    if (DM_UNLIKELY(lobby->n_guests >= lobby->settings.max)) {
        if (has_many(lobby, *at))
            return DM_LOBBY_FULL;
        *ret_gone = send_one_away(lobby);
        at = find(lobby, key); /* a source may have gone */
    }
    *ret = guest_new(lobby, *at ? *at : source_new(lobby, at, key));
    return DM_LOBBY_ENTERED;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

struct dm_lobby *dm_lobby_new(const struct dm_lobby_settings *settings, const uint8_t seed[16])
{
    size_t n_buckets = 16;
    struct dm_lobby *lobby;

    while (n_buckets < settings->max)
        n_buckets *= 2;
    lobby = dm_calloc(1, sizeof(*lobby) + n_buckets * sizeof(lobby->buckets[0]));
    lobby->settings = *settings;
    lobby->n_buckets = n_buckets;
    memcpy(lobby->seed, seed, sizeof(lobby->seed));
    for (size_t i = 0; i < CLASSES; i++)
        list_init(&lobby->classes[i]);
    dm_freelist_init(&lobby->guests, sizeof(struct dm_lobby_guest), settings->max);
    dm_freelist_init(&lobby->sources, sizeof(struct source), settings->max);
    return lobby;
}

void dm_lobby_free(struct dm_lobby *lobby)
{
    if (!lobby)
        return;
    dm_freelist_done(&lobby->guests);
    dm_freelist_done(&lobby->sources);
    dm_free(lobby);
}

size_t dm_lobby_count(const struct dm_lobby *lobby)
{
    return lobby->n_guests;
}

size_t dm_lobby_sources(const struct dm_lobby *lobby)
{
    return lobby->n_sources;
}
