#include "snapshot/unit.h"
#include "base/mem.h"
#include "snapshot/check_int.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BYTE_ORDER_MARK UINT32_C(0x01020304)

uint64_t dm_unit_name_id(struct dm_str name)
{
    static const uint8_t key[16] = "daemun name id 1";

    return dm_siphash(key, name);
}

static void checksum_of(const char *bytes, size_t size, uint8_t ret[DM_DIGEST_BYTES])
{
    static const uint8_t zero[DM_DIGEST_BYTES];
    size_t at = offsetof(struct dm_unit_header, checksum);
    struct dm_digest_state state;

    dm_digest_init(&state, NULL);
    dm_digest_update(&state, bytes, at);
    dm_digest_update(&state, zero, sizeof(zero));
    dm_digest_update(&state, bytes + at + sizeof(zero), size - at - sizeof(zero));
    dm_digest_final(&state, ret);
}

void dm_unit_seal(char *bytes, size_t size)
{
    struct dm_unit_header *header = (struct dm_unit_header *)(void *)bytes;

    memcpy(header->magic, DM_UNIT_MAGIC, sizeof(header->magic));
    header->format = DM_UNIT_FORMAT;
    header->byte_order = BYTE_ORDER_MARK;
    header->header_bytes = sizeof(*header);
    header->size_bytes = size;
    checksum_of(bytes, size, header->checksum);
}

static int check_header(const struct dm_unit_header *header, size_t size, struct dm_err *err)
{
    if (size < sizeof(*header) || memcmp(header->magic, DM_UNIT_MAGIC, sizeof(header->magic)) != 0)
        return dm_fail(err, DM_ECORRUPT, "", "not a unit file");
    if (header->format != DM_UNIT_FORMAT || header->byte_order != BYTE_ORDER_MARK ||
        header->header_bytes != sizeof(*header))
        return dm_fail(err, DM_EVERSION, "", "unit file of format %u, this program reads format %u", header->format,
                       DM_UNIT_FORMAT);
    if (header->size_bytes != size || size > DM_UNIT_BYTES_MAX)
        return dm_fail(err, DM_ECORRUPT, "", "unit file has %zu bytes, its header says %llu", size,
                       (unsigned long long)header->size_bytes);
    if (!memchr(header->tenant, '\0', sizeof(header->tenant)))
        return dm_fail(err, DM_ECORRUPT, "", "unit file: the tenant's name has no end");
    return 0;
}

int dm_unit_check(const char *bytes, size_t size, struct dm_err *err)
{
    const struct dm_unit_header *header = (const struct dm_unit_header *)(const void *)bytes;
    uint8_t checksum[DM_DIGEST_BYTES];
    int rc;

    if ((rc = check_header(header, size, err)) < 0)
        return rc;
    checksum_of(bytes, size, checksum);
    if (memcmp(checksum, header->checksum, sizeof(checksum)) != 0)
        return dm_fail(err, DM_ECORRUPT, "", "unit file: the checksum is not that of its content");
    if (!dm_unit_check_content(bytes, size))
        return dm_fail(err, DM_ECORRUPT, "", "unit file: a reference points outside the file");
    return 0;
}

int dm_unit_from_memory(const char *bytes, size_t size, struct dm_unit **ret, struct dm_err *err)
{
    struct dm_unit *unit;
    int rc;

    if ((rc = dm_unit_check(bytes, size, err)) < 0)
        return rc;
    unit = dm_calloc(1, sizeof(*unit));
    unit->base = bytes;
    unit->size = size;
    unit->refs = 1;
    *ret = unit;
    return 0;
}

static int map_file(int fd, const char **ret_bytes, size_t *ret_size, struct dm_err *err)
{
    struct stat st;
    void *bytes;

    if (fstat(fd, &st) < 0)
        return dm_fail(err, DM_EIO, "", "can't read the size of a unit file: %s", strerror(errno));
    if (st.st_size < (off_t)sizeof(struct dm_unit_header) || st.st_size > (off_t)DM_UNIT_BYTES_MAX)
        return dm_fail(err, DM_ECORRUPT, "", "unit file of %lld bytes", (long long)st.st_size);
    bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (bytes == MAP_FAILED)
        return dm_fail(err, DM_EIO, "", "can't map a unit file: %s", strerror(errno));
    *ret_bytes = bytes;
    *ret_size = (size_t)st.st_size;
    return 0;
}

int dm_unit_open(const char *path, struct dm_unit **ret, struct dm_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc;

    if (fd < 0)
        return dm_fail(err, errno == ENOENT ? DM_ENOENT : DM_EIO, "", "can't open unit file %s: %s", path,
                       strerror(errno));
    rc = dm_unit_open_fd(fd, ret, err);
    close(fd);
    return rc;
}

int dm_unit_open_fd(int fd, struct dm_unit **ret, struct dm_err *err)
{
    const char *bytes = NULL;
    size_t size = 0;
    int rc = map_file(fd, &bytes, &size, err);

    if (rc < 0)
        return rc;
    if ((rc = dm_unit_from_memory(bytes, size, ret, err)) < 0) {
        munmap((void *)(uintptr_t)bytes, size);
        return rc;
    }
    (*ret)->is_mapped = true;
    return 0;
}

struct dm_unit *dm_unit_ref(struct dm_unit *unit)
{
    unit->refs++;
    return unit;
}

void dm_unit_unref(struct dm_unit *unit)
{
    if (!unit || --unit->refs > 0)
        return;
    if (unit->is_mapped)
        munmap((void *)(uintptr_t)unit->base, unit->size);
    dm_free(unit);
}
