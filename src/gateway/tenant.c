#include "gateway/tenant.h"

#include "base/log.h"
#include "base/mem.h"
#include "gateway/admission.h"
#include "gateway/bandwidth.h"
#include "gateway/caps.h"
#include "snapshot/release.h"

/* --- releases ----------------------------------------------------------------------------------------------------- */

/* The upstream that serves this backend already, or a new one (U2). */
static struct dm_upstream *upstream_for(struct dm_live_tenant *tenant, const struct dm_unit *unit,
                                        const struct dm_ubackend *backend)
{
    const struct dm_live_release *former = tenant->release;

    for (uint32_t i = 0; former && i < former->n_upstreams; i++)
        if (dm_upstream_is_same(former->upstreams[i], unit, backend)) {
            dm_upstream_set(former->upstreams[i], unit, backend);
            return dm_upstream_ref(former->upstreams[i]);
        }
    return dm_upstream_new(tenant->env, unit, backend, &tenant->share);
}

static struct dm_live_release *release_new(struct dm_live_tenant *tenant, struct dm_unit *unit)
{
    const struct dm_urelease *root = DM_UNIT_ROOT(unit, dm_urelease);
    const struct dm_ubackend *backends = dm_unit_at(unit, root->backends);
    struct dm_live_release *release = dm_calloc(1, sizeof(*release) + root->n_backends * sizeof(release->upstreams[0]));

    release->refs = 1;
    release->unit = unit;
    release->n_upstreams = root->n_backends;
    for (uint32_t i = 0; i < root->n_backends; i++)
        release->upstreams[i] = upstream_for(tenant, unit, &backends[i]);
    return release;
}

struct dm_live_release *dm_live_release_ref(struct dm_live_release *release)
{
    release->refs++;
    return release;
}

void dm_live_release_unref(struct dm_live_release *release)
{
    if (!release || --release->refs > 0)
        return;
    for (uint32_t i = 0; i < release->n_upstreams; i++)
        dm_upstream_unref(release->upstreams[i]);
    dm_unit_unref(release->unit);
    dm_free(release);
}

static bool has_upstream(const struct dm_live_release *release, const struct dm_upstream *upstream)
{
    for (uint32_t i = 0; release && i < release->n_upstreams; i++)
        if (release->upstreams[i] == upstream)
            return true;
    return false;
}

/* Upstreams that the new release does not have keep nothing idle. */
static void retire(struct dm_live_release *former, const struct dm_live_release *now)
{
    for (uint32_t i = 0; former && i < former->n_upstreams; i++)
        if (!has_upstream(now, former->upstreams[i]))
            dm_upstream_recheck(former->upstreams[i], NULL);
    dm_live_release_unref(former);
}

/* --- certificates ------------------------------------------------------------------------------------------------- */

bool dm_live_tenant_find_certificate(const struct dm_live_tenant *tenant, struct dm_str name, struct dm_str *ret_chain,
                                     char **ret_key, size_t *ret_key_len)
{
    const struct dm_live_domains *domains = tenant->domains;
    const struct dm_ucertificate *certificate = domains ? dm_udomains_certificate(domains->unit, name) : NULL;
    struct dm_err err = {0};

    if (!certificate)
        return false;
    *ret_chain = dm_unit_str(domains->unit, certificate->chain);
    if (dm_live_certificate_key(domains->unit, certificate, *tenant->env->vault, ret_key, ret_key_len, &err) == 0)
        return true;
    dm_log(DM_LOG_ERROR, "certificate_not_shown", "tenant %s: %s", tenant->name.ptr, err.message);
    return false;
}

static bool find_certificate(struct dm_upstream_share *share, struct dm_str name, struct dm_str *ret_chain,
                             char **ret_key, size_t *ret_key_len)
{
    return dm_live_tenant_find_certificate(DM_CONTAINER_OF(share, struct dm_live_tenant, share), name, ret_chain,
                                           ret_key, ret_key_len);
}

/* --- tenants ------------------------------------------------------------------------------------------------------ */

static void on_wait(struct dm_flow *flow, uint64_t ns)
{
    struct dm_tenant_counters *counters = DM_CONTAINER_OF(flow, struct dm_live_tenant, flow)->counters;

    counters->queue_delay[dm_latency_bucket(ns / 1000)]++;
    counters->queue_delay_us_sum += ns / 1000;
}

struct dm_live_tenant *dm_live_tenant_new(const struct dm_upstream_env *env, struct dm_str name,
                                          struct dm_tenant_counters *counters)
{
    struct dm_live_tenant *tenant = dm_calloc(1, sizeof(*tenant));

    tenant->name = dm_str_n(dm_strdup(name), name.len);
    tenant->refs = 1;
    tenant->env = env;
    tenant->counters = counters;
    tenant->share.counters = counters;
    tenant->share.flow = &tenant->flow;
    dm_flow_init(&tenant->flow, DM_FLOW_WEIGHT, &counters->cpu_ns);
    tenant->flow.timers = &counters->timers;
    tenant->flow.on_wait = on_wait;
    tenant->share.tenant = tenant->name;
    tenant->share.find_certificate = find_certificate;
    dm_admission_init(tenant);
    dm_caps_set(tenant);
    return tenant;
}

struct dm_live_tenant *dm_live_tenant_ref(struct dm_live_tenant *tenant)
{
    tenant->refs++;
    return tenant;
}

static void set_release(struct dm_live_tenant *tenant, struct dm_live_release *release)
{
    struct dm_live_release *former = tenant->release;

    tenant->release = release;
    retire(former, release);
}

void dm_live_tenant_unref(struct dm_live_tenant *tenant)
{
    if (!tenant || --tenant->refs > 0)
        return;
    dm_admission_done(tenant);
    dm_bandwidth_free(tenant);
    set_release(tenant, NULL);
    dm_unit_unref(tenant->applications);
    dm_unit_unref(tenant->grants);
    dm_live_domains_free(tenant->domains);
    dm_loop_forget(tenant->env->loop, &tenant->flow);
    dm_free((void *)(uintptr_t)tenant->name.ptr);
    dm_free(tenant);
}

static void set_grants(struct dm_live_tenant *tenant, struct dm_unit *grants)
{
    dm_unit_unref(tenant->grants);
    tenant->grants = grants;
    tenant->share.grants = grants;
    tenant->flow.weight = grants ? DM_UNIT_ROOT(grants, dm_ugrants)->weight : DM_FLOW_WEIGHT;
    dm_caps_set(tenant);
    dm_admission_look(tenant);
    for (uint32_t i = 0; tenant->release && i < tenant->release->n_upstreams; i++)
        dm_upstream_recheck(tenant->release->upstreams[i], grants);
}

static void set_domains(struct dm_live_tenant *tenant, struct dm_live_domains *domains)
{
    dm_live_domains_free(tenant->domains);
    tenant->domains = domains;
    for (uint32_t i = 0; tenant->release && i < tenant->release->n_upstreams; i++)
        dm_upstream_renew_tls(tenant->release->upstreams[i]);
}

int dm_live_tenant_apply(struct dm_live_tenant *tenant, struct dm_unit *unit, const struct dm_vault *vault,
                         struct dm_err *err)
{
    const struct dm_unit_header *header = dm_unit_header(unit);
    struct dm_live_domains *domains = NULL;
    int rc;

    if (header->kind == DM_UNIT_DOMAINS && (rc = dm_live_domains_new(unit, vault, tenant->domains, &domains, err)) < 0)
        return rc;
    tenant->id = tenant->share.tenant_id = header->tenant_id;
    tenant->marks[header->kind] = header->mark;
    switch ((enum dm_unit_kind)header->kind) {
    case DM_UNIT_RELEASE: set_release(tenant, release_new(tenant, unit)); break;
    case DM_UNIT_APPLICATIONS:
        dm_unit_unref(tenant->applications);
        tenant->applications = unit;
        break;
    case DM_UNIT_GRANTS: set_grants(tenant, unit); break;
    case DM_UNIT_DOMAINS: set_domains(tenant, domains); break;
    }
    return 0;
}

void dm_live_tenant_remove(struct dm_live_tenant *tenant, enum dm_unit_kind kind)
{
    switch (kind) {
    case DM_UNIT_RELEASE: set_release(tenant, NULL); break;
    case DM_UNIT_APPLICATIONS:
        dm_unit_unref(tenant->applications);
        tenant->applications = NULL;
        break;
    case DM_UNIT_GRANTS: set_grants(tenant, NULL); break;
    case DM_UNIT_DOMAINS: set_domains(tenant, NULL); break;
    }
}
