-- The health of media: what an edge measures of each stream and relay, the issues that follow
-- from it, and samples of it. Checks of destinations by an edge.

-- What only a reader of the media can measure, and the present issues: JSON. Null means none.
alter table streams add column media TEXT;
alter table streams add column issues TEXT;

-- How well the current attempt delivers media, and the present issues: JSON, null means none.
alter table relays add column lag_ms INTEGER not null default 0;
alter table relays add column dropped_packets INTEGER not null default 0;
alter table relays add column retransmitted_segments INTEGER not null default 0;
alter table relays add column last_drop_time TEXT;
alter table relays add column issues TEXT;

-- The statistics of live streams, every 10 seconds.
create table stream_samples (
    stream_id BLOB not null references streams (id) on delete cascade,
    sample_time TEXT not null,
    bytes_received INTEGER not null,
    bitrate_bps INTEGER not null,
    width INTEGER not null,
    height INTEGER not null,
    fps REAL not null,
    video_codec TEXT not null,
    audio_codec TEXT not null,
    media TEXT,
    primary key (stream_id, sample_time)
) strict;
-- For the retention.
create index stream_samples_by_time on stream_samples (sample_time);

-- Destinations that an edge is asked to check, for a few seconds.
create table destination_checks (
    id BLOB primary key,
    user_id BLOB not null references users (id) on delete cascade,
    -- The media server whose edge has to check; empty means any.
    node_id TEXT not null,
    -- The address without its key.
    server_url TEXT not null,
    create_time TEXT not null,
    -- Until when the result is of use.
    expire_time TEXT not null,
    -- The edge that checks, and the media server for which it claims relays.
    worker_id TEXT,
    worker_node_id TEXT,
    -- The results of the steps: JSON.
    results TEXT
) strict;
-- For the rate limit, and what is to be checked.
create index destination_checks_of_user on destination_checks (user_id, create_time);
create index destination_checks_waiting on destination_checks (expire_time)
    where worker_id is null;
create index destination_checks_by_age on destination_checks (create_time);
