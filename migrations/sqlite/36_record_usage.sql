-- Usage: how long projects streamed and what was delivered, in each hour.

create table usage_records (
    id BLOB primary key,
    -- The organization. A record outlives its project and its destination.
    owner_id BLOB not null references organizations (id) on delete cascade,
    project_id BLOB not null,
    -- All zeros: the streams of the project, not what was delivered to a destination.
    destination_id BLOB not null,
    -- The start of the hour.
    hour_time TEXT not null,
    stream_us INTEGER not null,
    bytes_received INTEGER not null,
    bytes_delivered INTEGER not null,
    unique (owner_id, hour_time, project_id, destination_id)
) strict;
create index usage_records_of_owner on usage_records (owner_id, id);
create index usage_records_by_age on usage_records (hour_time);

-- What the records contain of a stream and of its relays.
create table usage_meters (
    stream_id BLOB not null references streams (id) on delete cascade,
    -- All zeros: the stream itself.
    destination_id BLOB not null,
    -- Until when the stream is recorded, and the connection whose bytes were the last ones.
    until_time TEXT,
    epoch INTEGER not null,
    bytes INTEGER not null,
    primary key (stream_id, destination_id)
) strict;

-- The bytes that leases have proved, over all attempts: it only grows.
alter table relays add column bytes_delivered INTEGER not null default 0;

-- Whether all of an ended stream is recorded. Streams that ended before are not.
alter table streams add column metered INTEGER not null default 0;
update streams set metered = 1 where end_time is not null;
create index streams_to_meter on streams (id) where not metered;
