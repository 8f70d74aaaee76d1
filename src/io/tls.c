/* The transport: OpenSSL between a stream and the transport below it.
 *
 * OpenSSL reads and writes through a BIO that owns no buffer. Ciphertext is received into the loop's scratch in one piece, and
 * what goes out gathers in the loop's scratch during a call and leaves with one send (one that is alone goes without a copy).
 *
 * R1. Between calls the scratch is empty: ciphertext received and not read is in `carried`, ciphertext not sent in `held`.
 *     OpenSSL itself keeps at most one record, and one that is complete only when the caller's buffer was full.
 * R2. Writing to the BIO never fails or waits, so a write is one of whole records and none is ever repeated. At most
 *     DM_TLS_RECORDS_AHEAD records are encrypted before the system has taken them; while something is held, nothing is.
 * R3. A read that returns less than asked for has emptied the socket, or has set has_hup.
 * R4. After a failure OpenSSL is not called again but to be freed. */
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <assert.h>
#include <errno.h>

#include "io/tls.h"

#include "base/mem.h"
#include "io/tls_int.h"

enum {
    STATES_KEPT = 256,
    READ_MIN_BYTES = 4 << 10,
    HANDSHAKE_READ_BYTES = 16 << 10,
    /* Ciphertext taken in by one call: records without a byte to show must not hold up the loop. */
    READ_BUDGET_BYTES = 128 << 10,
};

/* The transport below. It is told its own state, and may replace itself. */

static ssize_t below_recv(struct dm_tls *tls, void *ret, size_t len)
{
    struct dm_stream *stream = tls->stream;
    ssize_t n;

    if (DM_LIKELY(tls->below == &dm_transport_plain))
        return tls->below->recv(stream, ret, len);
    stream->transport = tls->below;
    stream->transport_state = tls->below_state;
    n = tls->below->recv(stream, ret, len);
    tls->below = stream->transport;
    tls->below_state = stream->transport_state;
    stream->transport = &dm_transport_tls;
    stream->transport_state = tls;
    return n;
}

/* What the others of the transport below do does not depend on state that is told this way: layers that hold bytes or change
 * them lie above, not below. */
static ssize_t below_send(struct dm_tls *tls, const void *ptr, size_t len)
{
    return tls->below->send(tls->stream, ptr, len);
}

/* Ciphertext that goes out */

static void hold(struct dm_tls *tls, const char *ptr, size_t len)
{
    struct dm_stream *stream = tls->stream;

    if (len > DM_TLS_HELD_MAX - DM_MIN(stream->held_bytes, DM_TLS_HELD_MAX)) {
        tls->reason = DM_TLS_REASON_FLOOD;
        tls->failure = tls->write_error = DM_ETLS;
        return;
    }
    stream->held_bytes += (uint32_t)len;
    while (len > 0) {
        struct dm_stream_chunk *chunk = tls->held_tail;
        if (!chunk || chunk->end == sizeof(chunk->data)) {
            chunk = dm_freelist_take(&stream->loop->streams->chunks);
            *(tls->held_tail ? &tls->held_tail->next : &tls->held) = chunk;
            tls->held_tail = chunk;
            chunk->next = NULL;
            chunk->start = chunk->end = 0;
        }
        size_t n = DM_MIN(len, sizeof(chunk->data) - chunk->end);
        memcpy(chunk->data + chunk->end, ptr, n);
        chunk->end += (uint32_t)n;
        ptr += n;
        len -= n;
    }
}

static void drop_first_held(struct dm_tls *tls)
{
    struct dm_stream_chunk *chunk = tls->held;

    if (!(tls->held = chunk->next))
        tls->held_tail = NULL;
    dm_freelist_give(&tls->stream->loop->streams->chunks, chunk);
}

/* Sends, and holds what the system does not take. */
static void emit(struct dm_tls *tls, const char *ptr, size_t len)
{
    ssize_t n = 0;

    if (tls->write_error)
        return;
    if (!tls->held && (n = below_send(tls, ptr, len)) < 0 && n != -EAGAIN) {
        tls->write_error = (int16_t)n;
        return;
    }
    n = DM_MAX(n, 0);
    if (DM_UNLIKELY((size_t)n < len))
        hold(tls, ptr + n, len - (size_t)n);
}

static void push(struct dm_tls *tls)
{
    struct dm_tls_shared *shared = dm_tls_shared_of(tls);
    size_t len = shared->out_len;

    shared->out_len = 0;
    if (len > 0)
        emit(tls, shared->out, len);
}

static int tls_flush(struct dm_stream *stream)
{
    struct dm_tls *tls = stream->transport_state;

    while (tls->held && !tls->write_error) {
        struct dm_stream_chunk *chunk = tls->held;
        ssize_t n = below_send(tls, chunk->data + chunk->start, chunk->end - chunk->start);
        if (n == -EAGAIN)
            return -EAGAIN;
        if (n < 0) {
            tls->write_error = (int16_t)n;
            break;
        }
        chunk->start += (uint32_t)n;
        stream->held_bytes -= (uint32_t)n;
        if (chunk->start == chunk->end)
            drop_first_held(tls);
    }
    return tls->write_error;
}

/* Ciphertext that comes in */

static void release_carried(struct dm_tls *tls)
{
    if (!tls->carried)
        return;
    dm_stream_give_buffer(tls->stream, tls->carried, tls->carried_cap);
    tls->carried = NULL;
}

/* False when nothing came; then is_starved, has_fin or read_error says why. */
static bool fill(struct dm_tls *tls)
{
    const struct dm_stream *stream = tls->stream;
    struct dm_tls_shared *shared = dm_tls_shared_of(tls);
    bool may_hide_end = stream->has_hup || stream->error;
    size_t limit = DM_MIN(shared->read_limit, shared->read_budget);
    ssize_t n;

    if (limit == 0 || (tls->is_empty && !may_hide_end)) {
        shared->is_starved = true;
        return false;
    }
    release_carried(tls);
    n = below_recv(tls, shared->in, limit);
    if (DM_LIKELY(n > 0)) {
        tls->in = shared->in;
        tls->in_len = (uint32_t)n;
        shared->read_budget -= (uint32_t)n;
        tls->has_begun = true;
        tls->is_empty = (size_t)n < limit && tls->below->short_read_is_empty;
        return true;
    }
    tls->is_empty = n == -EAGAIN;
    shared->is_starved = n == -EAGAIN;
    tls->has_fin = n == 0;
    shared->read_error = n < 0 && n != -EAGAIN ? (int)n : 0;
    return false;
}

/* At the end of each call (R1). */
static void settle(struct dm_tls *tls)
{
    push(tls);
    if (tls->in_len == 0) {
        release_carried(tls);
        return;
    }
    if (tls->carried)
        return;
    tls->carried = dm_stream_take_buffer(tls->stream, tls->in_len, &tls->carried_cap);
    memcpy(tls->carried, tls->in, tls->in_len);
    tls->in = tls->carried;
}

/* OpenSSL is called for this one. */
static SSL *enter(struct dm_tls *tls)
{
    dm_tls_shared_of(tls)->current = tls;
    return tls->ssl;
}

struct dm_tls *dm_tls_of_ssl(const SSL *ssl)
{
    const struct dm_tls_shared *shared = BIO_get_data(SSL_get_rbio(ssl));

    return shared->current;
}

static int bio_read(BIO *bio, char *ret, int len)
{
    struct dm_tls_shared *shared = BIO_get_data(bio);
    struct dm_tls *tls = shared->current;
    size_t n;

    BIO_clear_retry_flags(bio);
    if (tls->in_len == 0 && !fill(tls)) {
        if (shared->is_starved)
            BIO_set_retry_read(bio);
        return tls->has_fin ? 0 : -1;
    }
    n = DM_MIN((size_t)len, tls->in_len);
    memcpy(ret, tls->in, n);
    tls->in += n;
    tls->in_len -= (uint32_t)n;
    return (int)n;
}

static int bio_write(BIO *bio, const char *ptr, int len)
{
    struct dm_tls_shared *shared = BIO_get_data(bio);
    struct dm_tls *tls = shared->current;

    if (tls->is_last_record && shared->out_len == 0) {
        emit(tls, ptr, (size_t)len);
        return len;
    }
    if ((size_t)len > sizeof(shared->out) - shared->out_len)
        push(tls);
    assert((size_t)len <= sizeof(shared->out));
    memcpy(shared->out + shared->out_len, ptr, (size_t)len);
    shared->out_len += (size_t)len;
    return len;
}

static long bio_ctrl(BIO *bio, int what, long number, void *ptr)
{
    return what == BIO_CTRL_FLUSH;
}

/* Outcomes of OpenSSL's calls */

static void begin_read(struct dm_tls *tls, size_t limit)
{
    struct dm_tls_shared *shared = dm_tls_shared_of(tls);

    shared->read_limit = (uint32_t)DM_MIN(limit, sizeof(shared->in));
    shared->read_budget = READ_BUDGET_BYTES;
    shared->read_error = 0;
    shared->is_starved = tls->is_empty = false;
}

static int fail(struct dm_tls *tls)
{
    int read_error = dm_tls_shared_of(tls)->read_error;

    if (read_error) {
        tls->failure = (int16_t)read_error;
        ERR_clear_error();
    } else if (tls->has_fin) {
        tls->reason = tls->has_begun ? DM_TLS_REASON_TRUNCATED : DM_TLS_REASON_NONE;
        tls->failure = tls->has_begun ? DM_ETLS : DM_ECLOSED;
        ERR_clear_error();
    } else {
        dm_tls_explain(tls);
        tls->failure = DM_ETLS;
    }
    return tls->failure;
}

/* Why OpenSSL did not read: 0 at the end, -EAGAIN, DM_EAGAIN when it is for this call's bound only, or a failure. */
static int why_not(struct dm_tls *tls, int rc)
{
    const struct dm_tls_shared *shared = dm_tls_shared_of(tls);

    if (tls->is_put_off || tls->is_handed_on)
        return -EAGAIN;
    if (shared->is_starved)
        return shared->read_budget == 0 ? DM_EAGAIN : -EAGAIN;
    if (SSL_get_error(tls->ssl, rc) == SSL_ERROR_ZERO_RETURN) {
        tls->has_ended = true;
        return 0;
    }
    return fail(tls);
}

/* The transport */

static bool is_read_dry(const struct dm_tls *tls)
{
    return tls->in_len == 0 && tls->is_empty && !tls->stream->has_hup && SSL_pending(tls->ssl) == 0;
}

static ssize_t tls_recv(struct dm_stream *stream, void *ret, size_t len)
{
    struct dm_tls *tls = stream->transport_state;
    size_t n = 0;
    int rc = 0;

    if (DM_UNLIKELY(tls->failure || tls->has_ended))
        return tls->failure;
    begin_read(tls, DM_MAX(len, (size_t)READ_MIN_BYTES));
    do {
        if (DM_UNLIKELY((rc = SSL_read(enter(tls), (char *)ret + n, (int)(len - n))) <= 0)) {
            rc = why_not(tls, rc);
            break;
        }
        n += (size_t)rc;
    } while (n < len && !is_read_dry(tls));
    settle(tls);
    if (DM_UNLIKELY(tls->failure))
        rc = tls->failure;
    if (n == 0)
        return rc;
    /* What stopped it shows when it is asked again (R3). */
    if (n < len && rc <= 0 && rc != -EAGAIN)
        stream->has_hup = true;
    return (ssize_t)n;
}

static int write_record(struct dm_tls *tls, const char *ptr, size_t len)
{
    if (DM_LIKELY(SSL_write(enter(tls), ptr, (int)len) == (int)len))
        return 0;
    dm_tls_explain(tls);
    return tls->failure = DM_ETLS;
}

/* Pieces in order. */
struct pieces {
    const struct iovec *iov;
    int n;
    size_t at; /* in the first */
};

static void skip(struct pieces *pieces, size_t len)
{
    pieces->at += len;
    if (pieces->at < pieces->iov->iov_len)
        return;
    pieces->iov++;
    pieces->n--;
    pieces->at = 0;
}

/* The plaintext of the next record: a piece that is large enough as it lies, small ones put together. */
static struct dm_str next_record(struct dm_tls *tls, struct pieces *pieces)
{
    char *record = dm_tls_shared_of(tls)->record;
    size_t len = 0;

    while (pieces->n > 0 && len < DM_TLS_RECORD_BYTES) {
        const char *ptr = (const char *)pieces->iov->iov_base + pieces->at;
        size_t part = DM_MIN(pieces->iov->iov_len - pieces->at, DM_TLS_RECORD_BYTES - len);
        if (len == 0 && (part >= DM_TLS_RECORD_BYTES / 2 || pieces->n == 1)) {
            skip(pieces, part);
            return dm_str_n(ptr, part);
        }
        memcpy(record + len, ptr, part);
        len += part;
        skip(pieces, part);
    }
    return dm_str_n(record, len);
}

/* Encrypts as much as may be ahead and sends it; returns how much plaintext that was. */
static ssize_t write_batch(struct dm_tls *tls, struct pieces *pieces)
{
    size_t n = 0;
    int rc = 0;

    for (int i = 0; rc == 0 && i < DM_TLS_RECORDS_AHEAD && pieces->n > 0; i++) {
        struct dm_str record = next_record(tls, pieces);
        tls->is_last_record = pieces->n == 0;
        rc = write_record(tls, record.ptr, record.len);
        n += record.len;
    }
    tls->is_last_record = false;
    push(tls);
    if (DM_UNLIKELY(rc < 0 || tls->write_error))
        return rc < 0 ? rc : tls->write_error;
    return (ssize_t)n;
}

static ssize_t tls_sendv(struct dm_stream *stream, const struct iovec *iov, int n_iov)
{
    struct dm_tls *tls = stream->transport_state;
    struct pieces pieces = {iov, n_iov, 0};
    size_t n_sent = 0;
    ssize_t n;
    int rc;

    if (DM_UNLIKELY(tls->failure || !tls->is_ready))
        return tls->failure ? tls->failure : -EAGAIN;
    if (DM_UNLIKELY(tls->held != NULL) && (rc = tls_flush(stream)) < 0)
        return rc;
    do {
        if (DM_UNLIKELY((n = write_batch(tls, &pieces)) < 0))
            return n;
        n_sent += (size_t)n;
    } while (DM_UNLIKELY(pieces.n > 0) && !tls->held);
    return (ssize_t)n_sent;
}

static ssize_t tls_send(struct dm_stream *stream, const void *ptr, size_t len)
{
    struct iovec iov = {(void *)(uintptr_t)ptr, len};

    return tls_sendv(stream, &iov, 1);
}

/* OpenSSL keeps the name too. */
static void forget_name(struct dm_tls *tls)
{
    const char *name = SSL_get_servername(tls->ssl, TLSEXT_NAMETYPE_host_name);

    if (!name || !tls->server_name || strcmp(name, tls->server_name) != 0)
        return;
    dm_free(tls->server_name);
    tls->server_name = NULL;
}

static int tls_handshake(struct dm_stream *stream)
{
    struct dm_tls *tls = stream->transport_state;
    int rc;

    if (tls->is_put_off)
        return stream->has_hup ? tls->failure = DM_ECLOSED : -EAGAIN;
    tls->is_handed_on = false;
    if ((rc = tls_flush(stream)) < 0 && rc != -EAGAIN)
        return rc;
    begin_read(tls, HANDSHAKE_READ_BYTES);
    rc = SSL_do_handshake(enter(tls));
    tls->is_ready = rc == 1;
    rc = rc == 1 ? 0 : why_not(tls, rc);
    settle(tls);
    if (tls->is_ready) {
        ERR_clear_error(); /* what a search that went on found on its way */
        if (!tls->is_server)
            dm_tls_client_established(tls);
        forget_name(tls);
        stream->is_readable = tls->in_len > 0 || !tls->is_empty || stream->has_hup;
        return 0;
    }
    if (rc == DM_EAGAIN || rc == 0) {
        tls->reason = rc == 0 ? DM_TLS_REASON_HANDSHAKE : DM_TLS_REASON_FLOOD;
        rc = tls->failure = DM_ETLS;
    }
    return rc == -EAGAIN && tls->write_error ? tls->write_error : rc;
}

/* Says close_notify, once. */
static void say_end(struct dm_tls *tls)
{
    if (!tls->is_ready || tls->failure || SSL_get_shutdown(tls->ssl) & SSL_SENT_SHUTDOWN)
        return;
    if (SSL_shutdown(enter(tls)) < 0)
        ERR_clear_error();
    push(tls);
}

static int tls_shutdown_write(struct dm_stream *stream)
{
    struct dm_tls *tls = stream->transport_state;

    say_end(tls);
    if (tls->write_error)
        return tls->write_error;
    return tls->held ? -EAGAIN : tls->below->shutdown_write(stream);
}

static void tls_done(struct dm_stream *stream, bool is_whole)
{
    struct dm_tls *tls = stream->transport_state;
    struct dm_tls_shared *shared = dm_tls_shared_of(tls);

    if (is_whole)
        say_end(tls);
    /* A session is as good as before when its connection was merely cut; OpenSSL would give it up. */
    if (!tls->failure || tls->reason == DM_TLS_REASON_TRUNCATED)
        SSL_set_shutdown(tls->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(tls->ssl);
    while (tls->held)
        drop_first_held(tls);
    release_carried(tls);
    if (tls->is_server)
        dm_tls_profile_unref(tls->server.profile);
    else
        dm_tls_client_unref(tls->client.client);
    dm_free(tls->server_name);
    stream->held_bytes = 0;
    stream->transport = tls->below;
    stream->transport_state = tls->below_state;
    dm_freelist_give(&shared->states, tls);
    if (stream->transport->done)
        stream->transport->done(stream, is_whole);
}

const struct dm_transport dm_transport_tls = {
    .recv = tls_recv,
    .send = tls_send,
    .sendv = tls_sendv,
    .shutdown_write = tls_shutdown_write,
    .done = tls_done,
    .handshake = tls_handshake,
    .flush = tls_flush,
    .short_read_is_empty = true,
};

/* Putting it on */

static void free_shared(struct dm_loop *loop)
{
    BIO_free(loop->tls->bio);
    BIO_meth_free(loop->tls->method);
    dm_freelist_done(&loop->tls->states);
    dm_free(loop->tls);
    loop->tls = NULL;
}

static struct dm_tls_shared *shared_of(struct dm_loop *loop)
{
    struct dm_tls_shared *shared = loop->tls;

    if (DM_LIKELY(shared != NULL))
        return shared;
    shared = loop->tls = dm_alloc(sizeof(*shared));
    shared->out_len = 0;
    shared->method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "daemun stream");
    if (!shared->method)
        abort();
    BIO_meth_set_read(shared->method, bio_read);
    BIO_meth_set_write(shared->method, bio_write);
    BIO_meth_set_ctrl(shared->method, bio_ctrl);
    if (!(shared->bio = BIO_new(shared->method)))
        abort();
    BIO_set_data(shared->bio, shared);
    BIO_set_init(shared->bio, 1);
    dm_freelist_init(&shared->states, sizeof(struct dm_tls), STATES_KEPT);
    loop->tls_free = free_shared;
    return shared;
}

struct dm_tls *dm_tls_attach(struct dm_stream *stream, SSL *ssl)
{
    struct dm_tls_shared *shared = shared_of(stream->loop);
    struct dm_tls *tls = dm_freelist_take(&shared->states);

    if (!ssl || BIO_up_ref(shared->bio) != 1)
        abort();
    *tls = (struct dm_tls){
        .ssl = ssl,
        .stream = stream,
        .below = stream->transport,
        .below_state = stream->transport_state,
        .alert = -1,
    };
    SSL_set_bio(ssl, shared->bio, shared->bio);
    stream->transport = &dm_transport_tls;
    stream->transport_state = tls;
    return tls;
}
