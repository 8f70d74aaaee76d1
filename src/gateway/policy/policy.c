#include "gateway/policy/policy_int.h"

static const struct dm_upolicy *chain(const struct dm_exchange *ex)
{
    return dm_unit_at(ex->release->unit, ex->version->policies);
}

static bool is_expired(const struct dm_exchange *ex, const struct dm_ucredential *credential)
{
    return credential->expires_at != 0 && credential->expires_at <= dm_exchange_wall_s(ex);
}

bool dm_policy_look_up(struct dm_exchange *ex, enum dm_credential_type type, struct dm_str value)
{
    const struct dm_ucredential *credential;

    ex->has_credential = true;
    if (!ex->applications)
        return false;
    credential = dm_exchange_find_credential(ex, type, value);
    if (!credential || credential->is_disabled || is_expired(ex, credential))
        return false;
    ex->application = DM_UNIT_GET(ex->applications, dm_uapplication, credential->application);
    return true;
}

static enum dm_reason request_headers(struct dm_exchange *ex, const struct dm_uheaders *config)
{
    return dm_headers_apply(ex->release->unit, config->request, config->n_request, ex->head) < 0
               ? DM_REASON_HEADER_TOO_LARGE
               : DM_REASON_NONE;
}

enum dm_reason dm_policies_request(struct dm_exchange *ex)
{
    const struct dm_unit *unit = ex->release->unit;
    const struct dm_upolicy *policies = chain(ex);
    enum dm_reason reason = DM_REASON_NONE;

    for (uint32_t i = 0; i < ex->version->n_policies && reason == DM_REASON_NONE && !ex->is_preflight; i++) {
        const void *config = dm_unit_at(unit, policies[i].config);
        switch ((enum dm_upolicy_type)policies[i].type) {
        case DM_UPOLICY_API_KEY: reason = dm_api_key_request(ex, config); break;
        case DM_UPOLICY_HEADERS: reason = request_headers(ex, config); break;
        case DM_UPOLICY_IP_CHECK: reason = dm_ip_check_request(ex, config); break;
        case DM_UPOLICY_CLIENT_CERTIFICATE: reason = dm_client_certificate_request(ex, config); break;
        case DM_UPOLICY_CORS: reason = dm_cors_request(ex, config); break;
        case DM_UPOLICY_COMPRESSION: dm_compression_request(ex, config); break;
        }
    }
    return reason;
}

int dm_policies_response(struct dm_exchange *ex, struct dm_http_head *head)
{
    const struct dm_unit *unit = ex->release->unit;
    const struct dm_upolicy *policies = chain(ex);
    int rc = 0;

    for (uint32_t i = 0; i < ex->version->n_policies && rc == 0; i++)
        if (policies[i].type == DM_UPOLICY_HEADERS) {
            const struct dm_uheaders *config = dm_unit_at(unit, policies[i].config);
            rc = dm_headers_apply(unit, config->response, config->n_response, head);
        }
    return rc < 0 ? rc : dm_cors_response(ex, head);
}

static bool headers_govern(const struct dm_unit *unit, const struct dm_uheaders *config, struct dm_str name,
                           bool is_request)
{
    return is_request ? dm_headers_name(unit, config->request, config->n_request, name)
                      : dm_headers_name(unit, config->response, config->n_response, name);
}

bool dm_policies_govern(const struct dm_exchange *ex, struct dm_str name, bool is_request)
{
    const struct dm_unit *unit = ex->release->unit;
    const struct dm_upolicy *policies = chain(ex);

    for (uint32_t i = 0; i < ex->version->n_policies; i++) {
        const void *config = dm_unit_at(unit, policies[i].config);
        if (policies[i].type == DM_UPOLICY_HEADERS && headers_govern(unit, config, name, is_request))
            return true;
        if (policies[i].type == DM_UPOLICY_API_KEY && is_request &&
            dm_str_ieq(dm_unit_str(unit, ((const struct dm_uapi_key *)config)->header), name))
            return true;
        if (policies[i].type == DM_UPOLICY_CLIENT_CERTIFICATE && is_request &&
            dm_str_ieq(dm_unit_str(unit, ((const struct dm_uclient_certificate *)config)->forward_header), name))
            return true;
    }
    return !is_request && dm_compression_governs(ex, name);
}
