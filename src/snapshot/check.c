#include "model/backend.h"
#include "snapshot/check_int.h"
#include "snapshot/applications.h"
#include "snapshot/domains.h"
#include "snapshot/grants.h"
#include "snapshot/release.h"
#include "snapshot/rules.h"

struct check {
    const char *bytes;
    size_t size;
    unsigned trie_depth;
    size_t trie_nodes;
};

#define TRIE_DEPTH_MAX 4096

/* Do `count` items of item_bytes stand at `at`, aligned? An empty array may stand anywhere. */
static bool fits(const struct check *c, dm_off at, uint64_t count, size_t item_bytes, size_t align)
{
    if (count == 0)
        return true;
    return at >= sizeof(struct dm_unit_header) && at % align == 0 && at <= c->size &&
           count <= (c->size - at) / item_bytes;
}

#define FITS(c, at, count, type) fits((c), (at), (count), sizeof(type), _Alignof(type))
#define ITEMS(c, at, type) ((const type *)(const void *)((c)->bytes + (at)))

static bool str_ok(const struct check *c, struct dm_ustr s)
{
    return fits(c, s.at, s.len, 1, 1);
}

static bool strs_ok(const struct check *c, dm_off at, uint32_t count)
{
    if (!FITS(c, at, count, struct dm_ustr))
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!str_ok(c, ITEMS(c, at, struct dm_ustr)[i]))
            return false;
    return true;
}

static bool endpoint_ok(const struct check *c, const struct dm_uendpoint *e)
{
    return str_ok(c, e->host) && str_ok(c, e->authority) &&
           (e->address_bytes == 0 || e->address_bytes == 4 || e->address_bytes == 16);
}

static bool backend_tls_ok(const struct check *c, dm_off at)
{
    const struct dm_ubackend_tls *tls = ITEMS(c, at, struct dm_ubackend_tls);

    return at == 0 || (FITS(c, at, 1, struct dm_ubackend_tls) && str_ok(c, tls->ca) && str_ok(c, tls->server_name) &&
                       str_ok(c, tls->client_certificate));
}

static bool percent_ok(unsigned n)
{
    return n >= 1 && n <= 100;
}

static bool breaker_ok(const struct dm_ubreaker *b)
{
    return b->mode < DM_BREAKER_MODES && b->statuses < DM_BREAKER_STATUSES && percent_ok(b->failed_percent) &&
           percent_ok(b->slow_percent) && b->run_max > 0 && b->calls_min > 0 && b->window_ms > 0 && b->open_ms > 0 &&
           b->open_max_ms >= b->open_ms && b->probes_max > 0;
}

static bool balance_ok(const struct check *c, const struct dm_ubalance *b)
{
    return b->method < DM_BALANCE_METHODS && b->hash_by < DM_BALANCE_HASHES && str_ok(c, b->header);
}

static bool concurrency_ok(const struct dm_uconcurrency *u)
{
    return u->limit < DM_CONCURRENCY_LIMITS && u->min >= 1 && u->max >= u->min;
}

static bool health_ok(const struct check *c, dm_off at)
{
    const struct dm_uhealth *h = ITEMS(c, at, struct dm_uhealth);

    return at == 0 ||
           (FITS(c, at, 1, struct dm_uhealth) && str_ok(c, h->path) && str_ok(c, h->service) &&
            h->type < DM_HEALTH_TYPES && h->method < DM_HEALTH_METHODS && h->interval_ms > 0 && h->timeout_ms > 0 &&
            h->unhealthy_threshold > 0 && h->healthy_threshold > 0 && h->service.len <= DM_HEALTH_SERVICE_MAX);
}

static bool fallback_ok(const struct check *c, dm_off at)
{
    const struct dm_ufallback *f = ITEMS(c, at, struct dm_ufallback);

    return at == 0 || (FITS(c, at, 1, struct dm_ufallback) && f->answer.status >= 200 && f->answer.status <= 599 &&
                       str_ok(c, f->answer.content_type) && str_ok(c, f->answer.body));
}

static bool backend_ok(const struct check *c, const struct dm_ubackend *b)
{
    if (!str_ok(c, b->name) || !str_ok(c, b->base_path) || !backend_tls_ok(c, b->tls) ||
        !FITS(c, b->endpoints, b->n_endpoints, struct dm_uendpoint) || !breaker_ok(&b->breaker) ||
        b->retry.budget_percent > 100 || !balance_ok(c, &b->balance) || !concurrency_ok(&b->concurrency) ||
        !health_ok(c, b->health) || !fallback_ok(c, b->fallback))
        return false;
    for (uint32_t i = 0; i < b->n_endpoints; i++)
        if (!endpoint_ok(c, &ITEMS(c, b->endpoints, struct dm_uendpoint)[i]))
            return false;
    return true;
}

static bool trie_ok(struct check *c, dm_off at, uint32_t n_rules)
{
    const struct dm_urule_node *node = ITEMS(c, at, struct dm_urule_node);
    bool ok;

    /* more visits than nodes could stand in the file: somebody shares subtrees */
    if (c->trie_depth == TRIE_DEPTH_MAX || c->trie_nodes++ > c->size / sizeof(*node) ||
        !FITS(c, at, 1, struct dm_urule_node) || !str_ok(c, node->label) ||
        !FITS(c, node->children, node->n_children, uint32_t) || !FITS(c, node->rules, node->n_rules, uint16_t))
        return false;
    for (unsigned i = 0; i < node->n_rules; i++)
        if (ITEMS(c, node->rules, uint16_t)[i] >= n_rules)
            return false;
    c->trie_depth++;
    ok = true;
    for (unsigned i = 0; ok && i < node->n_children; i++) {
        dm_off child = ITEMS(c, node->children, uint32_t)[i];
        /* children stand before their parents in the file, so no cycle passes */
        ok = child < at && trie_ok(c, child, n_rules) && ITEMS(c, child, struct dm_urule_node)->label.len > 0;
    }
    c->trie_depth--;
    return ok;
}

static bool rule_ok(const struct check *c, const struct dm_umapping_rule *rule, uint32_t n_metrics)
{
    if (rule->metric >= n_metrics || rule->prefix_len > rule->pattern.len || !str_ok(c, rule->pattern) ||
        !FITS(c, rule->pieces, rule->n_pieces, struct dm_urule_piece) ||
        !FITS(c, rule->args, rule->n_args, struct dm_urule_arg))
        return false;
    for (unsigned i = 0; i < rule->n_pieces; i++)
        if (!str_ok(c, ITEMS(c, rule->pieces, struct dm_urule_piece)[i].literal))
            return false;
    for (unsigned i = 0; i < rule->n_args; i++) {
        const struct dm_urule_arg *arg = &ITEMS(c, rule->args, struct dm_urule_arg)[i];
        if (!str_ok(c, arg->name) || !str_ok(c, arg->value))
            return false;
    }
    return true;
}

static bool rules_ok(struct check *c, dm_off at, uint32_t n_metrics)
{
    const struct dm_urules *rules = ITEMS(c, at, struct dm_urules);

    if (!FITS(c, at, 1, struct dm_urules) || rules->n_rules > DM_RULES_MAX ||
        !FITS(c, rules->rules, rules->n_rules, struct dm_umapping_rule) ||
        !FITS(c, rules->methods, rules->n_methods, struct dm_urule_method))
        return false;
    for (uint32_t i = 0; i < rules->n_rules; i++)
        if (!rule_ok(c, &ITEMS(c, rules->rules, struct dm_umapping_rule)[i], n_metrics))
            return false;
    for (uint32_t i = 0; i < rules->n_methods; i++) {
        const struct dm_urule_method *method = &ITEMS(c, rules->methods, struct dm_urule_method)[i];
        if (!str_ok(c, method->method) || !trie_ok(c, method->root, rules->n_rules))
            return false;
    }
    return true;
}

static bool header_ops_ok(const struct check *c, dm_off at, uint32_t count)
{
    if (!FITS(c, at, count, struct dm_uheader))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        const struct dm_uheader *h = &ITEMS(c, at, struct dm_uheader)[i];
        if (!str_ok(c, h->name) || !str_ok(c, h->value))
            return false;
    }
    return true;
}

static bool policy_ok(const struct check *c, const struct dm_upolicy *policy)
{
    dm_off at = policy->config;

    switch (policy->type) {
    case DM_UPOLICY_API_KEY: {
        const struct dm_uapi_key *p = ITEMS(c, at, struct dm_uapi_key);
        return FITS(c, at, 1, struct dm_uapi_key) && str_ok(c, p->header) && str_ok(c, p->query);
    }
    case DM_UPOLICY_HEADERS: {
        const struct dm_uheaders *p = ITEMS(c, at, struct dm_uheaders);
        return FITS(c, at, 1, struct dm_uheaders) && header_ops_ok(c, p->request, p->n_request) &&
               header_ops_ok(c, p->response, p->n_response);
    }
    case DM_UPOLICY_IP_CHECK: {
        const struct dm_uip_check *p = ITEMS(c, at, struct dm_uip_check);
        return FITS(c, at, 1, struct dm_uip_check) && FITS(c, p->ranges, p->n_ranges, struct dm_urange);
    }
    case DM_UPOLICY_CLIENT_CERTIFICATE:
        return FITS(c, at, 1, struct dm_uclient_certificate) &&
               str_ok(c, ITEMS(c, at, struct dm_uclient_certificate)->forward_header);
    case DM_UPOLICY_CORS: {
        const struct dm_ucors *p = ITEMS(c, at, struct dm_ucors);
        return FITS(c, at, 1, struct dm_ucors) && strs_ok(c, p->origins, p->n_origins) && str_ok(c, p->allow_methods) &&
               str_ok(c, p->allow_headers) && str_ok(c, p->expose_headers);
    }
    case DM_UPOLICY_COMPRESSION: {
        const struct dm_ucompression *p = ITEMS(c, at, struct dm_ucompression);
        return FITS(c, at, 1, struct dm_ucompression) && p->codings[0] <= DM_UCODING_BR &&
               p->codings[1] <= DM_UCODING_BR && p->level <= 9 && strs_ok(c, p->types, p->n_types);
    }
    }
    return false;
}

static bool errors_ok(const struct check *c, dm_off at, uint32_t count)
{
    if (!FITS(c, at, count, struct dm_uerror))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        const struct dm_uerror *e = &ITEMS(c, at, struct dm_uerror)[i];
        if (!str_ok(c, e->content_type) || !str_ok(c, e->body))
            return false;
    }
    return true;
}

static bool version_ok(struct check *c, const struct dm_uversion *v, uint32_t n_metrics, uint32_t n_backends)
{
    if (!str_ok(c, v->name) || !str_ok(c, v->path) || !strs_ok(c, v->upgrades, v->n_upgrades) ||
        !FITS(c, v->policies, v->n_policies, struct dm_upolicy) || !FITS(c, v->mounts, v->n_mounts, struct dm_umount) ||
        !errors_ok(c, v->errors, v->n_errors) || !rules_ok(c, v->rules, n_metrics))
        return false;
    for (uint32_t i = 0; i < v->n_policies; i++)
        if (!policy_ok(c, &ITEMS(c, v->policies, struct dm_upolicy)[i]))
            return false;
    for (uint32_t i = 0; i < v->n_mounts; i++) {
        const struct dm_umount *mount = &ITEMS(c, v->mounts, struct dm_umount)[i];
        if (!str_ok(c, mount->path) || mount->backend >= n_backends)
            return false;
    }
    return true;
}

static bool plan_ok(const struct check *c, const struct dm_uplan *plan, uint32_t n_metrics)
{
    if (!str_ok(c, plan->name) || !FITS(c, plan->limits, plan->n_limits, struct dm_ulimit) ||
        !FITS(c, plan->rate_limits, plan->n_rate_limits, struct dm_urate_limit))
        return false;
    for (uint32_t i = 0; i < plan->n_limits; i++)
        if (ITEMS(c, plan->limits, struct dm_ulimit)[i].metric >= n_metrics)
            return false;
    for (uint32_t i = 0; i < plan->n_rate_limits; i++)
        if (ITEMS(c, plan->rate_limits, struct dm_urate_limit)[i].metric >= n_metrics)
            return false;
    return true;
}

/* A metric's parent stands before it, so that climbing ends. */
static bool metrics_ok(const struct check *c, dm_off at, uint32_t count)
{
    if (count > DM_USAGE_MAX || !FITS(c, at, count, struct dm_umetric))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        const struct dm_umetric *m = &ITEMS(c, at, struct dm_umetric)[i];
        if (!str_ok(c, m->name) || m->parent < -1 || m->parent >= (int32_t)i)
            return false;
    }
    return true;
}

static bool product_ok(struct check *c, const struct dm_uproduct *p, uint32_t n_backends)
{
    if (!str_ok(c, p->name) || !strs_ok(c, p->domains, p->n_domains) || !metrics_ok(c, p->metrics, p->n_metrics) ||
        !FITS(c, p->versions, p->n_versions, struct dm_uversion) || !FITS(c, p->plans, p->n_plans, struct dm_uplan))
        return false;
    for (uint32_t i = 0; i < p->n_versions; i++)
        if (!version_ok(c, &ITEMS(c, p->versions, struct dm_uversion)[i], p->n_metrics, n_backends))
            return false;
    for (uint32_t i = 0; i < p->n_plans; i++)
        if (!plan_ok(c, &ITEMS(c, p->plans, struct dm_uplan)[i], p->n_metrics))
            return false;
    return true;
}

static bool release_ok(struct check *c, dm_off at)
{
    const struct dm_urelease *r = ITEMS(c, at, struct dm_urelease);

    if (!FITS(c, at, 1, struct dm_urelease) || !FITS(c, r->products, r->n_products, struct dm_uproduct) ||
        !FITS(c, r->backends, r->n_backends, struct dm_ubackend))
        return false;
    for (uint32_t i = 0; i < r->n_products; i++)
        if (!product_ok(c, &ITEMS(c, r->products, struct dm_uproduct)[i], r->n_backends))
            return false;
    for (uint32_t i = 0; i < r->n_backends; i++)
        if (!backend_ok(c, &ITEMS(c, r->backends, struct dm_ubackend)[i]))
            return false;
    return true;
}

static bool application_ok(const struct check *c, const struct dm_uapplication *a)
{
    return str_ok(c, a->name) && FITS(c, a->subscriptions, a->n_subscriptions, struct dm_usubscription);
}

/* A credential refers to one of the applications by its offset. */
static bool credential_ok(const struct dm_uapplications *u, const struct dm_ucredential *slot)
{
    uint64_t from = slot->application - (uint64_t)u->applications;

    return slot->application == 0 ||
           (slot->application >= u->applications && from % sizeof(struct dm_uapplication) == 0 &&
            from / sizeof(struct dm_uapplication) < u->n_applications);
}

static bool applications_ok(const struct check *c, dm_off at)
{
    const struct dm_uapplications *u = ITEMS(c, at, struct dm_uapplications);
    uint32_t n_used = 0;

    if (!FITS(c, at, 1, struct dm_uapplications) ||
        !FITS(c, u->applications, u->n_applications, struct dm_uapplication) || (u->n_slots & (u->n_slots - 1)) != 0 ||
        !FITS(c, u->credentials, u->n_slots, struct dm_ucredential))
        return false;
    for (uint32_t i = 0; i < u->n_applications; i++)
        if (!application_ok(c, &ITEMS(c, u->applications, struct dm_uapplication)[i]))
            return false;
    for (uint32_t i = 0; i < u->n_slots; i++) {
        const struct dm_ucredential *slot = &ITEMS(c, u->credentials, struct dm_ucredential)[i];
        if (!credential_ok(u, slot))
            return false;
        n_used += slot->application != 0;
    }
    return n_used <= u->n_slots / 2; /* a probe always meets a free slot */
}

static bool approval_ok(const struct check *c, const struct dm_uapproval *approval)
{
    const struct dm_cidr *block = &approval->block;

    return str_ok(c, approval->path) && (approval->path.len > 0 || (block->family == 4 && block->bits <= 32) ||
                                         (block->family == 6 && block->bits <= 128));
}

static bool certificate_ok(const struct check *c, const struct dm_ucertificate *certificate)
{
    return str_ok(c, certificate->name) && str_ok(c, certificate->chain) && str_ok(c, certificate->key_sealed) &&
           str_ok(c, certificate->ocsp);
}

static bool domain_ok(const struct check *c, const struct dm_udomain *d, uint32_t n_certificates)
{
    return str_ok(c, d->name) && str_ok(c, d->client_ca) && str_ok(c, d->hsts) &&
           (d->certificate < n_certificates || d->certificate == DM_UDOMAIN_NO_CERTIFICATE);
}

static bool domains_ok(const struct check *c, dm_off at)
{
    const struct dm_udomains *d = ITEMS(c, at, struct dm_udomains);

    if (!FITS(c, at, 1, struct dm_udomains) || !FITS(c, d->domains, d->n_domains, struct dm_udomain) ||
        !FITS(c, d->certificates, d->n_certificates, struct dm_ucertificate))
        return false;
    for (uint32_t i = 0; i < d->n_certificates; i++)
        if (!certificate_ok(c, &ITEMS(c, d->certificates, struct dm_ucertificate)[i]))
            return false;
    for (uint32_t i = 0; i < d->n_domains; i++)
        if (!domain_ok(c, &ITEMS(c, d->domains, struct dm_udomain)[i], d->n_certificates))
            return false;
    return true;
}

static bool grants_ok(const struct check *c, dm_off at)
{
    const struct dm_ugrants *g = ITEMS(c, at, struct dm_ugrants);

    if (!FITS(c, at, 1, struct dm_ugrants) || !FITS(c, g->domains, g->n_domains, struct dm_udomain_grant) ||
        !FITS(c, g->approvals, g->n_approvals, struct dm_uapproval))
        return false;
    for (uint32_t i = 0; i < g->n_domains; i++)
        if (!str_ok(c, ITEMS(c, g->domains, struct dm_udomain_grant)[i].name))
            return false;
    for (uint32_t i = 0; i < g->n_approvals; i++)
        if (!approval_ok(c, &ITEMS(c, g->approvals, struct dm_uapproval)[i]))
            return false;
    return true;
}

bool dm_unit_check_content(const char *bytes, size_t size)
{
    const struct dm_unit_header *header = (const struct dm_unit_header *)(const void *)bytes;
    struct check c = {bytes, size, 0, 0};

    switch (header->kind) {
    case DM_UNIT_RELEASE: return release_ok(&c, header->root);
    case DM_UNIT_APPLICATIONS: return applications_ok(&c, header->root);
    case DM_UNIT_GRANTS: return grants_ok(&c, header->root);
    case DM_UNIT_DOMAINS: return domains_ok(&c, header->root);
    }
    return false;
}
