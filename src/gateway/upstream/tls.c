/* TLS with backends: what a release says of it, and the client that each endpoint has. */
#include "gateway/upstream/upstream_int.h"

#include "base/crypto.h"
#include "base/mem.h"
#include "base/mix.h"

struct dm_upstream_tls *dm_upstream_tls_new(const struct dm_unit *release, const struct dm_ubackend *backend)
{
    const struct dm_ubackend_tls *from = dm_unit_at(release, backend->tls);
    struct dm_upstream_tls *tls;

    if (backend->tls == 0)
        return NULL;
    tls = dm_calloc(1, sizeof(*tls));
    tls->ca = dm_strdup(dm_unit_str(release, from->ca));
    tls->server_name = dm_strdup(dm_unit_str(release, from->server_name));
    tls->client_certificate = dm_strdup(dm_unit_str(release, from->client_certificate));
    tls->verifies = from->verifies;
    return tls;
}

bool dm_upstream_tls_is_same(const struct dm_upstream_tls *tls, const struct dm_unit *release,
                             const struct dm_ubackend *backend)
{
    const struct dm_ubackend_tls *now = dm_unit_at(release, backend->tls);

    if (!tls || backend->tls == 0)
        return !tls && backend->tls == 0;
    return tls->verifies == (now->verifies != 0) && dm_str_eq(dm_str_of(tls->ca), dm_unit_str(release, now->ca)) &&
           dm_str_eq(dm_str_of(tls->server_name), dm_unit_str(release, now->server_name)) &&
           dm_str_eq(dm_str_of(tls->client_certificate), dm_unit_str(release, now->client_certificate));
}

uint64_t dm_upstream_tls_id(const struct dm_upstream_tls *tls)
{
    uint64_t id;

    if (!tls)
        return 0;
    id = dm_mix64(dm_unit_name_id(dm_str_of(tls->ca)) ^ tls->verifies);
    id = dm_mix64(id ^ dm_unit_name_id(dm_str_of(tls->server_name)));
    return dm_mix64(id ^ dm_unit_name_id(dm_str_of(tls->client_certificate)));
}

void dm_upstream_tls_free(struct dm_upstream_tls *tls)
{
    if (!tls)
        return;
    dm_free(tls->ca);
    dm_free(tls->server_name);
    dm_free(tls->client_certificate);
    dm_free(tls);
}

/* The bundle that was given, or the system's, which is read once. */
static int find_trust(const struct dm_upstream *u, struct dm_tls_trust **ret)
{
    int rc = 0;

    if (u->tls->ca[0] != 0)
        return dm_tls_trust_new(dm_str_of(u->tls->ca), ret, NULL);
    if (!*u->env.system_trust)
        rc = dm_tls_trust_new_system(u->env.system_trust, NULL);
    if (rc == 0)
        *ret = dm_tls_trust_ref(*u->env.system_trust);
    return rc;
}

static enum dm_tls_reason new_client(const struct dm_upstream_endpoint *e, struct dm_upstream_request *r,
                                     struct dm_tls_trust *trust, struct dm_tls_client **ret)
{
    const struct dm_upstream_tls *tls = e->upstream->tls;
    struct dm_str name = dm_str_of(tls->client_certificate);
    struct dm_tls_client_settings settings = {
        .skips_verification = !tls->verifies,
        .trust = trust,
        .server_name = dm_str_of(tls->server_name[0] ? tls->server_name : e->host),
        .wants_http2 = e->upstream->is_http2,
    };

    char *key = NULL;
    size_t key_len = 0;
    int rc;

    if (name.len > 0 && !(r->find_certificate && r->find_certificate(r, name, &settings.chain_pem, &key, &key_len)))
        return DM_TLS_REASON_CLIENT_CERTIFICATE_MISSING;
    settings.key_pem = dm_str_n(key, key_len);
    rc = dm_tls_client_new(&settings, ret, NULL);
    dm_secret_free(key);
    return rc < 0 ? DM_TLS_REASON_CLIENT_CERTIFICATE_INVALID : DM_TLS_REASON_NONE;
}

bool dm_upstream_tls_make(struct dm_upstream_endpoint *e, struct dm_upstream_request *r)
{
    struct dm_tls_trust *trust = NULL;
    struct dm_tls_client *client;

    if (e->tls)
        return true;
    r->tls_reason = DM_TLS_REASON_NO_TRUSTED_CA;
    if (e->upstream->tls->verifies && find_trust(e->upstream, &trust) < 0)
        return false;
    r->tls_reason = new_client(e, r, trust, &client);
    if (r->tls_reason == DM_TLS_REASON_NONE) {
        e->tls = dm_http_tls_new(client);
        dm_tls_client_unref(client);
    }
    dm_tls_trust_unref(trust);
    return e->tls != NULL;
}

void dm_upstream_renew_tls(struct dm_upstream *u)
{
    if (!u->tls || u->tls->client_certificate[0] == 0)
        return;
    for (uint32_t i = 0; i < u->n_endpoints; i++) {
        struct dm_upstream_endpoint *e = &u->endpoints[i];
        dm_http_tls_unref(e->tls);
        e->tls = NULL;
        while (e->idle)
            dm_upstream_conn_close(e->idle);
    }
}
