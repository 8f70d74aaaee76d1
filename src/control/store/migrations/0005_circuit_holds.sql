-- What people want of the circuit of a backend, whatever its release says, until then. By the backend's name; goes with the tenant.
CREATE TABLE circuit_hold (
    tenant_id BIGINT NOT NULL REFERENCES tenant (tenant_id) ON DELETE CASCADE,
    backend TEXT NOT NULL,
    mode TEXT NOT NULL,
    until_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, backend)
);
