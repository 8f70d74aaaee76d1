-- Private keys of certificates, sealed. They go with the tenant.
CREATE TABLE certificate_key (
    tenant_id BIGINT NOT NULL REFERENCES tenant (tenant_id) ON DELETE CASCADE,
    certificate TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (tenant_id, certificate)
);

-- What private keys are sealed with on their way to gateways, sealed itself; the last one counts.
CREATE TABLE tenant_data_key (
    tenant_id BIGINT NOT NULL REFERENCES tenant (tenant_id) ON DELETE CASCADE,
    key_id BIGINT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (tenant_id, key_id)
);

-- What a credential is of, where that is no secret: fingerprint or subject of a client certificate.
ALTER TABLE credential ADD COLUMN shown TEXT NOT NULL DEFAULT '';
