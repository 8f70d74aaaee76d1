/* What every implementation of the seam must do. The same scenarios run against the kernel (test_sys_real) and against
 * the simulation (test_sim), so that what passes in the simulation means something. */
#ifndef DM_TESTS_SYS_STAGE_H
#define DM_TESTS_SYS_STAGE_H

#include "base/sim.h"

enum { STAGE_TAGS_MAX = 32 };

/* The tags of a pair's descriptors. */
enum { LISTENER, CLIENT, SERVER };

/* One scenario's surroundings. */
struct stage {
    struct dm_sys *sys;
    struct dm_world *world; /* NULL: the kernel */
    const char *dir;        /* an empty directory */
    int poll_fd;
    unsigned seen[STAGE_TAGS_MAX]; /* readiness reported and not yet awaited, by tag */
};

struct scenario {
    const char *name;
    void (*run)(struct stage *stage);
};

/* Each ends with an entry of zeros. */
extern const struct scenario sys_net_scenarios[], sys_ready_scenarios[], sys_disk_scenarios[];

/* All of them, each between begin, which gives a system (and its world, when simulated) with an empty directory, and
 * end. */
void sys_scenarios_run(struct dm_sys *(*begin)(void *arg, const char **ret_dir, struct dm_world **ret_world),
                       void (*end)(void *arg), void *arg);

/* --- readiness --- */

void stage_watch(struct stage *stage, int fd, unsigned tag);
/* Waits until all of the bits were reported for the tag, and takes them. */
void stage_await(struct stage *stage, unsigned tag, unsigned ready);
/* What is reported without waiting. */
unsigned stage_glance(struct stage *stage, unsigned tag);

/* --- addresses and descriptors; the test fails when they do --- */

struct dm_addr stage_addr(const char *text);
struct dm_addr stage_unix_addr(struct stage *stage, const char *name);
struct dm_addr stage_local_addr(struct stage *stage, int fd);
int stage_connect(struct stage *stage, const struct dm_addr *addr);
void stage_close(struct stage *stage, int fd);

/* Both ends of a new connection, each watched under its tag, with the first readiness for OUT taken. */
struct stage_pair {
    int listener, client, server;
};

struct stage_pair stage_pair_at(struct stage *stage, const struct dm_addr *at);
struct stage_pair stage_tcp_pair(struct stage *stage);
struct stage_pair stage_unix_pair(struct stage *stage);
void stage_pair_close(struct stage *stage, struct stage_pair *pair);

/* --- bytes --- */

/* The results of the calls. */
ssize_t stage_send(struct stage *stage, int fd, const char *text);
ssize_t stage_recv(struct stage *stage, int fd);
/* Sends all, waiting for room under the tag. */
void stage_send_all(struct stage *stage, int fd, unsigned tag, const char *text);
/* Reads exactly this text, waiting for it under the tag. */
void stage_expect(struct stage *stage, int fd, unsigned tag, const char *text);

#endif
