/* One connection that is served with TLS, and OpenSSL as the client at the other end of a socket. */
#ifndef DM_TESTS_UNIT_IO_TLS_RIG_H
#define DM_TESTS_UNIT_IO_TLS_RIG_H

#include "tls_conn.h"
#include "tls_peer.h"

#include "fake_clock.h"

extern struct pki_identity *root, *middle, *leaf, *rsa_leaf, *client_root, *client_leaf, *client_expired,
    *client_stranger;
extern struct fake_clock fake;
extern struct dm_loop *loop;
extern struct dm_tls_acceptor *acceptor;
extern struct dm_tls_profile *profile; /* what the owner selects */
extern struct dm_tls_profile_settings settings;
extern struct conn *conn; /* the server's end */
extern struct tls_peer peer;
extern char selected_name[256];
extern unsigned n_selected, n_put_off;              /* how often the owner was asked; how often it still says later */
extern void (*on_select)(struct dm_stream *stream); /* what the owner does first; NULL: nothing */
extern uint64_t wall_ns;

/* Fixtures of cmocka: of the group, and of a test. */
int make_identities(void **state);
int free_identities(void **state);
int setup(void **state);
int teardown(void **state);

/* The owner of all acceptors, whose argument is &profile. */
struct dm_tls_profile *select_profile(void *arg, struct dm_stream *stream, struct dm_str server_name);
/* From `settings`. */
void renew_profile(void);
void turn_until_quiet(void);
void end_conn(void);
/* A pair of sockets with a stream at one end that is not served yet; the client's end. */
int open_pair(void);
/* A connection of which nothing has been said; the descriptor of the client's end. */
int accept_raw(void);
/* The client's outcome: 1, or what tls_peer_shake says. */
int shake(const char *server_name);
/* There and back. */
void exchange(const char *text);
struct dm_tls_info info_now(void);
/* The handshake ended so for the client, and so for the server. */
void refused(int rc, int alert, enum dm_tls_reason reason);
void forget_session(void);

#endif
