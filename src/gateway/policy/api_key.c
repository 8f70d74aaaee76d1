/* Who calls: takes the API key out of the request, and looks up whose it is. A request without a key is refused here; one
 * with a key that is nobody's is refused after the mapping rules, as in 3scale, by dm_exchange's authorise step.
 *
 * The key is hashed where it lies and never copied. */
#include "gateway/policy/policy_int.h"

#include "base/encode.h"
#include "base/mem.h"
#include "http/query.h"
#include "model/credential.h"

#define BASIC_MAX 512

static void look_up(struct dm_exchange *ex, struct dm_str key)
{
    const struct dm_uapplications *root;
    const struct dm_ucredential *credential;
    uint8_t digest[DM_DIGEST_BYTES];

    ex->has_credential = true;
    if (!ex->applications || key.len > DM_KEY_MAX)
        return;
    root = DM_UNIT_ROOT(ex->applications, dm_uapplications);
    dm_credential_digest(root->digest_key, DM_CREDENTIAL_API_KEY, key, digest);
    credential = dm_uapplications_find(ex->applications, digest);
    if (credential && !credential->is_disabled)
        ex->application = DM_UNIT_GET(ex->applications, dm_uapplication, credential->application);
}

/* A second field of the name would leave open which of them the backend means: it goes too. */
static bool from_header(struct dm_exchange *ex, const struct dm_uapi_key *config)
{
    struct dm_str name = dm_unit_str(ex->release->unit, config->header);
    struct dm_http_field *field = name.len > 0 ? dm_http_head_find_name(ex->head, name) : NULL;

    if (!field || field->value.len == 0)
        return false;
    look_up(ex, field->value);
    if (!config->is_forwarded)
        dm_http_head_drop(ex->head, name);
    return true;
}

/* The last argument of the name counts, as in a table of arguments where later ones overwrite. */
static bool find_last(struct dm_str query, struct dm_str name, struct dm_query_arg *ret)
{
    struct dm_query_arg arg;
    bool is_found = false;

    while (dm_query_next(&query, &arg))
        if (dm_query_eq(arg.name, name)) {
            *ret = arg;
            is_found = true;
        }
    return is_found;
}

static int remove_from_query(struct dm_exchange *ex, struct dm_str name)
{
    struct dm_buf *scratch = dm_exchange_scratch(ex);

    dm_query_without(ex->query, name, scratch);
    return dm_arena_str(&ex->arena, dm_buf_str(scratch), &ex->query);
}

static bool from_query(struct dm_exchange *ex, const struct dm_uapi_key *config)
{
    struct dm_str name = dm_unit_str(ex->release->unit, config->query);
    struct dm_query_arg arg;
    char decoded[DM_KEY_MAX + 1];

    if (name.len == 0 || ex->query.len == 0 || !find_last(ex->query, name, &arg) || arg.value.len == 0)
        return false;
    /* longer than any key: it is nobody's, and needs no decoding */
    look_up(ex, arg.value.len > DM_KEY_MAX ? arg.value : dm_query_decode(arg.value, decoded));
    dm_mem_wipe(decoded, sizeof(decoded));
    return true;
}

/* RFC 7617: the user name is the key; a password may follow and says nothing. */
static bool from_basic(struct dm_exchange *ex, const struct dm_uapi_key *config)
{
    struct dm_http_field *field = dm_http_head_find(ex->head, DM_HTTP_FIELD_ID_AUTHORIZATION);
    struct dm_str scheme = field ? dm_str_n(field->value.ptr, DM_MIN(field->value.len, 6)) : DM_STR_NULL, user;
    char plain[BASIC_MAX];
    ssize_t len;

    if (!config->in_basic || !dm_str_ieq(scheme, DM_STR("Basic ")))
        return false;
    len = dm_unbase64(dm_str_trim(dm_str_skip(field->value, 6)), (uint8_t *)plain, sizeof(plain));
    if (len < 0)
        return false;
    user = dm_str_n(plain, dm_str_find(dm_str_n(plain, (size_t)len), ':'));
    if (user.len > 0)
        look_up(ex, user);
    dm_mem_wipe(plain, sizeof(plain));
    if (!config->is_forwarded && user.len > 0)
        field->flags |= DM_HTTP_FIELD_DROPPED;
    return user.len > 0;
}

enum dm_reason dm_api_key_request(struct dm_exchange *ex, const struct dm_uapi_key *config)
{
    if (!from_header(ex, config) && !from_query(ex, config) && !from_basic(ex, config))
        return DM_REASON_AUTH_MISSING;
    /* a key in the place that did not count is a secret all the same */
    if (!config->is_forwarded && config->query.len > 0 && ex->query.len > 0 &&
        remove_from_query(ex, dm_unit_str(ex->release->unit, config->query)) < 0)
        return DM_REASON_URI_TOO_LONG;
    return DM_REASON_NONE;
}
