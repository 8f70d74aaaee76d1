#include "snapshot/applications.h"
#include "snapshot/compile_int.h"

#include "base/encode.h"
#include "base/mem.h"

static dm_off add_subscriptions(struct dm_builder *b, const struct dm_application *application)
{
    struct dm_usubscription *out DM_CLEANUP(dm_freep) = dm_calloc(application->n_subscriptions, sizeof(*out));

    for (size_t i = 0; i < application->n_subscriptions; i++) {
        const struct dm_subscription *s = &application->subscriptions[i];
        out[i].product_id = dm_unit_name_id(s->product);
        out[i].plan_id = dm_plan_id(s->product, s->plan);
    }
    return DM_BUILDER_ADD(b, out, application->n_subscriptions, struct dm_usubscription);
}

static dm_off add_applications(struct dm_builder *b, const struct dm_applications_body *body)
{
    struct dm_uapplication *out DM_CLEANUP(dm_freep) = dm_calloc(body->n_applications, sizeof(*out));

    for (size_t i = 0; i < body->n_applications; i++) {
        const struct dm_application *application = &body->applications[i];
        out[i].id = (uint64_t)application->id;
        out[i].name = dm_builder_str(b, application->name);
        out[i].subscriptions = add_subscriptions(b, application);
        out[i].n_subscriptions = (uint32_t)application->n_subscriptions;
        out[i].is_suspended = application->state == DM_STATE_SUSPENDED;
        out[i].index = (uint32_t)i;
    }
    return DM_BUILDER_ADD(b, out, body->n_applications, struct dm_uapplication);
}

static uint32_t slots_for(size_t n_credentials)
{
    uint32_t n = 1;

    if (n_credentials == 0)
        return 0;
    while (n < 2 * n_credentials)
        n *= 2;
    return n;
}

/* Two applications with one digest would be one key for two callers: refused. */
static int insert(struct dm_ucredential *slots, uint32_t n_slots, const struct dm_ucredential *credential)
{
    uint64_t at;

    memcpy(&at, credential->digest, sizeof(at));
    for (at &= n_slots - 1; slots[at].application != 0; at = (at + 1) & (n_slots - 1))
        if (memcmp(slots[at].digest, credential->digest, DM_DIGEST_BYTES) == 0)
            return DM_EEXIST;
    slots[at] = *credential;
    return 0;
}

static int fill_slots(const struct dm_applications_body *body, dm_off applications, struct dm_ucredential *slots,
                      uint32_t n_slots, struct dm_err *err)
{
    struct dm_ucredential slot;

    for (size_t i = 0; i < body->n_applications; i++)
        for (size_t k = 0; k < body->applications[i].n_credentials; k++) {
            memset(&slot, 0, sizeof(slot));
            slot.application = applications + (dm_off)(i * sizeof(struct dm_uapplication));
            if (dm_unhex(body->applications[i].credentials[k].digest, slot.digest, DM_DIGEST_BYTES) < 0)
                return dm_fail(err, DM_EINVAL, "/applications", "application %zu has a credential without a digest", i);
            if (insert(slots, n_slots, &slot) < 0)
                return dm_fail(err, DM_EINVAL, "/applications",
                               "two applications have the same credential; one is '%.*s'",
                               DM_STR_ARG(body->applications[i].name));
        }
    return 0;
}

static size_t count_credentials(const struct dm_applications_body *body)
{
    size_t n = 0;

    for (size_t i = 0; i < body->n_applications; i++)
        n += body->applications[i].n_credentials;
    return n;
}

int dm_compile_applications(struct dm_builder *b, const struct dm_applications_body *body, dm_off *ret,
                            struct dm_err *err)
{
    struct dm_uapplications root = {.digest_key_id = (uint32_t)body->digest_key_id,
                                    .n_applications = (uint32_t)body->n_applications,
                                    .n_slots = slots_for(count_credentials(body))};
    struct dm_ucredential *slots DM_CLEANUP(dm_freep) = dm_calloc(root.n_slots, sizeof(*slots));
    int rc;

    if ((rc = dm_unhex(body->digest_key, root.digest_key, sizeof(root.digest_key))) < 0)
        return dm_fail(err, rc, "/digest_key", "must be 64 hexadecimal digits");
    root.applications = add_applications(b, body);
    if ((rc = fill_slots(body, root.applications, slots, root.n_slots, err)) < 0)
        return rc;
    root.credentials = DM_BUILDER_ADD(b, slots, root.n_slots, struct dm_ucredential);
    *ret = DM_BUILDER_ADD(b, &root, 1, struct dm_uapplications);
    return 0;
}
