/* The client's end of a connection to 127.0.0.1: bytes in and out, in clear or over TLS 1.3.
 *
 * What TLS offers is one of each: TLS_AES_128_GCM_SHA256, X25519, ecdsa_secp256r1_sha256, the protocol http/1.1. So all
 * servers do the same work, whatever they prefer, and a handshake that comes about proves what it was made of. The
 * certificate is not checked: that is the client's time, and the harness checks it when it probes. */
#ifndef DM_BENCH_CHANNEL_H
#define DM_BENCH_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ssl_st;
struct ssl_session_st;

/* Zero-initialised is closed. A session outlives the connection it came from. */
struct dm_channel {
    int fd;
    uint16_t from;   /* the port that its connections come from; 0: any */
    bool is_resumed; /* the handshake took up an earlier session */
    struct ssl_st *ssl;
    struct ssl_session_st *session; /* for the next handshake; NULL unless sessions are kept */
};

enum dm_channel_sessions { DM_CHANNEL_SESSIONS_DROPPED, DM_CHANNEL_SESSIONS_KEPT };

/* Channels that are opened from now on speak TLS to this server name. Returns 0, or -1 after printing why not. */
int dm_channel_use_tls(const char *server_name, enum dm_channel_sessions sessions);

/* Starts a connection. Returns 0 or -1. */
int dm_channel_open(struct dm_channel *channel, uint16_t port);

/* Goes on with the handshake of a connected channel. Returns 1 when it is through, 0 when more must come, -1 when it
 * failed. In clear there is none, and it returns 1. */
int dm_channel_handshake(struct dm_channel *channel);

/* Reads what is there. Returns its length, 0 when nothing is there yet, -1 when the connection is over. After a length,
 * call again while dm_channel_has_more(). */
ssize_t dm_channel_read(struct dm_channel *channel, char *buf, size_t size);
bool dm_channel_has_more(const struct dm_channel *channel);

/* Sends all of buf. Returns 0, or -1 when the socket is gone or full, which small messages in a closed loop never make
 * it. */
int dm_channel_write(struct dm_channel *channel, const char *buf, size_t len);

/* Closes; says goodbye first, where the protocol has a word for that, unless the connection is over already. */
void dm_channel_close(struct dm_channel *channel, bool is_over);

#endif
