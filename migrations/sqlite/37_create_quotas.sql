-- Quotas: limits of an organization, which operators set. Null: no limit.

create table quotas (
    organization_id BLOB primary key references organizations (id) on delete cascade,
    projects INTEGER,
    -- Of all projects together.
    destinations INTEGER,
    -- Streams that have not ended, at the same time.
    live_streams INTEGER,
    -- In a month (UTC).
    stream_minutes INTEGER,
    delivered_bytes INTEGER,
    update_time TEXT not null
) strict;
