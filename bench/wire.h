/* What the benchmark's programs share: loopback sockets and the end of an HTTP/1.1 message. */
#ifndef DM_BENCH_WIRE_H
#define DM_BENCH_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Socket buffers of those that move big bodies. What lies in them is worked off by the kernel in one go, on the core that clocks the victim
 * too: with the system's, of megabytes, that takes milliseconds (net.core.netdev_budget_usecs). */
#define DM_WIRE_BIG_BUFFER 65536

/* The head of a complete message or of its beginning, as found by dm_wire_head(). */
struct dm_wire_head {
    size_t head_len;   /* with the empty line */
    uint64_t body_len; /* Content-Length, 0 without one */
    bool has_length;
    bool is_chunked;
    bool is_close;   /* "Connection: close" */
    bool is_upgrade; /* an Upgrade field */
};

/* Finds the head in buf. Returns 1 and fills *ret, 0 when more bytes are needed, -1 for a Content-Length that is not
 * a number. Trusts its peers otherwise: this is a measuring tool, not a parser. */
int dm_wire_head(const char *buf, size_t len, struct dm_wire_head *ret);

/* Opens a non-blocking listener on 127.0.0.1; port 0 picks a free one. Returns the descriptor and sets *ret_port, or
 * prints why not and returns -1. */
int dm_wire_listen(uint16_t port, uint16_t *ret_port);

/* Starts a non-blocking connection to 127.0.0.1:port. Returns the descriptor, connected or still connecting, or -1. */
int dm_wire_connect(uint16_t port);

/* The same from this port of 127.0.0.1; 0: any. */
int dm_wire_connect_from(uint16_t from, uint16_t port);

/* Sends all of buf in one call. Returns 0, or -1 when the socket is gone or full: a closed loop of small messages never
 * fills it, so full is a failure here. */
int dm_wire_send(int fd, const char *buf, size_t len);

/* Reads a decimal number no greater than max from a command-line argument; ends the program when it is not one. */
uint64_t dm_wire_number(const char *name, const char *text, uint64_t max);

/* To be called first: ends the process when its parent dies, and raises the descriptor limit to the hard one. */
void dm_wire_start(void);

#endif
