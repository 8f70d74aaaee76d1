#include "gateway/policy/policy_int.h"

static const struct dm_upolicy *chain(const struct dm_exchange *ex)
{
    return dm_unit_at(ex->release->unit, ex->version->policies);
}

enum dm_reason dm_policies_request(struct dm_exchange *ex)
{
    const struct dm_unit *unit = ex->release->unit;
    const struct dm_upolicy *policies = chain(ex);
    enum dm_reason reason = DM_REASON_NONE;

    for (uint32_t i = 0; i < ex->version->n_policies && reason == DM_REASON_NONE && !ex->is_preflight; i++) {
        const void *config = dm_unit_at(unit, policies[i].config);
        switch ((enum dm_upolicy_type)policies[i].type) {
        case DM_UPOLICY_API_KEY:
            reason = dm_api_key_request(ex, config);
            break;
        case DM_UPOLICY_HEADERS:
            dm_headers_apply(unit, ((const struct dm_uheaders *)config)->request,
                             ((const struct dm_uheaders *)config)->n_request, ex->head);
            break;
        case DM_UPOLICY_IP_CHECK:
            reason = dm_ip_check_request(ex, config);
            break;
        case DM_UPOLICY_CORS:
            reason = dm_cors_request(ex, config);
            break;
        }
    }
    return reason;
}

void dm_policies_response(struct dm_exchange *ex, struct dm_http_head *head)
{
    const struct dm_unit *unit = ex->release->unit;
    const struct dm_upolicy *policies = chain(ex);

    for (uint32_t i = 0; i < ex->version->n_policies; i++)
        if (policies[i].type == DM_UPOLICY_HEADERS) {
            const struct dm_uheaders *config = dm_unit_at(unit, policies[i].config);
            dm_headers_apply(unit, config->response, config->n_response, head);
        }
    dm_cors_response(ex, head);
}
