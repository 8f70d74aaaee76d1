/* The loader: a process that turns signed documents into unit files, so that a document which kills the compiler kills
 * nothing else. Started by the keeper with one end of a channel as descriptor DM_LOADER_FD.
 *
 *   keeper                                          loader
 *   COMPILE  where the unit goes, key, document ──►
 *                                              ◄──  DONE   one for each COMPILE, in order
 *
 * D1. One document at a time: when it dies, the document in hand is the first COMPILE without a DONE.
 * D2. Memory, CPU time for each document and file size are bounded; it has no network (seccomp, where the kernel has it).
 * D3. It ends when the channel closes. */
#ifndef DM_GATEWAY_LOADER_H
#define DM_GATEWAY_LOADER_H

#include "gateway/process/options.h"
#include "model/document.h"
#include "snapshot/unit.h"

struct dm_builder;

#define DM_LOADER_FD 3

enum dm_loader_message { DM_LOADER_COMPILE = 1, DM_LOADER_DONE };

/* Comes with a descriptor of the document, which is read from its start. */
struct dm_loader_compile {
    uint64_t id; /* says which DONE belongs to it */
    uint8_t public_key[DM_SIGN_PUBLIC_BYTES];
    char path[DM_GATEWAY_PATH_MAX]; /* of the unit file, replaced whole */
};

struct dm_loader_done {
    uint64_t id;
    int32_t code; /* 0 or a dm_error */
    uint32_t n_errors;
    uint64_t unit_bytes, spent_ns;
    struct dm_mark mark;
    char pointer[DM_ERR_POINTER_MAX];
    char message[DM_ERR_MESSAGE_MAX];
};

/* The role `loader` of daemun-gateway; returns the exit code. */
int dm_loader_main(const struct dm_gateway_options *options);

/* One document -> the bytes of a unit file in b, initialised by the caller, who also ends it. */
DM_MUST_USE int dm_loader_compile(const uint8_t public_key[DM_SIGN_PUBLIC_BYTES], struct dm_str document,
                                  struct dm_builder *b, struct dm_mark *ret_mark, struct dm_err *err);

#endif
