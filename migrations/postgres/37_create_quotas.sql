-- Quotas: limits of an organization, which operators set. Null: no limit.

create table quotas (
    organization_id uuid primary key references organizations (id) on delete cascade,
    projects bigint,
    -- Of all projects together.
    destinations bigint,
    -- Streams that have not ended, at the same time.
    live_streams bigint,
    -- In a month (UTC).
    stream_minutes bigint,
    delivered_bytes bigint,
    update_time timestamptz not null
);
