#include "control/api/reply.h"
#include "control/api/call.h"
#include "control/identity/keyring.h"
#include "control/store/replies.h"
#include "base/encode.h"
#include "base/json.h"
#include "base/mem.h"

#define KEPT_MS (24 * 60 * 60 * 1000)
#define REPLY_MAX (1u << 20)

static bool has_key(const struct dm_call *call)
{
    return call->idempotency_key.len > 0 && dm_str_eq(call->method, DM_STR("POST"));
}

/* Keyed: a body may hold a secret that is short enough to be guessed from a digest in the database. */
static void request_digest(const struct dm_call *call, uint8_t ret[DM_DIGEST_BYTES])
{
    struct dm_digest_state state;
    const struct dm_str parts[] = {DM_STR("request"), call->method, call->path, call->query, call->body};

    dm_digest_init(&state, call->api->keyring->sealing);
    for (size_t i = 0; i < DM_COUNT(parts); i++) {
        uint64_t len = parts[i].len;

        dm_digest_update(&state, &len, sizeof(len));
        dm_digest_update(&state, parts[i].ptr, parts[i].len);
    }
    dm_digest_final(&state, ret);
}

static struct dm_str context_of(const struct dm_call *call, char ret[192])
{
    int len =
        snprintf(ret, 192, "reply %lld %.*s", (long long)call->caller.token_id, DM_STR_ARG(call->idempotency_key));

    return dm_str_n(ret, (size_t)len);
}

/* {"status":201,"fields":"…"} LF body */
static int open_reply(struct dm_call *call, struct dm_str plain)
{
    struct dm_json_limits limits = {.max_bytes = 65536, .max_depth = 4};
    DM_CLEANUP(dm_json_freep) struct dm_json *head = NULL;
    struct dm_str line;

    dm_str_cut(&plain, '\n', &line);
    if (dm_json_parse(line, &limits, &head, NULL) < 0)
        return dm_failure_add(&call->failure, DM_ECORRUPT, NULL, "", "the kept answer does not read");
    call->status = (unsigned)dm_json_int(dm_json_get(head, "status"));
    dm_buf_add(&call->fields, dm_json_string(dm_json_get(head, "fields")));
    dm_buf_add(&call->reply, plain);
    dm_call_field(call, "Idempotency-Replayed", "true");
    return 1;
}

static int unseal(struct dm_call *call, struct dm_str sealed)
{
    size_t len = sealed.len > DM_SEAL_OVERHEAD ? sealed.len - DM_SEAL_OVERHEAD : 0;
    uint8_t *plain = dm_arena_alloc(&call->arena, len + 1);
    char context[192];

    if (plain == NULL || len == 0 ||
        dm_seal_open(call->api->keyring->sealing, sealed, context_of(call, context), plain) < 0)
        return dm_failure_add(&call->failure, DM_ECORRUPT, NULL, "", "the kept answer can't be opened");
    return open_reply(call, dm_str_n((const char *)plain, len));
}

int dm_reply_find(struct dm_call *call, struct dm_write *write)
{
    uint8_t request[DM_DIGEST_BYTES];
    struct dm_reply_row row;
    struct dm_err err = {0};
    int rc;

    if (!has_key(call))
        return 0;
    if (call->idempotency_key.len > DM_REPLY_KEY_MAX)
        return dm_failure_add(&call->failure, DM_EINVAL, NULL, "", "Idempotency-Key has at most %d bytes",
                              DM_REPLY_KEY_MAX);
    if (dm_replies_purge(write->txn, dm_txn_now_ms(write->txn) - KEPT_MS, &err) < 0)
        return dm_call_fail(call, &err);
    rc = dm_replies_get(write->txn, call->caller.token_id, call->idempotency_key, &row, &err);
    if (rc == DM_ENOENT)
        return 0;
    if (rc < 0)
        return dm_call_fail(call, &err);
    request_digest(call, request);
    if (memcmp(request, row.request, sizeof(request)) != 0)
        return dm_failure_add(&call->failure, DM_EINVAL, "idempotency_key_reused", "",
                              "this Idempotency-Key was used for another request; a key is for one request alone");
    return unseal(call, row.sealed);
}

static void write_reply(const struct dm_call *call, struct dm_buf *ret)
{
    struct dm_jsonw w;

    dm_jsonw_init(&w, ret);
    dm_jsonw_begin_object(&w);
    dm_jsonw_member_u64(&w, "status", call->status);
    dm_jsonw_member_str(&w, "fields", dm_buf_str(&call->fields));
    dm_jsonw_end_object(&w);
    dm_buf_add_char(ret, '\n');
    dm_buf_add(ret, dm_buf_str(&call->reply));
}

int dm_reply_keep(struct dm_call *call, struct dm_write *write)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf plain = {0};
    struct dm_reply_row row = {.token_id = call->caller.token_id, .key = call->idempotency_key};
    struct dm_err err = {0};
    char context[192];
    uint8_t *sealed;

    if (!has_key(call))
        return 0;
    dm_buf_init(&plain, REPLY_MAX);
    write_reply(call, &plain);
    sealed = dm_arena_alloc(&call->arena, plain.len + DM_SEAL_OVERHEAD);
    if (plain.failed || sealed == NULL)
        return dm_failure_add(&call->failure, DM_EBUDGET, NULL, "", "the answer is too large to be kept");
    dm_seal(call->api->keyring->sealing, dm_buf_str(&plain), context_of(call, context), sealed);
    dm_mem_wipe(plain.ptr, plain.len);
    request_digest(call, row.request);
    row.sealed = dm_str_n((const char *)sealed, plain.len + DM_SEAL_OVERHEAD);
    return dm_replies_put(write->txn, write->tenant, &row, &err) < 0 ? dm_call_fail(call, &err) : 0;
}
