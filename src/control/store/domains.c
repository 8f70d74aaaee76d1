#include "control/store/domains.h"
#include "control/store/store_int.h"
#include "model/domain.h"

#define REVERSED_MAX 256

static struct dm_str reverse(struct dm_str name, char buf[REVERSED_MAX])
{
    size_t len = DM_MIN(name.len, (size_t)REVERSED_MAX);

    for (size_t i = 0; i < len; i++)
        buf[i] = name.ptr[name.len - 1 - i];
    return dm_str_n(buf, len);
}

/* Someone else's name: DM_EEXIST with the name and its tenant. */
static int check_holder(struct dm_tenant_handle *handle, struct dm_str name, const char *how, struct dm_sql_rows *rows,
                        struct dm_err *err)
{
    int rc = dm_sql_next(rows, err);

    if (rc <= 0)
        return rc;
    return dm_fail(err, DM_EEXIST, "", "'%.*s' %s '%.*s' of tenant '%.*s'", DM_STR_ARG(name), how,
                   DM_STR_ARG(dm_sql_col_str(rows, 0)), DM_STR_ARG(dm_sql_col_str(rows, 1)));
}

static int check_name(struct dm_tenant_handle *handle, struct dm_str name, struct dm_str held, const char *how,
                      struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    int rc = dm_sql_start(handle->txn->sql, &rows, err,
                          "SELECT d.name, t.name FROM domain d JOIN tenant t ON t.tenant_id = d.tenant_id "
                          "WHERE d.name = ?1 AND d.tenant_id <> ?2",
                          DM_SQL_T(held), DM_SQL_I(handle->tenant_id));

    return rc < 0 ? rc : check_holder(handle, name, how, rows, err);
}

/* Every wildcard that holds the name: *.b.c and *.c for a.b.c. */
static int check_wildcards_above(struct dm_tenant_handle *handle, struct dm_str name, struct dm_err *err)
{
    char buf[REVERSED_MAX + 2];
    struct dm_str rest = dm_domain_is_wildcard(name) ? dm_str_skip(name, 2) : name;
    int rc = 0;

    for (size_t dot = dm_str_find(rest, '.'); rc >= 0 && dot < rest.len; dot = dm_str_find(rest, '.')) {
        rest = dm_str_skip(rest, dot + 1);
        snprintf(buf, sizeof(buf), "*.%.*s", DM_STR_ARG(rest));
        rc = check_name(handle, name, dm_str_of(buf), "lies under", err);
    }
    return rc;
}

/* Every name that the wildcard *.b.c would hold: those whose reversed form begins with "c.b." */
static int check_names_below(struct dm_tenant_handle *handle, struct dm_str name, struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    char from[REVERSED_MAX], to[REVERSED_MAX];
    struct dm_str prefix = reverse(dm_str_skip(name, 1), from);
    struct dm_str end = reverse(dm_str_skip(name, 1), to);
    int rc;

    to[end.len - 1] = '.' + 1;
    rc = dm_sql_start(handle->txn->sql, &rows, err,
                      "SELECT d.name, t.name FROM domain d JOIN tenant t ON t.tenant_id = d.tenant_id "
                      "WHERE d.reversed >= ?1 AND d.reversed < ?2 AND d.tenant_id <> ?3 LIMIT 1",
                      DM_SQL_T(prefix), DM_SQL_T(end), DM_SQL_I(handle->tenant_id));
    return rc < 0 ? rc : check_holder(handle, name, "holds", rows, err);
}

int dm_domains_claim(struct dm_tenant_handle *handle, struct dm_str name, struct dm_err *err)
{
    char buf[REVERSED_MAX];
    int rc = check_name(handle, name, name, "is", err);

    if (rc >= 0)
        rc = check_wildcards_above(handle, name, err);
    if (rc >= 0 && dm_domain_is_wildcard(name))
        rc = check_names_below(handle, name, err);
    if (rc < 0)
        return rc;
    rc = dm_sql_run(handle->txn->sql, err, "INSERT INTO domain (name, reversed, tenant_id) VALUES (?1, ?2, ?3)",
                    DM_SQL_T(name), DM_SQL_T(reverse(name, buf)), DM_SQL_I(handle->tenant_id));
    return rc < 0 ? rc : 0;
}

int dm_domains_release_all(struct dm_tenant_handle *handle, struct dm_err *err)
{
    int rc = dm_sql_run(handle->txn->sql, err, "DELETE FROM domain WHERE tenant_id = ?1", DM_SQL_I(handle->tenant_id));

    return rc < 0 ? rc : 0;
}
