#include "snapshot/compile_int.h"
#include "snapshot/release.h"

#include "base/mem.h"
#include "base/vec.h"

static dm_off api_key(struct dm_builder *b, const struct dm_policy_api_key *p)
{
    struct dm_uapi_key out = {.in_basic = (p->in & DM_KEY_IN_BASIC) != 0, .is_forwarded = p->forward};

    if (p->in & DM_KEY_IN_HEADER)
        out.header = dm_builder_str(b, p->header);
    if (p->in & DM_KEY_IN_QUERY)
        out.query = dm_builder_str(b, p->query);
    return DM_BUILDER_ADD(b, &out, 1, struct dm_uapi_key);
}

static dm_off client_certificate(struct dm_builder *b, const struct dm_policy_client_certificate *p)
{
    struct dm_uclient_certificate out = {.forward_header = dm_builder_str(b, p->forward_header), .match = p->match};

    return DM_BUILDER_ADD(b, &out, 1, struct dm_uclient_certificate);
}

static uint32_t header_op(int op)
{
    switch ((enum dm_header_op_kind)op) {
    case DM_HEADER_SET: return DM_UHEADER_SET;
    case DM_HEADER_ADD: return DM_UHEADER_ADD;
    case DM_HEADER_PUSH: return DM_UHEADER_PUSH;
    case DM_HEADER_DELETE: break;
    }
    return DM_UHEADER_DELETE;
}

static dm_off header_ops(struct dm_builder *b, const struct dm_header_op *ops, size_t n)
{
    struct dm_uheader *out DM_CLEANUP(dm_freep) = dm_calloc(n, sizeof(*out));

    for (size_t i = 0; i < n; i++)
        out[i] = (struct dm_uheader){header_op(ops[i].op), 0, dm_builder_str(b, ops[i].name),
                                     dm_builder_str(b, ops[i].value)};
    return DM_BUILDER_ADD(b, out, n, struct dm_uheader);
}

static dm_off headers(struct dm_builder *b, const struct dm_policy_headers *p)
{
    struct dm_uheaders out = {.n_request = (uint32_t)p->n_request, .n_response = (uint32_t)p->n_response};

    out.request = header_ops(b, p->request, p->n_request);
    out.response = header_ops(b, p->response, p->n_response);
    return DM_BUILDER_ADD(b, &out, 1, struct dm_uheaders);
}

/* First and last address of a block, IPv4 as v4-mapped IPv6. */
static void range_of(const struct dm_cidr *block, struct dm_urange *ret)
{
    unsigned skip = block->family == 4 ? 12 : 0, bits = block->bits + skip * 8;

    memset(ret, 0, sizeof(*ret));
    if (skip)
        ret->first[10] = ret->first[11] = 0xff;
    memcpy(ret->first + skip, block->bytes, 16 - skip);
    memcpy(ret->last, ret->first, 16);
    for (unsigned bit = bits; bit < 128; bit++)
        ret->last[bit / 8] |= (uint8_t)(0x80 >> (bit % 8));
}

static int by_first(const void *a, const void *b)
{
    return memcmp(((const struct dm_urange *)a)->first, ((const struct dm_urange *)b)->first, 16);
}

/* Sorted ranges, those inside or overlapping the one before joined to it. Returns how many are left. */
static size_t join(struct dm_urange *ranges, size_t n)
{
    size_t kept = 0;

    qsort(ranges, n, sizeof(*ranges), by_first);
    for (size_t i = 0; i < n; i++) {
        if (kept > 0 && memcmp(ranges[i].first, ranges[kept - 1].last, 16) <= 0) {
            if (memcmp(ranges[i].last, ranges[kept - 1].last, 16) > 0)
                memcpy(ranges[kept - 1].last, ranges[i].last, 16);
            continue;
        }
        ranges[kept++] = ranges[i];
    }
    return kept;
}

static dm_off ip_check(struct dm_builder *b, const struct dm_policy_ip_check *p)
{
    struct dm_urange *ranges DM_CLEANUP(dm_freep) = dm_calloc(p->n_addresses, sizeof(*ranges));
    struct dm_uip_check out = {.is_allow_list = p->mode == DM_IP_ALLOW};
    struct dm_cidr block;

    for (size_t i = 0; i < p->n_addresses; i++) {
        if (dm_cidr_parse(p->addresses[i], &block, NULL) < 0)
            abort(); /* the model read it */
        range_of(&block, &ranges[i]);
    }
    out.n_ranges = (uint32_t)join(ranges, p->n_addresses);
    out.ranges = DM_BUILDER_ADD(b, ranges, out.n_ranges, struct dm_urange);
    return DM_BUILDER_ADD(b, &out, 1, struct dm_uip_check);
}

static struct dm_ustr joined(struct dm_builder *b, const struct dm_str *items, size_t n)
{
    struct dm_buf text DM_CLEANUP(dm_buf_done);

    dm_buf_init(&text, 64u << 10);
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            dm_buf_add_lit(&text, ", ");
        dm_buf_add(&text, items[i]);
    }
    return dm_builder_str(b, dm_buf_str(&text));
}

static dm_off cors(struct dm_builder *b, const struct dm_policy_cors *p)
{
    struct dm_ustr *origins DM_CLEANUP(dm_freep) = dm_calloc(p->n_allow_origins, sizeof(*origins));
    struct dm_ucors out = {.allow_credentials = p->allow_credentials, .max_age_s = (int32_t)p->max_age_s};

    out.any_origin = p->n_allow_origins == 1 && dm_str_eq(p->allow_origins[0], DM_STR("*"));
    if (!out.any_origin) {
        out.n_origins = (uint32_t)p->n_allow_origins;
        for (size_t i = 0; i < p->n_allow_origins; i++)
            origins[i] = dm_builder_str(b, p->allow_origins[i]);
        out.origins = DM_BUILDER_ADD(b, origins, out.n_origins, struct dm_ustr);
    }
    out.allow_methods = joined(b, p->allow_methods, p->n_allow_methods);
    out.allow_headers = joined(b, p->allow_headers, p->n_allow_headers);
    out.expose_headers = joined(b, p->expose_headers, p->n_expose_headers);
    return DM_BUILDER_ADD(b, &out, 1, struct dm_ucors);
}

static void codings(const struct dm_policy_compression *p, uint8_t ret[DM_UCODINGS])
{
    if (p->n_algorithms == 0) {
        ret[0] = DM_UCODING_BR;
        ret[1] = DM_UCODING_GZIP;
    }
    for (size_t i = 0; i < DM_MIN(p->n_algorithms, DM_UCODINGS); i++)
        ret[i] = dm_str_eq(p->algorithms[i], DM_STR("br")) ? DM_UCODING_BR : DM_UCODING_GZIP;
}

static dm_off compression(struct dm_builder *b, const struct dm_policy_compression *p)
{
    struct dm_ucompression out = {
        .level = (uint8_t)p->level, .with_credentials = p->with_credentials, .min_bytes = (uint64_t)p->min_bytes};
    struct dm_ustr types[DM_COMPRESSION_TYPES_MAX];

    codings(p, out.codings);
    for (size_t i = 0; i < p->n_content_types; i++)
        types[out.n_types++] = dm_builder_str(b, p->content_types[i]);
    for (size_t i = 0; p->n_content_types == 0 && dm_compression_default_types[i]; i++)
        types[out.n_types++] = dm_builder_str(b, dm_str_of(dm_compression_default_types[i]));
    out.types = DM_BUILDER_ADD(b, types, out.n_types, struct dm_ustr);
    return DM_BUILDER_ADD(b, &out, 1, struct dm_ucompression);
}

dm_off dm_compile_policy(struct dm_builder *b, const struct dm_policy *policy, uint32_t *ret_type)
{
    switch ((enum dm_policy_type)policy->type) {
    case DM_POLICY_API_KEY: *ret_type = DM_UPOLICY_API_KEY; return api_key(b, &policy->api_key);
    case DM_POLICY_HEADERS: *ret_type = DM_UPOLICY_HEADERS; return headers(b, &policy->headers);
    case DM_POLICY_IP_CHECK: *ret_type = DM_UPOLICY_IP_CHECK; return ip_check(b, &policy->ip_check);
    case DM_POLICY_CLIENT_CERTIFICATE:
        *ret_type = DM_UPOLICY_CLIENT_CERTIFICATE;
        return client_certificate(b, &policy->client_certificate);
    case DM_POLICY_CORS: *ret_type = DM_UPOLICY_CORS; return cors(b, &policy->cors);
    case DM_POLICY_COMPRESSION: *ret_type = DM_UPOLICY_COMPRESSION; return compression(b, &policy->compression);
    }
    abort(); /* the model knows no others */
}
