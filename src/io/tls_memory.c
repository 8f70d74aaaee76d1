/* Memory for OpenSSL.
 *
 * Record buffers. With SSL_MODE_RELEASE_BUFFERS a connection has them only while a record is under way, so each message takes two
 * and gives them back: blocks of that size stay with the thread for the next.
 *
 * Objects that live as long as a connection (dm_tls_init_alone). An idle one is some fifty small objects and the SSL object, and
 * what the system's allocator adds to each and leaves between them is a twentieth of it. Here they stand side by side in slabs of
 * one size class, without heads: which class an object is of, its address says. Slabs are carved from one reserved range and never
 * given back, so that what is in use is what was in use at most. Not for processes with several threads in OpenSSL: nothing is locked.
 *
 * Everything else is the system allocator's (for a message, the 40 bytes of each of OpenSSL's packet writers). */
#include <openssl/crypto.h>

#include <malloc.h>
#include <sys/mman.h>

#include "io/tls.h"

#ifdef DM_DEBUG_ALLOC

void dm_tls_init(void)
{
}

void dm_tls_init_alone(void)
{
}

#else

enum { BLOCK_BYTES = 17 << 10, SMALLEST_BYTES = 16 << 10, LARGEST_BYTES = 20 << 10, KEPT_MAX = 8 };
enum { CLASS_BYTES = 16, SMALL_MAX = 1024, SSL_MIN = 7 << 10, SSL_MAX = 8 << 10, SLAB_SHIFT = 15 };
enum { SSL_CLASS = SMALL_MAX / CLASS_BYTES + 1, CLASSES, SSL_SLABS_MAX = 32 };
#define RANGE_BYTES ((size_t)4 << 30)
#define SLAB_BYTES ((size_t)1 << SLAB_SHIFT)

/* An allocator's, of one thread: no data is shared by it. */
static __thread struct {
    void *blocks[KEPT_MAX];
    unsigned n;
} kept;

struct unused {
    struct unused *next;
};

/* Of a process with one thread in OpenSSL. */
static struct {
    char *base;                           /* NULL: there are none */
    size_t n_slabs, ssl_bytes, ssl_slabs; /* slabs for SSL objects are taken so many together */
    struct unused *free[CLASSES];
    char *at[CLASSES], *end[CLASSES]; /* what is left of the class's latest slab */
    uint8_t class[RANGE_BYTES >> SLAB_SHIFT];
} slabs;

static size_t left_over(size_t n_slabs)
{
    return n_slabs * SLAB_BYTES % slabs.ssl_bytes;
}

/* The first SSL object says how large they are; slabs are taken so that little is left over for each. */
static void learn_ssl(size_t bytes)
{
    slabs.ssl_bytes = (bytes + CLASS_BYTES - 1) / CLASS_BYTES * CLASS_BYTES;
    slabs.ssl_slabs = 1;
    for (size_t n = 2; n <= SSL_SLABS_MAX; n++)
        if (left_over(n) * slabs.ssl_slabs < left_over(slabs.ssl_slabs) * n)
            slabs.ssl_slabs = n;
}

/* 0: the system's. */
static size_t class_of(size_t bytes)
{
    if (bytes <= SMALL_MAX)
        return (bytes + CLASS_BYTES - 1) / CLASS_BYTES;
    if (bytes < SSL_MIN || bytes > SSL_MAX)
        return 0;
    if (slabs.ssl_bytes == 0)
        learn_ssl(bytes);
    return bytes <= slabs.ssl_bytes ? SSL_CLASS : 0;
}

static size_t object_bytes(size_t class)
{
    return class == SSL_CLASS ? slabs.ssl_bytes : class * CLASS_BYTES;
}

static bool is_in_slab(const void *ptr)
{
    return slabs.base && (size_t)((const char *)ptr - slabs.base) < RANGE_BYTES;
}

static size_t slab_object_bytes(const void *ptr)
{
    return object_bytes(slabs.class[(size_t)((const char *)ptr - slabs.base) >> SLAB_SHIFT]);
}

/* The range is used up only by some hundred thousand connections; then the system's allocator goes on. */
static bool add_slab(size_t class)
{
    size_t n = class == SSL_CLASS ? slabs.ssl_slabs : 1;

    if (slabs.n_slabs + n > RANGE_BYTES >> SLAB_SHIFT)
        return false;
    memset(slabs.class + slabs.n_slabs, (int)class, n);
    slabs.at[class] = slabs.base + (slabs.n_slabs << SLAB_SHIFT);
    slabs.end[class] = slabs.at[class] + n * SLAB_BYTES;
    slabs.n_slabs += n;
    return true;
}

static void *take_from_slab(size_t class)
{
    struct unused *first = slabs.free[class];
    void *ptr;

    if (first) {
        slabs.free[class] = first->next;
        return first;
    }
    if ((size_t)(slabs.end[class] - slabs.at[class]) < object_bytes(class) && !add_slab(class))
        return malloc(object_bytes(class));
    ptr = slabs.at[class];
    slabs.at[class] += object_bytes(class);
    return ptr;
}

static void give_to_slab(void *ptr)
{
    struct unused *unused = ptr;
    size_t class = slabs.class[(size_t)((char *)ptr - slabs.base) >> SLAB_SHIFT];

    unused->next = slabs.free[class];
    slabs.free[class] = unused;
}

static bool is_of_record(size_t bytes)
{
    return bytes >= SMALLEST_BYTES && bytes <= BLOCK_BYTES;
}

static void *take(size_t bytes, const char *file, int line)
{
    size_t class = slabs.base ? class_of(bytes) : 0;

    if (class > 0)
        return take_from_slab(class);
    if (DM_LIKELY(!is_of_record(bytes)))
        return malloc(bytes);
    return kept.n > 0 ? kept.blocks[--kept.n] : malloc(BLOCK_BYTES);
}

static void give(void *ptr, const char *file, int line)
{
    size_t bytes;

    if (ptr && is_in_slab(ptr)) {
        give_to_slab(ptr);
        return;
    }
    bytes = ptr ? malloc_usable_size(ptr) : 0;
    if (DM_UNLIKELY(bytes >= BLOCK_BYTES && bytes <= LARGEST_BYTES && kept.n < KEPT_MAX))
        kept.blocks[kept.n++] = ptr;
    else
        free(ptr);
}

static void *grow(void *ptr, size_t bytes, const char *file, int line)
{
    void *grown;

    if (!ptr)
        return take(bytes, file, line);
    if (!is_in_slab(ptr))
        return realloc(ptr, bytes);
    if (bytes > 0 && bytes <= slab_object_bytes(ptr))
        return ptr;
    grown = bytes > 0 ? take(bytes, file, line) : NULL;
    if (grown)
        memcpy(grown, ptr, slab_object_bytes(ptr));
    if (grown || bytes == 0)
        give_to_slab(ptr);
    return grown;
}

void dm_tls_init(void)
{
    /* Refused, and left at that, once OpenSSL has allocated something. */
    CRYPTO_set_mem_functions(take, grow, give);
}

void dm_tls_init_alone(void)
{
    void *base = mmap(NULL, RANGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (CRYPTO_set_mem_functions(take, grow, give) == 1 && base != MAP_FAILED) {
        (void)madvise(base, RANGE_BYTES, MADV_NOHUGEPAGE); /* of which an idle process would have 32 half empty ones */
        slabs.base = base;
    } else if (base != MAP_FAILED) {
        munmap(base, RANGE_BYTES);
    }
}

#endif
