-- Usage: how long projects streamed and what was delivered, in each hour.

create table usage_records (
    id uuid primary key,
    -- The organization. A record outlives its project and its destination.
    owner_id uuid not null references organizations (id) on delete cascade,
    project_id uuid not null,
    -- All zeros: the streams of the project, not what was delivered to a destination.
    destination_id uuid not null,
    -- The start of the hour.
    hour_time timestamptz not null,
    stream_us bigint not null,
    bytes_received bigint not null,
    bytes_delivered bigint not null,
    unique (owner_id, hour_time, project_id, destination_id)
);
create index usage_records_of_owner on usage_records (owner_id, id);
create index usage_records_by_age on usage_records (hour_time);

-- What the records contain of a stream and of its relays.
create table usage_meters (
    stream_id uuid not null references streams (id) on delete cascade,
    -- All zeros: the stream itself.
    destination_id uuid not null,
    -- Until when the stream is recorded, and the connection whose bytes were the last ones.
    until_time timestamptz,
    epoch bigint not null,
    bytes bigint not null,
    primary key (stream_id, destination_id)
);

-- The bytes that leases have proved, over all attempts: it only grows.
alter table relays add column bytes_delivered bigint not null default 0;

-- Whether all of an ended stream is recorded. Streams that ended before are not.
alter table streams add column metered boolean not null default true;
alter table streams alter column metered set default false;
update streams set metered = false where end_time is null;
create index streams_to_meter on streams (id) where not metered;
