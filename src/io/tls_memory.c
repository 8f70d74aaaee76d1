/* Memory for OpenSSL's record buffers. With SSL_MODE_RELEASE_BUFFERS a connection has them only while a record is under way, so
 * each message takes two and gives them back: blocks of that size stay with the thread for the next. Everything else is the
 * system allocator's (for a message, the 40 bytes of each of OpenSSL's packet writers). Blocks have no head of their own, so that
 * idle connections weigh no more. */
#include <openssl/crypto.h>

#include <malloc.h>

#include "io/tls.h"

#ifdef DM_DEBUG_ALLOC

void dm_tls_init(void)
{
}

#else

enum { BLOCK_BYTES = 17 << 10, SMALLEST_BYTES = 16 << 10, LARGEST_BYTES = 20 << 10, KEPT_MAX = 32 };

/* An allocator's, of one thread: no data is shared by it. */
static __thread struct {
    void *blocks[KEPT_MAX];
    unsigned n;
} kept;

static bool is_of_record(size_t bytes)
{
    return bytes >= SMALLEST_BYTES && bytes <= BLOCK_BYTES;
}

static void *take(size_t bytes, const char *file, int line)
{
    if (DM_LIKELY(!is_of_record(bytes)))
        return malloc(bytes);
    return kept.n > 0 ? kept.blocks[--kept.n] : malloc(BLOCK_BYTES);
}

static void give(void *ptr, const char *file, int line)
{
    size_t bytes = ptr ? malloc_usable_size(ptr) : 0;

    if (DM_UNLIKELY(bytes >= BLOCK_BYTES && bytes <= LARGEST_BYTES && kept.n < KEPT_MAX))
        kept.blocks[kept.n++] = ptr;
    else
        free(ptr);
}

static void *grow(void *ptr, size_t bytes, const char *file, int line)
{
    return realloc(ptr, bytes);
}

void dm_tls_init(void)
{
    /* Refused, and left at that, once OpenSSL has allocated something. */
    CRYPTO_set_mem_functions(take, grow, give);
}

#endif
