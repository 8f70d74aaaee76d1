/* What a gateway holds, on disk and as a table in the keeper.
 *
 *   documents/T.K          last accepted signed document of tenant T, kind K; or, when the controller took it away, a
 *                          tombstone that keeps its mark
 *   documents/T.K.next-N   one that is being looked at
 *   units/T.K              compiled from it, units/T.K.next-N: not yet taken
 *   controller.pub         the controller's signing key, pinned at first contact (hex)
 *   run/counter-slots      one tenant a line: which counters are whose
 *
 * S1. A unit's mark never goes back: not over restarts either. floor is the highest that was ever accepted.
 * S2. documents/T.K is replaced only by a document that compiled, whose bytes were synced before. The directory is synced
 *     soon after (dm_store_sync_dir): a machine that loses power in between may come back with the document before it, never
 *     with a part of one.
 * S3. Units are not synced: they can be made again, and their checksum says when they must.
 * S4. Damage to one file concerns that unit alone.
 *
 * Threads: the keeper's. */
#ifndef DM_GATEWAY_KEEPER_STORE_H
#define DM_GATEWAY_KEEPER_STORE_H

#include "base/map.h"
#include "gateway/process/options.h"
#include "gateway/process/worker_link.h"
#include "model/document.h"

struct dm_held_tenant;

/* One kind of one tenant. */
struct dm_held_unit {
    struct dm_held_tenant *tenant;
    enum dm_unit_kind kind;
    struct dm_mark floor;    /* S1 */
    struct dm_mark document; /* of a sound document on disk; (0, 0): none */
    struct dm_mark live;     /* of the unit file, which was sound when it was looked at; (0, 0): none */
    bool is_gone;            /* floor is that of a tombstone */
    bool needs_compile;      /* there is a sound document and no sound unit of it, and nobody compiles it yet */
    bool is_damaged;         /* there is something, and the unit file is not sound: no worker is told of it */

    /* Where the roll-out stands; the keeper's. */
    struct dm_mark incoming;                                       /* highest that is being looked at */
    uint64_t applied[DM_GATEWAY_BANKS][DM_GATEWAY_SLOTS_MAX / 64]; /* a bit per seat: has what is live (or gone) */
    uint64_t mended_ns;                                            /* when it was last compiled again; 0: never */
    bool is_retry_due;                                             /* a worker could not open it */
    struct dm_mark useless;     /* the controller was told that workers can't use this one; (0, 0): none */
    bool is_announced;          /* the controller knows that it is live on all workers */
    struct dm_refusal *refusal; /* of the last document that was refused, until one is accepted; may be NULL */
};

struct dm_refusal {
    struct dm_mark mark;
    uint8_t body_hash[DM_DIGEST_BYTES];
    struct dm_err err;
};

struct dm_held_tenant {
    struct dm_held_tenant *next;
    uint32_t counter_slot;
    struct dm_held_unit units[DM_UNIT_KINDS]; /* by kind; [0] is unused */
    char name[DM_UNIT_TENANT_MAX + 1];
};

/* A document on its way in: its file, and where the loader puts the unit. */
struct dm_staged {
    char document[DM_GATEWAY_PATH_MAX], unit[DM_GATEWAY_PATH_MAX];
    int fd; /* the document, open */
};

struct dm_store {
    struct dm_sys *sys;
    const struct dm_gateway_options *options;
    struct dm_map tenants;        /* name -> struct dm_held_tenant */
    struct dm_held_tenant *first; /* in the order they came */
    size_t n_tenants;
    uint64_t n_staged;
    uint32_t n_slots;
    bool has_key, is_dir_dirty;
    bool is_slot_torn; /* the last line of counter-slots was not written whole */
    uint8_t key[DM_SIGN_PUBLIC_BYTES];
};

/* Makes what is missing of the directories and looks at every file. err says which directory can't be written or read.
 * Damaged files are logged and marked in the table. */
DM_MUST_USE int dm_store_open(struct dm_store *store, struct dm_sys *sys, const struct dm_gateway_options *options,
                              struct dm_err *err);
void dm_store_done(struct dm_store *store);

/* Looks at the file of a unit that is live. False: it is not sound any more, which is logged, and *unit says so. A file
 * that can't be read for the moment is taken for sound. */
DM_MUST_USE bool dm_store_recheck(const struct dm_store *store, struct dm_held_unit *unit);

/* NULL when there is none. */
struct dm_held_tenant *dm_store_find(const struct dm_store *store, struct dm_str name);
/* Makes it when there is none. DM_EBUDGET: no counter slot is left; DM_EIO. */
DM_MUST_USE int dm_store_tenant(struct dm_store *store, struct dm_str name, struct dm_held_tenant **ret,
                                struct dm_err *err);

/* Pins the key. DM_EPERM when another one is pinned. */
DM_MUST_USE int dm_store_pin(struct dm_store *store, const uint8_t key[DM_SIGN_PUBLIC_BYTES], struct dm_err *err);

/* Writes the document beside the accepted one. */
DM_MUST_USE int dm_store_stage(struct dm_store *store, const struct dm_held_unit *unit, struct dm_str bytes,
                               struct dm_staged *ret, struct dm_err *err);
/* Opens the accepted document to compile it again. document in ret is "". DM_ENOENT when it is not there any more, DM_EIO. */
DM_MUST_USE int dm_store_stage_again(struct dm_store *store, const struct dm_held_unit *unit, struct dm_staged *ret,
                                     struct dm_err *err);
/* Starts to write the staged bytes to the disk, so that syncing several takes the time of one. */
void dm_store_presync(struct dm_store *store, const struct dm_staged *staged);
DM_MUST_USE int dm_store_sync(struct dm_store *store, const struct dm_staged *staged, struct dm_err *err);
/* The staged document, synced, and its unit take the place of the former ones; *unit says so. Ends staged either way. */
DM_MUST_USE int dm_store_commit(struct dm_store *store, struct dm_held_unit *unit, struct dm_staged *staged,
                                struct dm_mark mark, struct dm_err *err);
/* Removes what was staged. */
void dm_store_drop(struct dm_store *store, struct dm_staged *staged);
/* The controller took it away: leaves a tombstone, durably. */
DM_MUST_USE int dm_store_remove(struct dm_store *store, struct dm_held_unit *unit, struct dm_mark mark,
                                struct dm_err *err);
/* Makes the names of what was committed durable (S2). */
void dm_store_sync_dir(struct dm_store *store);

void dm_store_unit_path(const struct dm_store *store, const struct dm_held_unit *unit, char ret[DM_GATEWAY_PATH_MAX]);

static inline bool dm_mark_is_none(struct dm_mark mark)
{
    return mark.epoch == 0 && mark.sequence == 0;
}

/* Walks tenants and their kinds: for (unit = dm_store_next(store, NULL); unit; unit = dm_store_next(store, unit)) */
struct dm_held_unit *dm_store_next(const struct dm_store *store, struct dm_held_unit *unit);

#endif
