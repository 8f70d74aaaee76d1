/* The lobby of a listener: its connections that are nobody's yet, bounded by where they come from.
 *
 * A source is as many first bits of an address as the settings say; an IPv4 address in IPv6 is the IPv4 one, and all Unix sockets are
 * one source.
 *
 * Y1. At most source_max of one source are in it at a time, and at most max in all.
 * Y2. When it is full, room is made for who comes: of a source with many, the one that has been there longest makes way. Sources are
 *     in classes by powers of two; those of the highest have many: each more than half of what the largest has. Who would be one more
 *     of such a source is turned away instead.
 * Y3. So a source that has at most half of what the largest has is neither turned away nor made to leave because the lobby is full.
 * Y4. All is O(1), in memory that `max` bounds.
 *
 * Knows no connections: whoever waits is a pointer. Threads: the worker's. */
#ifndef DM_GATEWAY_LOBBY_H
#define DM_GATEWAY_LOBBY_H

#include "base/sys.h"

struct dm_lobby;
struct dm_lobby_guest;

struct dm_lobby_settings {
    uint32_t source_max, max;     /* at least 1 */
    uint8_t ipv4_bits, ipv6_bits; /* of a source */
};

enum dm_lobby_verdict { DM_LOBBY_ENTERED, DM_LOBBY_SOURCE_HAS_MANY, DM_LOBBY_FULL };

struct dm_lobby *dm_lobby_new(const struct dm_lobby_settings *settings, const uint8_t seed[16]);
/* Everybody has left. NULL is fine. */
void dm_lobby_free(struct dm_lobby *lobby);

/* One more comes from there. ENTERED: *ret is its place, until dm_lobby_leave; who made way for it, and has left, is *ret_gone, or
 * NULL. */
enum dm_lobby_verdict dm_lobby_enter(struct dm_lobby *lobby, const struct dm_addr *from, struct dm_lobby_guest **ret,
                                     void **ret_gone);
/* Whose place it is; before anybody else enters. */
void dm_lobby_set_who(struct dm_lobby_guest *guest, void *who);
void dm_lobby_leave(struct dm_lobby *lobby, struct dm_lobby_guest *guest);

size_t dm_lobby_count(const struct dm_lobby *lobby);
size_t dm_lobby_sources(const struct dm_lobby *lobby);

#endif
