/* A unit: one tenant's release, applications, grants or domains, compiled into one position-independent file that workers map
 * read-only. No pointers: every reference is an offset in bytes from the start of the file (dm_off), 0 = nothing.
 *
 * U1. A mapped unit has passed dm_unit_check(): the header fits this program, the checksum is right and every offset,
 *     count and string lies inside the file. Readers need no further bounds checks.
 * U2. A unit never changes. A new state of the tenant is a new file with a higher (epoch, sequence).
 * U3. Who works with a unit holds a reference; the last dm_unit_unref() unmaps it.
 *
 * Files are in the byte order and layout of the machine that wrote them; one made by another format version, compiler
 * or byte order is refused by its header and compiled again from its document. Threads: one per struct dm_unit. */
#ifndef DM_SNAPSHOT_UNIT_H
#define DM_SNAPSHOT_UNIT_H

#include "base/crypto.h"
#include "base/err.h"
#include "model/unit_kind.h"

#define DM_UNIT_MAGIC "DMUNIT\r\n"
/* Raise on every change of a struct in unit.h, release.h, applications.h, grants.h or domains.h. */
#define DM_UNIT_FORMAT 5
#define DM_UNIT_BYTES_MAX (256u << 20)
#define DM_UNIT_TENANT_MAX 64

typedef uint32_t dm_off;

struct dm_ustr {
    dm_off at;
    uint32_t len;
};

struct dm_unit_header {
    char magic[8];
    uint32_t format;
    uint32_t byte_order; /* 0x01020304 */
    uint32_t kind;
    uint32_t header_bytes;
    uint64_t size_bytes; /* of the whole file */
    uint64_t tenant_id;
    struct dm_mark mark;
    uint8_t document_hash[DM_DIGEST_BYTES]; /* BLAKE2b-256 of the document that it was compiled from */
    uint8_t checksum[DM_DIGEST_BYTES];      /* BLAKE2b-256 of the file with this member zero */
    char tenant[DM_UNIT_TENANT_MAX + 1];
    char unused[3];
    dm_off root; /* struct dm_urelease, dm_uapplications, dm_ugrants or dm_udomains */
};

struct dm_unit {
    const char *base; /* the mapping, or memory of the caller's in tests */
    size_t size;
    uint32_t refs;
    bool is_mapped;
};

/* Opens, maps and checks a unit file. The new unit has one reference. DM_ECORRUPT when cut or changed, DM_EVERSION when
 * made by another version, DM_ENOENT when there is none. */
DM_MUST_USE int dm_unit_open(const char *path, struct dm_unit **ret, struct dm_err *err);
/* The same of a file that is open; the descriptor stays the caller's, who may close it on return. */
DM_MUST_USE int dm_unit_open_fd(int fd, struct dm_unit **ret, struct dm_err *err);
/* The same for bytes in memory that outlive the unit and are 16-byte aligned. */
DM_MUST_USE int dm_unit_from_memory(const char *bytes, size_t size, struct dm_unit **ret, struct dm_err *err);
struct dm_unit *dm_unit_ref(struct dm_unit *unit);
void dm_unit_unref(struct dm_unit *unit);
/* U1, on bytes. */
DM_MUST_USE int dm_unit_check(const char *bytes, size_t size, struct dm_err *err);
/* Computes and stores the checksum of a finished file in memory. */
void dm_unit_seal(char *bytes, size_t size);

static inline const struct dm_unit_header *dm_unit_header(const struct dm_unit *unit)
{
    return (const struct dm_unit_header *)(const void *)unit->base;
}

/* What stands at an offset. */
static inline const void *dm_unit_at(const struct dm_unit *unit, dm_off at)
{
    return unit->base + at;
}

#define DM_UNIT_GET(unit, type, off) ((const struct type *)dm_unit_at((unit), (off)))
#define DM_UNIT_ROOT(unit, type) DM_UNIT_GET(unit, type, dm_unit_header(unit)->root)

static inline struct dm_str dm_unit_str(const struct dm_unit *unit, struct dm_ustr s)
{
    return (struct dm_str){unit->base + s.at, s.len};
}

/* The 64-bit name of a thing, by which units refer to things in other units. Not secret, not seeded: names inside one
 * tenant; two names of one tenant with the same id are refused when the unit is compiled. */
uint64_t dm_unit_name_id(struct dm_str name);

#endif
