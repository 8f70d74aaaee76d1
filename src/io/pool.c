/* Two queues under one mutex: jobs to run and jobs that ran. A thread that finishes a job while the second queue was empty
 * wakes the loop through an eventfd. */
#include "io/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/loop_int.h"

struct queue {
    struct dm_job *head, **tail;
};

struct dm_pool {
    struct dm_loop *loop;
    struct dm_watch watch;
    size_t n_in_flight; /* the loop's thread only, as is is_ending's writing */
    size_t queue_max;
    unsigned n_threads;

    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t has_job;
    struct queue waiting, ran;
    size_t n_waiting;
    bool is_ending;

    pthread_t threads[];
};

static void queue_init(struct queue *queue)
{
    queue->head = NULL;
    queue->tail = &queue->head;
}

static void queue_add(struct queue *queue, struct dm_job *job)
{
    job->next = NULL;
    *queue->tail = job;
    queue->tail = &job->next;
}

static struct dm_job *queue_take(struct queue *queue)
{
    struct dm_job *job = queue->head;

    if (job && !(queue->head = job->next))
        queue->tail = &queue->head;
    return job;
}

static void wake_loop(const struct dm_pool *pool)
{
    uint64_t one = 1;

    while (write(pool->watch.fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

/* The next job, waiting for it; NULL when the pool ends and nothing waits. Called and returns with the mutex held. */
static struct dm_job *next_job(struct dm_pool *pool)
{
    struct dm_job *job;

    while (!(job = queue_take(&pool->waiting)) && !pool->is_ending)
        pthread_cond_wait(&pool->has_job, &pool->mutex);
    pool->n_waiting -= job != NULL;
    return job;
}

static void *work(void *arg)
{
    struct dm_pool *pool = arg;
    struct dm_job *job;

    pthread_mutex_lock(&pool->mutex);
    while ((job = next_job(pool))) {
        pthread_mutex_unlock(&pool->mutex);
        job->run(job);
        pthread_mutex_lock(&pool->mutex);
        bool was_empty = !pool->ran.head;
        queue_add(&pool->ran, job);
        if (was_empty)
            wake_loop(pool);
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

static void finish_ran(struct dm_pool *pool)
{
    struct dm_job *job, *next;

    pthread_mutex_lock(&pool->mutex);
    job = pool->ran.head;
    queue_init(&pool->ran);
    pthread_mutex_unlock(&pool->mutex);
    for (; job; job = next) {
        next = job->next;
        pool->n_in_flight--;
        job->done(job);
    }
}

static void on_ready(struct dm_watch *watch, unsigned ready)
{
    struct dm_pool *pool = DM_CONTAINER_OF(watch, struct dm_pool, watch);
    uint64_t n;

    while (read(watch->fd, &n, sizeof(n)) < 0 && errno == EINTR)
        ;
    finish_ran(pool);
}

static void end_threads(struct dm_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pool->is_ending = true;
    pthread_cond_broadcast(&pool->has_job);
    pthread_mutex_unlock(&pool->mutex);
    for (unsigned i = 0; i < pool->n_threads; i++)
        pthread_join(pool->threads[i], NULL);
}

static void free_pool(struct dm_pool *pool)
{
    dm_watch_close(pool->loop, &pool->watch);
    pthread_cond_destroy(&pool->has_job);
    pthread_mutex_destroy(&pool->mutex);
    dm_free(pool);
}

/* Signals are the loop's thread's business. */
static bool start_threads(struct dm_pool *pool, unsigned n_threads)
{
    sigset_t all, before;
    int rc = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool->n_threads < n_threads && (rc = pthread_create(&pool->threads[pool->n_threads], NULL, work, pool)) == 0)
        pool->n_threads++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0;
}

struct dm_pool *dm_pool_new(struct dm_loop *loop, unsigned n_threads, size_t queue_max)
{
    struct dm_pool *pool = dm_calloc(1, sizeof(*pool) + n_threads * sizeof(pool->threads[0]));
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    pool->loop = loop;
    pool->queue_max = queue_max;
    pool->watch.fd = -1;
    queue_init(&pool->waiting);
    queue_init(&pool->ran);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->has_job, NULL);
    if (fd < 0 || dm_watch_add(loop, &pool->watch, fd, on_ready) < 0) {
        if (fd >= 0)
            close(fd);
        free_pool(pool);
        return NULL;
    }
    if (!start_threads(pool, n_threads)) {
        end_threads(pool);
        free_pool(pool);
        return NULL;
    }
    return pool;
}

void dm_pool_free(struct dm_pool *pool)
{
    if (!pool)
        return;
    end_threads(pool);
    finish_ran(pool);
    free_pool(pool);
}

int dm_pool_submit(struct dm_pool *pool, struct dm_job *job)
{
    int rc = 0;

    pthread_mutex_lock(&pool->mutex);
    if (pool->is_ending) {
        rc = DM_ECLOSED;
    } else if (pool->n_waiting >= pool->queue_max) {
        rc = DM_EBUDGET;
    } else {
        queue_add(&pool->waiting, job);
        pool->n_waiting++;
        pthread_cond_signal(&pool->has_job);
    }
    pthread_mutex_unlock(&pool->mutex);
    pool->n_in_flight += rc == 0;
    return rc;
}

size_t dm_pool_in_flight(const struct dm_pool *pool)
{
    return pool->n_in_flight;
}
