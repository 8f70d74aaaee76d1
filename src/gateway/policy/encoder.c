/* Blocks of memory are kept by size, in steps of a quarter of a power of two, up to KEEP_BYTES in all.
 *
 * N1. An encoder's reservation is taken when it begins and given back once, when its body is through or when it is dropped.
 * N2. zlib and brotli fail on nothing but misuse: being out of memory is fatal (base/mem.h), so that what they return is
 *     asserted. */
#define ZLIB_CONST
#include <brotli/encode.h>
#include <zlib.h>

#include "gateway/policy/encoder.h"

#include <assert.h>

#include "base/freelist.h"
#include "base/mem.h"
#include "gateway/observe/counters.h"

#define CLASSES 65 /* 64 bytes to 4 MiB */
#define CLASS_MIN_BYTES 64
#define KEEP_BYTES (16u << 20)

/* RFC 7932: a window of 64 KiB; zlib: one of 16 KiB with tables to match. Larger ones gain little on what an API sends. */
#define BROTLI_WINDOW_BITS 16
#define BROTLI_LEVEL_MAX 6 /* above it memory and time grow out of proportion */
#define BROTLI_LEVEL 3
#define GZIP_WINDOW_BITS 14
#define GZIP_MEMORY_LEVEL 7
#define GZIP_LEVEL 5
#define GZIP_FRAME 16 /* deflateInit2: gzip around deflate */

struct dm_encoders {
    struct dm_freelist objects;
    struct dm_freelist classes[CLASSES];
    size_t kept_bytes;
    size_t used_bytes, used_max; /* of blocks in use */
    size_t reserved_bytes;
};

struct encoder {
    struct dm_filter filter; /* first */
    struct dm_encoders *owner;
    uint8_t coding; /* enum dm_ucoding; NONE when its memory is given back */
    size_t reserved_bytes;
    uint64_t bytes_in, bytes_out;
    z_stream gzip;
    BrotliEncoderState *brotli;
};

/* --- memory ------------------------------------------------------------------------------------------------------- */

/* In front of what a library gets. */
struct block {
    _Alignas(16) size_t bytes;
    unsigned class;
};

static unsigned class_of(size_t bytes)
{
    unsigned log;

    if (bytes <= CLASS_MIN_BYTES)
        return 0;
    log = 63 - (unsigned)__builtin_clzl(bytes - 1); /* 2^log < bytes <= 2^(log + 1) */
    return (log - 6) * 4 + (unsigned)((bytes - 1) >> (log - 2) & 3) + 1;
}

static size_t class_bytes(unsigned class)
{
    return class == 0 ? CLASS_MIN_BYTES : (size_t)((class - 1) % 4 + 5) << ((class - 1) / 4 + 4);
}

static struct block *take_block(struct dm_encoders *e, unsigned class)
{
    struct dm_freelist *list = &e->classes[class];

    if (list->n_free > 0)
        e->kept_bytes -= list->object_bytes;
    return dm_freelist_take(list);
}

static void give_block(struct dm_encoders *e, struct block *block)
{
    struct dm_freelist *list = &e->classes[block->class];
    size_t before = list->n_free;

    list->keep_max = e->kept_bytes + list->object_bytes <= KEEP_BYTES ? SIZE_MAX : 0;
    dm_freelist_give(list, block);
    e->kept_bytes += (list->n_free - before) * list->object_bytes;
}

static void *take(void *arg, size_t bytes)
{
    struct dm_encoders *e = arg;
    unsigned class = class_of(bytes + sizeof(struct block));
    struct block *block;

    assert(class < CLASSES);
    block = take_block(e, class);
    block->bytes = bytes;
    block->class = class;
    e->used_bytes += bytes;
    e->used_max = DM_MAX(e->used_max, e->used_bytes);
    return block + 1;
}

static void give(void *arg, void *ptr)
{
    struct dm_encoders *e = arg;

    if (!ptr)
        return;
    e->used_bytes -= ((struct block *)ptr - 1)->bytes;
    give_block(e, (struct block *)ptr - 1);
}

static void *take_array(void *arg, unsigned n, unsigned bytes)
{
    return take(arg, (size_t)n * bytes);
}

struct dm_encoders *dm_encoders_new(void)
{
    struct dm_encoders *e = dm_calloc(1, sizeof(*e));

    dm_freelist_init(&e->objects, sizeof(struct encoder), 256);
    for (unsigned class = 0; class < CLASSES; class ++)
        dm_freelist_init(&e->classes[class], class_bytes(class), 0);
    return e;
}

void dm_encoders_free(struct dm_encoders *e)
{
    if (!e)
        return;
    assert(e->reserved_bytes == 0 && e->used_bytes == 0);
    for (unsigned class = 0; class < CLASSES; class ++)
        dm_freelist_done(&e->classes[class]);
    dm_freelist_done(&e->objects);
    dm_free(e);
}

size_t dm_encoders_used_max(const struct dm_encoders *e)
{
    return e->used_max;
}

/* --- levels and reservations -------------------------------------------------------------------------------------- */

static unsigned level_of(enum dm_ucoding coding, unsigned level)
{
    if (coding == DM_UCODING_GZIP)
        return level ? level : GZIP_LEVEL;
    return level ? DM_MIN(level, BROTLI_LEVEL_MAX) : BROTLI_LEVEL;
}

/* Measured (tests/unit/gateway/test_compression.c), rounded up. */
size_t dm_encoder_bytes(enum dm_ucoding coding, unsigned level)
{
    if (coding == DM_UCODING_GZIP)
        return 160u << 10;
    level = level_of(coding, level);
    return level <= 3 ? 1u << 20 : 5u << 19;
}

static bool reserve(struct dm_encoders *e, struct dm_live_tenant *tenant, size_t bytes)
{
    if (e->reserved_bytes + bytes > DM_ENCODERS_BYTES_MAX ||
        tenant->encoder_bytes + bytes > DM_ENCODERS_TENANT_BYTES_MAX)
        return false;
    e->reserved_bytes += bytes;
    tenant->encoder_bytes += bytes;
    return true;
}

/* N1 */
static void release(struct encoder *e)
{
    if (e->coding == DM_UCODING_NONE)
        return;
    if (e->coding == DM_UCODING_GZIP)
        (void)deflateEnd(&e->gzip); /* says only that it was not through */
    else
        BrotliEncoderDestroyInstance(e->brotli);
    e->owner->reserved_bytes -= e->reserved_bytes;
    e->filter.ex->tenant->encoder_bytes -= e->reserved_bytes;
    e->coding = DM_UCODING_NONE;
}

/* --- the filter --------------------------------------------------------------------------------------------------- */

static void took(struct dm_str *in, size_t left)
{
    if (left < in->len)
        *in = dm_str_skip(*in, in->len - left);
}

static bool run_gzip(struct encoder *e, enum dm_filter_op op, struct dm_str *in, struct dm_buf *out)
{
    static const int flushes[] = {
        [DM_FILTER_RUN] = Z_NO_FLUSH, [DM_FILTER_FLUSH] = Z_SYNC_FLUSH, [DM_FILTER_END] = Z_FINISH};
    z_stream *z = &e->gzip;
    int rc;

    z->next_in = (const Bytef *)in->ptr;
    z->avail_in = (uInt)in->len;
    z->next_out = (Bytef *)out->ptr + out->len;
    z->avail_out = (uInt)(out->cap - out->len);
    rc = deflate(z, flushes[op]);
    assert(rc == Z_OK || rc == Z_STREAM_END || rc == Z_BUF_ERROR);
    took(in, z->avail_in);
    out->len = out->cap - z->avail_out;
    return op == DM_FILTER_END ? rc == Z_STREAM_END : z->avail_in == 0 && z->avail_out > 0;
}

static bool run_brotli(struct encoder *e, enum dm_filter_op op, struct dm_str *in, struct dm_buf *out)
{
    static const BrotliEncoderOperation operations[] = {[DM_FILTER_RUN] = BROTLI_OPERATION_PROCESS,
                                                        [DM_FILTER_FLUSH] = BROTLI_OPERATION_FLUSH,
                                                        [DM_FILTER_END] = BROTLI_OPERATION_FINISH};
    size_t left = in->len, room = out->cap - out->len;
    const uint8_t *next_in = (const uint8_t *)in->ptr;
    uint8_t *next_out = (uint8_t *)out->ptr + out->len;
    BROTLI_BOOL rc = BrotliEncoderCompressStream(e->brotli, operations[op], &left, &next_in, &room, &next_out, NULL);

    assert(rc == BROTLI_TRUE);
    (void)rc;
    took(in, left);
    out->len = out->cap - room;
    return left == 0 && (op == DM_FILTER_END ? BrotliEncoderIsFinished(e->brotli) == BROTLI_TRUE
                                             : BrotliEncoderHasMoreOutput(e->brotli) == BROTLI_FALSE);
}

static bool run(struct dm_filter *filter, enum dm_filter_op op, struct dm_str *in, struct dm_buf *out)
{
    struct encoder *e = (struct encoder *)filter;
    size_t in_before = in->len, out_before = out->len;
    bool is_through = e->coding == DM_UCODING_GZIP ? run_gzip(e, op, in, out) : run_brotli(e, op, in, out);

    e->bytes_in += in_before - in->len;
    e->bytes_out += out->len - out_before;
    if (op == DM_FILTER_END && is_through)
        release(e);
    return is_through;
}

static void free_encoder(struct dm_filter *filter)
{
    struct encoder *e = (struct encoder *)filter;
    struct dm_tenant_counters *c = filter->ex->tenant->counters;

    c->compression_bytes_in += e->bytes_in;
    c->compression_bytes_out += e->bytes_out;
    release(e);
    dm_freelist_give(&e->owner->objects, e);
}

static const struct dm_filter_ops ops = {run, free_encoder};

static void init_gzip(struct encoder *e, unsigned level)
{
    int rc;

    e->gzip = (z_stream){.zalloc = take_array, .zfree = give, .opaque = e->owner};
    rc = deflateInit2(&e->gzip, (int)level, Z_DEFLATED, GZIP_WINDOW_BITS + GZIP_FRAME, GZIP_MEMORY_LEVEL,
                      Z_DEFAULT_STRATEGY);
    assert(rc == Z_OK);
    (void)rc;
}

static void init_brotli(struct encoder *e, unsigned level)
{
    e->brotli = BrotliEncoderCreateInstance(take, give, e->owner);
    assert(e->brotli);
    (void)BrotliEncoderSetParameter(e->brotli, BROTLI_PARAM_QUALITY, level);
    (void)BrotliEncoderSetParameter(e->brotli, BROTLI_PARAM_LGWIN, BROTLI_WINDOW_BITS);
}

bool dm_encoder_begin(struct dm_exchange *ex, enum dm_ucoding coding, unsigned level)
{
    struct dm_encoders *owner = dm_exchange_encoders(ex);
    size_t bytes = dm_encoder_bytes(coding, level);
    struct encoder *e;

    if (!reserve(owner, ex->tenant, bytes))
        return false;
    e = dm_freelist_take(&owner->objects);
    dm_filter_begin(&e->filter, &ops, ex);
    e->owner = owner;
    e->coding = (uint8_t)coding;
    e->reserved_bytes = bytes;
    e->bytes_in = e->bytes_out = 0;
    if (coding == DM_UCODING_GZIP)
        init_gzip(e, level_of(coding, level));
    else
        init_brotli(e, level_of(coding, level));
    return true;
}
