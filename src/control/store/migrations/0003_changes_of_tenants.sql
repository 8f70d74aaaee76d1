-- What tenants see of numbers says nothing of others: the changes of each name are counted by themselves.

-- Number of the last change of a tenant of this name.
ALTER TABLE tenant_epoch ADD COLUMN changes BIGINT NOT NULL DEFAULT 0;
UPDATE tenant_epoch SET changes = past.last
    FROM (SELECT tenant, MAX(number) AS last FROM change GROUP BY tenant) AS past WHERE past.tenant = tenant_epoch.name;

-- Number among those; of the platform's changes and of those before this migration, the number among all.
ALTER TABLE change ADD COLUMN sequence BIGINT NOT NULL DEFAULT 0;
UPDATE change SET sequence = number;
DROP INDEX change_tenant;
CREATE INDEX change_tenant ON change (tenant_id, sequence);
