-- The tenant that the reply is about; NULL = the platform. It goes with it.
ALTER TABLE reply ADD COLUMN tenant_id BIGINT REFERENCES tenant (tenant_id) ON DELETE CASCADE;
UPDATE reply SET tenant_id = (SELECT token.tenant_id FROM token WHERE token.token_id = reply.token_id);
CREATE INDEX reply_tenant ON reply (tenant_id);
