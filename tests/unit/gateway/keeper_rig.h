/* The keeper whole: a real keeper with its loader and workers (the test's own program in those roles), and a controller played by
 * the test on the link socket. Every wait is for a frame, the end of a process or of a connection; what does not come in
 * WAIT_MS fails the test. */
#ifndef DM_TESTS_UNIT_GATEWAY_KEEPER_RIG_H
#define DM_TESTS_UNIT_GATEWAY_KEEPER_RIG_H

#include "keeper_fixture.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "model/link.h"

enum { WAIT_MS = 30000, WORKERS = 2, CLIENTS = 30 };

struct controller {
    struct keeper_fixture *f;
    int listener, fd;
    char listen[DM_ADDR_TEXT_MAX];
    struct dm_buf in;
    struct dm_arena arena;
    struct dm_link_message last;
    uint8_t box_key[DM_BOX_PUBLIC_BYTES]; /* of the last HELLO */
    pid_t keeper;
    unsigned n_survivors; /* each in a slot of its own */
};

/* Fixtures of cmocka: *state is a struct controller, which has welcomed a keeper of WORKERS workers. */
int keeper_setup(void **state);
int keeper_teardown(void **state);
#define TEST(name) cmocka_unit_test_setup_teardown(name, keeper_setup, keeper_teardown)

/* What main() does first: true if the program was started in a role, which has ended with *ret. Its loader dies with documents of
 * the tenant "crash", if they are its first. */
bool keeper_role(int argc, char **argv, int *ret);

/* --- the controller ---------------------------------------------------------------------------------------------- */

/* For something to read. */
void await(int fd);
void say(struct controller *c, const struct dm_link_message *message);
/* The next frame but pings into c->last; false at the end of the connection. */
bool hear(struct controller *c);
void drop_link(struct controller *c);
/* Takes a connection up to its HELLO. */
void greet(struct controller *c);
void welcome(struct controller *c, const uint8_t key[DM_SIGN_PUBLIC_BYTES]);
/* Takes the document. */
void send_document(struct controller *c, struct dm_buf *document);
void send_release(struct controller *c, const char *tenant, uint64_t sequence);
/* Hears until an ACK of this tenant, mark and status is there. */
void await_ack(struct controller *c, const char *tenant, uint64_t sequence, enum dm_link_status status);
void await_live(struct controller *c, const char *tenant, uint64_t sequence);

/* --- the gateway ------------------------------------------------------------------------------------------------- */

void start_keeper(struct controller *c);
/* Its status. */
int end_keeper(struct controller *c, int signo);
/* Ends this one and welcomes the next. */
void next_keeper(struct controller *c, int signo);
/* text: the option as it is passed on, of at least DM_ADDR_TEXT_MAX bytes; it outlives the options. */
void listen_on_free_port(struct dm_gateway_options *options, char *text);
/* Who sits there; 0: nobody. */
int seat_pid(const struct controller *c, unsigned slot, unsigned bank);
int worker_pid(const struct controller *c, unsigned slot);
void kill_worker(const struct controller *c, unsigned slot);
void signal_workers(const struct controller *c, int signo);

/* --- callers ----------------------------------------------------------------------------------------------------- */

void knock(const struct controller *c, size_t listener, int ret_fds[CLIENTS]);
void assert_answered(int fd);
void assert_all_answered(int fds[CLIENTS]);
/* A change that is live on all shows that they are connected; the second, that they serve. */
void await_service(struct controller *c, uint64_t sequence);
void await_end(pid_t pid);
/* With other options, others take the workers' place; what is live is so on the former ones too, so their end is what shows it. */
void replace_workers(struct controller *c, uint64_t sequence);

#endif
