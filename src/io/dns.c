/* The cache and the questions that wait.
 *
 * An entry is known (code and answer until expires_ns), asked (the resolver works on it), or both while an answer that ran
 * out is asked anew. Entries stand in a ring by use; the longest unused one that is neither asked nor waited for makes room.
 *
 * D1. on_done is called from the delivery task only, never from inside a dm_dns_ call.
 * D2. An answer handed out by a delivery is a copy, so callbacks may look up and cancel as they like. */
#include "io/dns.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "base/map.h"
#include "base/mem.h"
#include "io/dns_int.h"
#include "io/loop_int.h"

enum { NAME_MAX_BYTES = 253, DELIVERIES_MAX = 8 };

#define NS_PER_MS UINT64_C(1000000)

struct dm_dns_entry {
    struct dm_dns *dns;
    struct dm_dns_entry *next, *prev; /* ring by use, the latest first */
    struct dm_dns_entry *next_done;
    struct dm_dns_query *waiting;
    struct dm_dns_answer answer; /* the last good one; its own expires_ns counts for standing in */
    uint64_t expires_ns;         /* 0: not known */
    int code;
    bool is_asked, is_done;
    size_t name_len;
    char name[NAME_MAX_BYTES + 1];
};

struct dm_dns {
    struct dm_loop *loop;
    struct dm_dns_config config;
    char *servers;
    struct dm_resolver *resolver; /* made with the first question */
    struct dm_map entries;
    struct dm_dns_entry ring; /* only its links */
    struct dm_task task;
    struct dm_dns_entry *done;
    struct dm_dns_query *delivering; /* who hears of `delivered` still */
    int delivered_code;
    struct dm_dns_answer delivered, numeric;
    struct dm_dns_stats stats;
};

/* Entries */

static void ring_del(struct dm_dns_entry *entry)
{
    entry->prev->next = entry->next;
    entry->next->prev = entry->prev;
}

static void ring_add(struct dm_dns *dns, struct dm_dns_entry *entry)
{
    entry->next = dns->ring.next;
    entry->prev = &dns->ring;
    dns->ring.next->prev = entry;
    dns->ring.next = entry;
}

static void free_entry(struct dm_dns_entry *entry)
{
    ring_del(entry);
    dm_map_del(&entry->dns->entries, dm_str_n(entry->name, entry->name_len));
    dm_free(entry);
}

static bool make_room(struct dm_dns *dns)
{
    if (dns->entries.count < dns->config.entries_max)
        return true;
    for (struct dm_dns_entry *entry = dns->ring.prev; entry != &dns->ring; entry = entry->prev)
        if (!entry->is_asked && !entry->is_done && !entry->waiting) {
            free_entry(entry);
            return true;
        }
    return false;
}

/* The entry of a clean name, made when there is none; NULL when the cache is full of questions. */
static struct dm_dns_entry *find_entry(struct dm_dns *dns, struct dm_str name)
{
    struct dm_dns_entry *entry = dm_map_get(&dns->entries, name);

    if (entry) {
        ring_del(entry);
        ring_add(dns, entry);
        return entry;
    }
    if (!make_room(dns))
        return NULL;
    entry = dm_calloc(1, sizeof(*entry));
    entry->dns = dns;
    entry->name_len = name.len;
    memcpy(entry->name, name.ptr, name.len);
    ring_add(dns, entry);
    dm_map_put(&dns->entries, dm_str_n(entry->name, entry->name_len), entry);
    return entry;
}

/* Names */

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

/* Lower case, without brackets and without the dot of the root. */
static int clean_name(struct dm_str name, bool *ret_is_v6, char *ret, size_t *ret_len)
{
    *ret_is_v6 = memchr(name.ptr ? name.ptr : "", ':', name.len) != NULL;
    if (name.len > 2 && name.ptr[0] == '[' && name.ptr[name.len - 1] == ']')
        name = dm_str_n(name.ptr + 1, name.len - 2);
    if (name.len > 1 && name.ptr[name.len - 1] == '.')
        name.len--;
    if (name.len == 0 || name.len > NAME_MAX_BYTES)
        return DM_EINVAL;
    for (size_t i = 0; i < name.len; i++) {
        ret[i] = (char)(name.ptr[i] >= 'A' && name.ptr[i] <= 'Z' ? name.ptr[i] + 32 : name.ptr[i]);
        if (!is_name_char(ret[i]) && !(*ret_is_v6 && ret[i] == ':'))
            return DM_EINVAL;
    }
    ret[name.len] = '\0';
    *ret_len = name.len;
    return 0;
}

/* A name that ends in digits is an address or nothing: no server is asked whether "1.2.3.256" exists. */
static int read_numeric(const char *text, size_t len, bool is_v6, struct dm_addr *ret)
{
    struct sockaddr_in *in4 = (struct sockaddr_in *)&ret->ss;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ret->ss;
    size_t label = len;

    memset(ret, 0, sizeof(*ret));
    ret->ss.ss_family = is_v6 ? AF_INET6 : AF_INET;
    ret->len = is_v6 ? sizeof(*in6) : sizeof(*in4);
    if (inet_pton(ret->ss.ss_family, text, is_v6 ? (void *)&in6->sin6_addr : (void *)&in4->sin_addr) == 1)
        return 1;
    while (label > 0 && text[label - 1] != '.')
        label--;
    return is_v6 || strspn(text + label, "0123456789") == len - label ? DM_EINVAL : 0;
}

/* Answers */

static uint64_t clamp_ttl_ns(const struct dm_dns *dns, uint64_t ttl_ms)
{
    ttl_ms = DM_MAX(ttl_ms, dns->config.ttl_min_ms);
    return DM_MIN(ttl_ms, dns->config.ttl_max_ms) * NS_PER_MS;
}

static bool may_stand_in(const struct dm_dns_entry *entry, int code, uint64_t now_ns)
{
    return (code == DM_EIO || code == DM_ETIMEOUT) && entry->answer.count > 0 &&
           now_ns < entry->answer.expires_ns + entry->dns->config.stale_ms * NS_PER_MS;
}

static void learn(struct dm_dns_entry *entry, int code, struct dm_dns_answer *answer, uint64_t ttl_ms)
{
    struct dm_dns *dns = entry->dns;
    uint64_t now_ns = dns->loop->now_ns;

    entry->code = code;
    if (code == 0) {
        entry->answer = *answer;
        entry->answer.expires_ns = entry->expires_ns = now_ns + clamp_ttl_ns(dns, ttl_ms);
        return;
    }
    dns->stats.failed++;
    entry->expires_ns = now_ns + dns->config.negative_ttl_ms * NS_PER_MS;
    if (may_stand_in(entry, code, now_ns)) {
        dns->stats.stale++;
        entry->code = 0;
    }
}

static void on_resolved(void *arg, int code, struct dm_dns_answer *answer, uint64_t ttl_ms)
{
    struct dm_dns_entry *entry = arg;
    struct dm_dns *dns = entry->dns;

    entry->is_asked = false;
    learn(entry, code, answer, ttl_ms);
    if (!entry->waiting || entry->is_done)
        return;
    entry->is_done = true;
    entry->next_done = dns->done;
    dns->done = entry;
    dm_task_post(dns->loop, &dns->task);
}

/* Queries */

static void link_query(struct dm_dns_query **list, struct dm_dns_query *query)
{
    if ((query->next = *list))
        query->next->link = &query->next;
    *list = query;
    query->link = list;
}

static void unlink_query(struct dm_dns_query *query)
{
    if ((*query->link = query->next))
        query->next->link = query->link;
    query->link = NULL;
}

static void begin_delivery(struct dm_dns *dns, struct dm_dns_entry *entry)
{
    dns->done = entry->next_done;
    entry->is_done = false;
    dns->delivered = entry->answer;
    dns->delivered.expires_ns = entry->expires_ns;
    dns->delivered_code = entry->code;
    if ((dns->delivering = entry->waiting))
        dns->delivering->link = &dns->delivering;
    entry->waiting = NULL;
}

static void deliver(struct dm_dns *dns, struct dm_dns_query *query)
{
    int code = dns->delivered_code;

    unlink_query(query);
    dm_loop_enter(dns->loop, query->flow);
    query->on_done(query, code, code == 0 ? &dns->delivered : NULL);
}

/* Some, and the others in another turn. */
static void deliver_some(struct dm_task *task)
{
    struct dm_dns *dns = DM_CONTAINER_OF(task, struct dm_dns, task);

    for (int i = 0; i < DELIVERIES_MAX; i++) {
        while (!dns->delivering && dns->done)
            begin_delivery(dns, dns->done);
        if (!dns->delivering)
            return;
        deliver(dns, dns->delivering);
    }
    dm_task_post(dns->loop, &dns->task);
}

static int known(struct dm_dns_entry *entry, const struct dm_dns_answer **ret)
{
    if (entry->code < 0)
        return entry->code;
    *ret = &entry->answer;
    return 1;
}

static int ask(struct dm_dns_entry *entry)
{
    struct dm_dns *dns = entry->dns;

    if (!dns->resolver && !(dns->resolver = dm_resolver_new(dns->loop, &dns->config)))
        return DM_EIO;
    dns->stats.asked++;
    entry->is_asked = true;
    dm_resolver_ask(dns->resolver, entry->name, on_resolved, entry);
    return 0;
}

static int lookup_entry(struct dm_dns *dns, struct dm_dns_entry *entry, struct dm_dns_query *query,
                        const struct dm_dns_answer **ret)
{
    int rc;

    if (dns->loop->now_ns < entry->expires_ns) {
        dns->stats.hits++;
        return known(entry, ret);
    }
    if (entry->is_asked)
        dns->stats.shared++;
    else if ((rc = ask(entry)) < 0)
        return rc;
    /* /etc/hosts answers at once. */
    if (!entry->is_asked)
        return known(entry, ret);
    link_query(&entry->waiting, query);
    return 0;
}

int dm_dns_lookup(struct dm_dns *dns, struct dm_str name, struct dm_dns_query *query, const struct dm_dns_answer **ret)
{
    char clean[NAME_MAX_BYTES + 1];
    struct dm_dns_entry *entry;
    bool is_v6;
    size_t len;
    int rc;

    dns->stats.lookups++;
    if ((rc = clean_name(name, &is_v6, clean, &len)) < 0)
        return rc;
    if ((rc = read_numeric(clean, len, is_v6, &dns->numeric.addrs[0])) != 0) {
        *ret = &dns->numeric;
        return rc;
    }
    if (!(entry = find_entry(dns, dm_str_n(clean, len))))
        return DM_EBUDGET;
    return lookup_entry(dns, entry, query, ret);
}

void dm_dns_cancel(struct dm_dns *dns, struct dm_dns_query *query)
{
    if (query->link)
        unlink_query(query);
}

void dm_dns_put(struct dm_dns *dns, struct dm_str name, const struct dm_addr *addrs, size_t n, uint32_t ttl_ms)
{
    struct dm_dns_entry *entry;
    char clean[NAME_MAX_BYTES + 1];
    bool is_v6;
    size_t len;

    if (clean_name(name, &is_v6, clean, &len) < 0 || !(entry = find_entry(dns, dm_str_n(clean, len))))
        return;
    entry->code = 0;
    entry->answer.count = DM_MIN(n, DM_DNS_ADDRS_MAX);
    memcpy(entry->answer.addrs, addrs, entry->answer.count * sizeof(*addrs));
    entry->answer.expires_ns = entry->expires_ns = dns->loop->now_ns + ttl_ms * NS_PER_MS;
}

/* Life */

static void set_default(uint32_t *value, uint32_t fallback)
{
    if (*value == 0)
        *value = fallback;
}

struct dm_dns *dm_dns_new(struct dm_loop *loop, const struct dm_dns_config *config)
{
    struct dm_dns *dns = dm_calloc(1, sizeof(*dns));
    uint8_t seed[16];

    dns->loop = loop;
    dns->config = *config;
    if (config->servers)
        dns->config.servers = dns->servers = dm_strdup(dm_str_of(config->servers));
    set_default(&dns->config.ttl_min_ms, 1000);
    set_default(&dns->config.ttl_max_ms, 300000);
    set_default(&dns->config.negative_ttl_ms, 2000);
    set_default(&dns->config.stale_ms, 60000);
    set_default(&dns->config.timeout_ms, 2000);
    set_default(&dns->config.tries, 2);
    if (dns->config.entries_max == 0)
        dns->config.entries_max = 4096;
    loop->sys->ops->random(loop->sys, seed, sizeof(seed));
    dm_map_init(&dns->entries, seed);
    dns->ring.next = dns->ring.prev = &dns->ring;
    dns->task = (struct dm_task){.run = deliver_some, .flow = dm_loop_platform(loop)};
    dns->numeric = (struct dm_dns_answer){.count = 1, .expires_ns = UINT64_MAX};
    return dns;
}

static void drop_waiting(struct dm_dns_entry *entry)
{
    while (entry->waiting)
        unlink_query(entry->waiting);
}

void dm_dns_free(struct dm_dns *dns)
{
    if (!dns)
        return;
    dm_resolver_free(dns->resolver);
    dm_task_cancel(dns->loop, &dns->task);
    while (dns->delivering)
        unlink_query(dns->delivering);
    while (dns->ring.next != &dns->ring) {
        drop_waiting(dns->ring.next);
        free_entry(dns->ring.next);
    }
    dm_map_done(&dns->entries);
    dm_free(dns->servers);
    dm_free(dns);
}

const struct dm_dns_stats *dm_dns_stats(const struct dm_dns *dns)
{
    return &dns->stats;
}
