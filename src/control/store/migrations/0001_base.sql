CREATE TABLE counter (
    name TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);

CREATE TABLE tenant (
    tenant_id BIGINT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL,
    suspended INTEGER NOT NULL,
    version BIGINT NOT NULL,
    created_ms BIGINT NOT NULL
);

-- Outlives the tenant: the epoch of the last tenant of a name.
CREATE TABLE tenant_epoch (
    name TEXT NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL
);

CREATE TABLE tenant_key (
    tenant_id BIGINT NOT NULL REFERENCES tenant (tenant_id) ON DELETE CASCADE,
    key_id BIGINT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (tenant_id, key_id)
);

CREATE TABLE resource (
    tenant_id BIGINT NOT NULL REFERENCES tenant (tenant_id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    number BIGINT NOT NULL,
    version BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (tenant_id, kind, name)
);

CREATE TABLE subscription (
    tenant_id BIGINT NOT NULL REFERENCES tenant (tenant_id) ON DELETE CASCADE,
    application TEXT NOT NULL,
    product TEXT NOT NULL,
    plan TEXT NOT NULL,
    PRIMARY KEY (tenant_id, application, product)
);
CREATE INDEX subscription_product ON subscription (tenant_id, product, plan, application);

-- reversed: the name's bytes from the last to the first, so that names under a wildcard lie together.
CREATE TABLE domain (
    name TEXT NOT NULL PRIMARY KEY,
    reversed TEXT NOT NULL,
    tenant_id BIGINT NOT NULL REFERENCES tenant (tenant_id) ON DELETE CASCADE
);
CREATE INDEX domain_reversed ON domain (reversed);
CREATE INDEX domain_tenant ON domain (tenant_id);

CREATE TABLE credential (
    tenant_id BIGINT NOT NULL REFERENCES tenant (tenant_id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    application TEXT NOT NULL,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    digest BLOB NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, number),
    UNIQUE (tenant_id, application, name),
    UNIQUE (tenant_id, digest)
);

-- Outlives the tenant, so that gateways learn that it is gone.
CREATE TABLE unit (
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL,
    tenant_id BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    removed INTEGER NOT NULL,
    document BLOB NOT NULL,
    PRIMARY KEY (tenant, kind)
);

CREATE TABLE token (
    token_id BIGINT NOT NULL PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    role TEXT NOT NULL,
    tenant_id BIGINT REFERENCES tenant (tenant_id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    used_ms BIGINT NOT NULL
);
CREATE UNIQUE INDEX token_name ON token (COALESCE(tenant_id, 0), name);

CREATE TABLE change (
    number BIGINT NOT NULL PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    actor TEXT NOT NULL,
    tenant_id BIGINT NOT NULL,
    tenant TEXT NOT NULL,
    action TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    request_id TEXT NOT NULL,
    details TEXT NOT NULL,
    previous BLOB NOT NULL,
    hash BLOB NOT NULL
);
CREATE INDEX change_tenant ON change (tenant_id, number);

CREATE TABLE reply (
    token_id BIGINT NOT NULL,
    key TEXT NOT NULL,
    request BLOB NOT NULL,
    sealed BLOB NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (token_id, key)
);
CREATE INDEX reply_created ON reply (created_ms);

CREATE TABLE usage_minute (
    tenant_id BIGINT NOT NULL REFERENCES tenant (tenant_id) ON DELETE CASCADE,
    product TEXT NOT NULL,
    application BIGINT NOT NULL,
    metric TEXT NOT NULL,
    minute BIGINT NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, minute, product, application, metric)
);

-- Which batches of a gateway are stored: all below the window, and those whose bit is set in it.
CREATE TABLE usage_batch (
    gateway TEXT NOT NULL PRIMARY KEY,
    high BIGINT NOT NULL,
    seen BLOB NOT NULL
);
