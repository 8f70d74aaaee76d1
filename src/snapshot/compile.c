#include "snapshot/compile_int.h"
#include "snapshot/release.h"

#include "base/mem.h"

uint64_t dm_plan_id(struct dm_str product, struct dm_str plan)
{
    char text[2 * DM_NAME_MAX + 2];
    struct dm_buf buf;

    dm_buf_init_fixed(&buf, text, sizeof(text));
    dm_buf_add(&buf, product);
    dm_buf_add_char(&buf, '/');
    dm_buf_add(&buf, plan);
    return dm_unit_name_id(dm_buf_str(&buf));
}

int dm_compile(const struct dm_document *document, const uint8_t document_hash[DM_DIGEST_BYTES], struct dm_builder *b,
               struct dm_err *err)
{
    struct dm_unit_header identity = {.kind = (uint32_t)document->kind,
                                      .tenant_id = (uint64_t)document->tenant_id,
                                      .mark = {(uint64_t)document->epoch, (uint64_t)document->sequence}};
    dm_off root = 0;
    int rc = 0;

    if (document->tenant.len > DM_UNIT_TENANT_MAX)
        return dm_fail(err, DM_EINVAL, "/tenant", "must have at most %u bytes, has %zu", DM_UNIT_TENANT_MAX,
                       document->tenant.len);
    memcpy(identity.tenant, document->tenant.ptr, document->tenant.len);
    memcpy(identity.document_hash, document_hash, DM_DIGEST_BYTES);
    switch ((enum dm_unit_kind)document->kind) {
    case DM_UNIT_RELEASE: rc = dm_compile_release(b, &document->release, &root, err); break;
    case DM_UNIT_APPLICATIONS: rc = dm_compile_applications(b, &document->applications, &root, err); break;
    case DM_UNIT_GRANTS: root = dm_compile_grants(b, &document->grants); break;
    case DM_UNIT_DOMAINS: rc = dm_compile_domains(b, &document->domains, &root, err); break;
    }
    return rc < 0 ? rc : dm_builder_finish(b, &identity, root, err);
}
