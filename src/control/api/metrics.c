#include <pthread.h>

#include "control/api/metrics.h"
#include "base/mem.h"

/* Upper bounds of the latency buckets, in seconds. */
static const double bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};

enum { CLASSES = 6 /* 1xx to 5xx, by hundreds */ };

struct series {
    uint64_t by_class[CLASSES];
    uint64_t buckets[DM_COUNT(bounds)];
    uint64_t count;
    double sum_s;
};

struct dm_metrics {
    pthread_mutex_t mutex;
    size_t n_routes; /* the last series is of requests without a route */
    size_t jobs;
    struct series *series;
};

struct dm_metrics *dm_metrics_new(size_t n_routes)
{
    struct dm_metrics *metrics = dm_calloc(1, sizeof(*metrics));

    pthread_mutex_init(&metrics->mutex, NULL);
    metrics->n_routes = n_routes;
    metrics->series = dm_calloc(n_routes + 1, sizeof(*metrics->series));
    return metrics;
}

void dm_metrics_free(struct dm_metrics *metrics)
{
    if (metrics == NULL)
        return;
    pthread_mutex_destroy(&metrics->mutex);
    dm_free(metrics->series);
    dm_free(metrics);
}

void dm_metrics_count(struct dm_metrics *metrics, size_t route, unsigned status, uint64_t duration_ns)
{
    struct series *series = &metrics->series[DM_MIN(route, metrics->n_routes)];
    double seconds = (double)duration_ns / 1e9;

    pthread_mutex_lock(&metrics->mutex);
    series->by_class[DM_MIN(status / 100, CLASSES - 1u)]++;
    for (size_t i = 0; i < DM_COUNT(bounds); i++)
        series->buckets[i] += seconds <= bounds[i];
    series->count++;
    series->sum_s += seconds;
    pthread_mutex_unlock(&metrics->mutex);
}

void dm_metrics_set_jobs(struct dm_metrics *metrics, size_t jobs)
{
    pthread_mutex_lock(&metrics->mutex);
    metrics->jobs = jobs;
    pthread_mutex_unlock(&metrics->mutex);
}

static void write_counts(const struct dm_metrics *metrics, void (*route_label)(size_t, struct dm_buf *),
                         struct dm_buf *ret)
{
    dm_buf_add_lit(ret, "# HELP daemun_controller_requests_total Requests to the API.\n"
                        "# TYPE daemun_controller_requests_total counter\n");
    for (size_t route = 0; route <= metrics->n_routes; route++)
        for (unsigned class = 1; class < CLASSES; class ++) {
            if (metrics->series[route].by_class[class] == 0)
                continue;
            dm_buf_add_lit(ret, "daemun_controller_requests_total{route=\"");
            route_label(route, ret);
            dm_buf_printf(ret, "\",status=\"%uxx\"} %llu\n", class,
                          (unsigned long long)metrics->series[route].by_class[class]);
        }
}

static void write_histogram(const struct series *series, size_t route, void (*route_label)(size_t, struct dm_buf *),
                            struct dm_buf *ret)
{
    for (size_t i = 0; i <= DM_COUNT(bounds); i++) {
        dm_buf_add_lit(ret, "daemun_controller_request_seconds_bucket{route=\"");
        route_label(route, ret);
        if (i < DM_COUNT(bounds))
            dm_buf_printf(ret, "\",le=\"%g\"} %llu\n", bounds[i], (unsigned long long)series->buckets[i]);
        else
            dm_buf_printf(ret, "\",le=\"+Inf\"} %llu\n", (unsigned long long)series->count);
    }
    dm_buf_add_lit(ret, "daemun_controller_request_seconds_sum{route=\"");
    route_label(route, ret);
    dm_buf_printf(ret, "\"} %.6f\ndaemun_controller_request_seconds_count{route=\"", series->sum_s);
    route_label(route, ret);
    dm_buf_printf(ret, "\"} %llu\n", (unsigned long long)series->count);
}

void dm_metrics_write(struct dm_metrics *metrics, void (*route_label)(size_t route, struct dm_buf *ret),
                      struct dm_buf *ret)
{
    pthread_mutex_lock(&metrics->mutex);
    write_counts(metrics, route_label, ret);
    dm_buf_add_lit(ret, "# HELP daemun_controller_request_seconds Time from the head of a request to its answer.\n"
                        "# TYPE daemun_controller_request_seconds histogram\n");
    for (size_t route = 0; route <= metrics->n_routes; route++)
        if (metrics->series[route].count > 0)
            write_histogram(&metrics->series[route], route, route_label, ret);
    dm_buf_printf(ret,
                  "# HELP daemun_controller_store_jobs Blocking jobs waiting or running.\n"
                  "# TYPE daemun_controller_store_jobs gauge\ndaemun_controller_store_jobs %zu\n",
                  metrics->jobs);
    pthread_mutex_unlock(&metrics->mutex);
}
