/* Who calls: takes the API key out of the request, and looks up whose it is. A request without a key is refused here; one
 * with a key that is nobody's is refused after the mapping rules, as in 3scale, by dm_exchange's authorise step.
 *
 * The key is hashed where it lies; what has to be decoded for that is wiped. Unless the version forwards it, no place in
 * which a key may stand is forwarded with one, whichever of them counted. */
#include "gateway/policy/policy_int.h"

#include "base/encode.h"
#include "base/mem.h"
#include "http/query.h"

#define BASIC_MAX 512

static void look_up(struct dm_exchange *ex, struct dm_str key)
{
    ex->has_credential = true;
    if (key.len <= DM_KEY_MAX)
        (void)dm_policy_look_up(ex, DM_CREDENTIAL_API_KEY, key);
}

/* A second field of the name would leave open which of them the backend means: it is not forwarded. */
static bool from_header(struct dm_exchange *ex, const struct dm_uapi_key *config)
{
    struct dm_str name = dm_unit_str(ex->release->unit, config->header);
    struct dm_http_field *first = name.len > 0 ? dm_http_head_find_name(ex->head, name) : NULL, *field = first;

    while (field && field->value.len == 0)
        field = dm_http_head_find_next(ex->head, field);
    if (!field)
        return false;
    look_up(ex, field->value);
    dm_http_head_drop_from(ex->head, first);
    if (config->is_forwarded)
        field->flags &= (uint8_t)~DM_HTTP_FIELD_DROPPED;
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
    char decoded[3 * DM_KEY_MAX];

    if (name.len == 0 || ex->query.len == 0 || !find_last(ex->query, name, &arg) || arg.value.len == 0)
        return false;
    /* longer than any key, escaped throughout: it is nobody's, and needs no decoding */
    if (arg.value.len > sizeof(decoded)) {
        look_up(ex, arg.value);
        return true;
    }
    struct dm_str key = dm_query_decode(arg.value, decoded);
    look_up(ex, key);
    if (key.ptr == decoded)
        dm_mem_wipe(decoded, key.len);
    return true;
}

static bool is_basic(const struct dm_http_field *field)
{
    return field->value.len >= 6 && dm_str_ieq(dm_str_n(field->value.ptr, 6), DM_STR("Basic "));
}

/* RFC 7617: the user name is the key; a password may follow and says nothing. */
static bool from_basic(struct dm_exchange *ex, const struct dm_uapi_key *config)
{
    const struct dm_http_field *field = dm_http_head_find(ex->head, DM_HTTP_FIELD_ID_AUTHORIZATION);
    struct dm_str user;
    char plain[BASIC_MAX];
    ssize_t len;

    if (!config->in_basic || !field || !is_basic(field))
        return false;
    len = dm_unbase64(dm_str_trim(dm_str_skip(field->value, 6)), (uint8_t *)plain, sizeof(plain));
    if (len < 0)
        return false;
    user = dm_str_n(plain, dm_str_find(dm_str_n(plain, (size_t)len), ':'));
    if (user.len > 0)
        look_up(ex, user);
    dm_mem_wipe(plain, (size_t)len);
    return user.len > 0;
}

/* A key in a place that did not count is a secret all the same. The header that counted is dropped already. */
static enum dm_reason remove_others(struct dm_exchange *ex, const struct dm_uapi_key *config, bool is_from_header)
{
    struct dm_str header = dm_unit_str(ex->release->unit, config->header),
                  query = dm_unit_str(ex->release->unit, config->query);
    struct dm_http_field *field;

    if (header.len > 0 && !is_from_header)
        dm_http_head_drop(ex->head, header);
    field = config->in_basic ? dm_http_head_find(ex->head, DM_HTTP_FIELD_ID_AUTHORIZATION) : NULL;
    for (; field; field = dm_http_head_find_next(ex->head, field))
        if (is_basic(field))
            field->flags |= DM_HTTP_FIELD_DROPPED;
    if (query.len > 0 && ex->query.len > 0 && remove_from_query(ex, query) < 0)
        return DM_REASON_URI_TOO_LONG;
    return DM_REASON_NONE;
}

enum dm_reason dm_api_key_request(struct dm_exchange *ex, const struct dm_uapi_key *config)
{
    bool is_from_header = from_header(ex, config);

    if (!is_from_header && !from_query(ex, config) && !from_basic(ex, config))
        return DM_REASON_AUTH_MISSING;
    return config->is_forwarded ? DM_REASON_NONE : remove_others(ex, config, is_from_header);
}
