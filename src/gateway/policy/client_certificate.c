/* Who calls, by the certificate that the connection showed and the domain's client_ca verified. Like a key, one that is nobody's
 * is told after the mapping rules. What callers write into the forwarding header never reaches the backend. */
#include "gateway/policy/policy_int.h"

#include "model/policy.h"

static enum dm_reason tell_backend(struct dm_exchange *ex, struct dm_str header, struct dm_str value)
{
    struct dm_str kept;

    if (header.len == 0)
        return DM_REASON_NONE;
    if (dm_arena_str(&ex->arena, value, &kept) < 0 || !dm_http_head_add(ex->head, header, kept))
        return DM_REASON_HEADER_TOO_LARGE;
    return DM_REASON_NONE;
}

enum dm_reason dm_client_certificate_request(struct dm_exchange *ex, const struct dm_uclient_certificate *config)
{
    static const unsigned order[] = {DM_MATCH_FINGERPRINT, DM_MATCH_SUBJECT};
    struct dm_str header = dm_unit_str(ex->release->unit, config->forward_header), shown[2], value;
    char buf[DM_CREDENTIAL_VALUE_MAX];

    if (header.len > 0)
        dm_http_head_drop(ex->head, header);
    if (!dm_exchange_certificate(ex, &shown[0], &shown[1]))
        return DM_REASON_AUTH_MISSING;
    for (size_t i = 0; i < DM_COUNT(order); i++) {
        value = config->match & order[i] ? dm_certificate_value(order[i], shown[i], buf) : DM_STR_NULL;
        if (value.ptr && dm_policy_look_up(ex, DM_CREDENTIAL_CLIENT_CERTIFICATE, value))
            return tell_backend(ex, header, value);
    }
    return DM_REASON_NONE;
}
