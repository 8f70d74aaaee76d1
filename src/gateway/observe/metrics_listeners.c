#include "gateway/observe/metrics_int.h"

/* All behind the name. */
#define LISTENER_WORDS                                                                                                 \
    ((sizeof(struct dm_listener_counters) - offsetof(struct dm_listener_counters, stats)) / sizeof(uint64_t))
_Static_assert(LISTENER_WORDS * sizeof(uint64_t) + offsetof(struct dm_listener_counters, stats) ==
                   sizeof(struct dm_listener_counters),
               "the counters are all uint64_t");
#define LISTENER(member) offsetof(struct dm_listener_counters, member)

/* Of all workers that have it at its place: one that has not started with these options yet has another one there. */
static void sum_listener(const struct dm_metrics_view *view, size_t at, struct dm_listener_counters *ret)
{
    uint64_t *to = (uint64_t *)&ret->stats;

    memset(ret, 0, sizeof(*ret));
    for (size_t w = 0; w < view->n_workers * DM_METRICS_SEATS; w++) {
        const struct dm_counters_page *page = view->workers[w / DM_METRICS_SEATS].pages[w % DM_METRICS_SEATS];
        const struct dm_listener_counters *from;
        if (!page)
            continue;
        from = &page->listeners[at];
        if (strncmp(from->name, view->listeners[at].name, sizeof(from->name)) != 0)
            continue;
        for (size_t i = 0; i < LISTENER_WORDS; i++)
            to[i] += __atomic_load_n((const uint64_t *)&from->stats + i, __ATOMIC_RELAXED);
    }
}

/* One family with a second label. all: also those that did not occur. */
struct listener_family {
    const char *name, *help, *label;
    size_t at, count; /* of its numbers in the stats */
    const char *(*name_of)(int i);
    bool all;
};

static const char *refusal_name(int i)
{
    return dm_http_refusal_name((enum dm_http_refusal)i);
}

static const char *timeout_name(int i)
{
    return dm_http_timeout_name((enum dm_http_timeout)i);
}

static const char *fault_name(int i)
{
    return dm_http_fault_name((enum dm_http_fault)i);
}

static const char *http2_name(int i)
{
    return dm_http2_counter_name((size_t)i);
}

static const char *http2_code_name(int i)
{
    return dm_http2_code_name((enum dm_http2_code)i);
}

static const struct listener_family listener_families[] = {
    {"daemun_listener_refused_total", "Connections that were not served, by reason.", "reason", LISTENER(stats.refused),
     DM_HTTP_REFUSAL_COUNT, refusal_name, true},
    {"daemun_listener_timeouts_total", "Connections and requests that were given up, by what did not come in time.",
     "what", LISTENER(stats.timeouts), DM_HTTP_TIMEOUT_COUNT, timeout_name, true},
    {"daemun_listener_faults_total", "Requests that were none or above a limit, by fault.", "fault",
     LISTENER(stats.faults), DM_HTTP_FAULT_COUNT, fault_name, false},
    {"daemun_listener_http2_refused_total", "HTTP/2 connections ended and streams reset, by what the client did.",
     "reason", LISTENER(stats.http2), DM_HTTP2_COUNTER_COUNT, http2_name, true},
    {"daemun_listener_http2_goaways_total", "GOAWAY sent, by error code.", "code", LISTENER(stats.http2.goaways),
     DM_HTTP2_CODE_COUNT, http2_code_name, false},
    {"daemun_listener_http2_resets_total", "RST_STREAM sent, by error code.", "code", LISTENER(stats.http2.resets),
     DM_HTTP2_CODE_COUNT, http2_code_name, false},
};

static void write_listener_family(const struct dm_metrics_view *view, const struct dm_listener_counters *sums,
                                  const struct listener_family *family, struct dm_buf *ret)
{
    dm_metrics_begin(ret, family->name, "counter", family->help);
    for (size_t i = 0; i < view->n_listeners; i++) {
        const uint64_t *numbers = (const uint64_t *)(const void *)((const char *)&sums[i] + family->at);
        for (size_t n = 0; n < family->count; n++) {
            if (numbers[n] == 0 && !family->all)
                continue;
            dm_metrics_begin_sample(ret, family->name, "", "listener", dm_str_of(view->listeners[i].name));
            dm_metrics_add_label(ret, family->label, family->name_of((int)n));
            dm_metrics_end_sample(ret, numbers[n]);
        }
    }
}

static void write_listener_number(const struct dm_metrics_view *view, const struct dm_listener_counters *sums,
                                  const struct dm_metrics_family *family, struct dm_buf *ret)
{
    dm_metrics_begin(ret, family->name, family->type, family->help);
    for (size_t i = 0; i < view->n_listeners; i++) {
        dm_metrics_begin_sample(ret, family->name, "", "listener", dm_str_of(view->listeners[i].name));
        dm_metrics_end_sample(ret, *(const uint64_t *)(const void *)((const char *)&sums[i] + family->offset));
    }
}

void dm_metrics_write_listeners(const struct dm_metrics_view *view, struct dm_buf *ret)
{
    static const struct dm_metrics_family numbers[] = {
        {"daemun_listener_connections", "gauge", "Client connections open.", LISTENER(stats.connections), 0},
        {"daemun_listener_lobby_connections", "gauge",
         "Client connections open that have named no tenant yet, but for trusted fronts'.", LISTENER(lobby_connections),
         0},
        {"daemun_listener_lobby_sources", "gauge", "Sources of those connections, counted in each worker.",
         LISTENER(lobby_sources), 0},
        {"daemun_listener_connections_total", "counter", "Client connections taken.", LISTENER(stats.accepted), 0},
    };
    struct dm_listener_counters sums[DM_LISTENERS_MAX];

    for (size_t i = 0; i < view->n_listeners; i++)
        sum_listener(view, i, &sums[i]);
    for (size_t i = 0; i < DM_COUNT(numbers); i++)
        write_listener_number(view, sums, &numbers[i], ret);
    for (size_t i = 0; i < DM_COUNT(listener_families); i++)
        write_listener_family(view, sums, &listener_families[i], ret);
}
