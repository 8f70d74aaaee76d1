#include "control/audit/record.h"
#include "base/jsonw.h"

#define RECORD_MAX (64u << 20)

static void write_record(const struct dm_change_row *row, struct dm_buf *ret)
{
    struct dm_jsonw w;

    dm_jsonw_init(&w, ret);
    dm_jsonw_begin_object(&w);
    dm_jsonw_member_u64(&w, "number", (uint64_t)row->number);
    if (row->sequence != row->number)
        dm_jsonw_member_u64(&w, "sequence", (uint64_t)row->sequence);
    dm_jsonw_member_u64(&w, "at_ms", (uint64_t)row->at_ms);
    dm_jsonw_member_str(&w, "actor", row->actor);
    dm_jsonw_member_u64(&w, "tenant_id", (uint64_t)row->tenant_number);
    dm_jsonw_member_str(&w, "tenant", row->tenant);
    dm_jsonw_member_str(&w, "action", row->action);
    dm_jsonw_member_str(&w, "kind", row->kind);
    dm_jsonw_member_str(&w, "name", row->name);
    dm_jsonw_member_str(&w, "request_id", row->request_id);
    dm_jsonw_member_str(&w, "details", row->details);
    dm_jsonw_end_object(&w);
}

static int hash_record(const struct dm_change_row *row, uint8_t ret[DM_DIGEST_BYTES], struct dm_err *err)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf text = {0};
    struct dm_digest_state state;

    dm_buf_init(&text, RECORD_MAX);
    write_record(row, &text);
    if (text.failed)
        return dm_fail(err, DM_EBUDGET, "", "the change is too large to be recorded");
    dm_digest_init(&state, NULL);
    dm_digest_update(&state, row->previous, sizeof(row->previous));
    dm_digest_update(&state, text.ptr, text.len);
    dm_digest_final(&state, ret);
    return 0;
}

int dm_audit_record(struct dm_txn *txn, const struct dm_audit_entry *entry, int64_t *ret_sequence, struct dm_err *err)
{
    struct dm_change_row row = {
        .at_ms = dm_txn_now_ms(txn),
        .actor = entry->caller->name,
        .action = dm_str_of(dm_change_action_names[entry->action]),
        .kind = entry->kind,
        .name = entry->name,
        .request_id = entry->caller->request_id,
        .details = entry->details,
    };
    int rc = dm_changes_next(txn, entry->tenant, &row, err);

    if (entry->tenant != NULL) {
        row.tenant = dm_tenants_name(entry->tenant);
        row.tenant_number = dm_tenants_number(entry->tenant);
    }
    if (rc < 0 || (rc = hash_record(&row, row.hash, err)) < 0 || (rc = dm_changes_append(txn, &row, err)) < 0)
        return rc;
    *ret_sequence = row.sequence;
    return 0;
}

struct chain {
    int64_t count;
    uint8_t last[DM_DIGEST_BYTES];
};

static int check_link(void *arg, const struct dm_change_row *row, struct dm_err *err)
{
    struct chain *chain = arg;
    uint8_t hash[DM_DIGEST_BYTES];
    int rc = hash_record(row, hash, err);

    if (rc < 0)
        return rc;
    if (row->number != chain->count + 1 || memcmp(row->previous, chain->last, sizeof(hash)) != 0)
        return dm_fail(err, DM_ECORRUPT, "", "change %lld does not follow change %lld", (long long)row->number,
                       (long long)chain->count);
    if (memcmp(row->hash, hash, sizeof(hash)) != 0)
        return dm_fail(err, DM_ECORRUPT, "", "change %lld is not what was recorded", (long long)row->number);
    chain->count++;
    memcpy(chain->last, hash, sizeof(hash));
    return 0;
}

int dm_audit_verify(struct dm_txn *txn, const struct dm_caller *caller, int64_t *ret_count, struct dm_err *err)
{
    struct chain chain = {0};
    int rc = dm_changes_walk(txn, caller, check_link, &chain, err);

    if (rc == 0)
        *ret_count = chain.count;
    return rc;
}
