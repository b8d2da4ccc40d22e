-- The health of media: what an edge measures of each stream and relay, the issues that follow
-- from it, and samples of it. Checks of destinations by an edge.

-- What only a reader of the media can measure, and the present issues: JSON. Null means none.
alter table streams add column media text;
alter table streams add column issues text;

-- How well the current attempt delivers media, and the present issues: JSON, null means none.
alter table relays add column lag_ms integer not null default 0;
alter table relays add column dropped_packets bigint not null default 0;
alter table relays add column retransmitted_segments bigint not null default 0;
alter table relays add column last_drop_time timestamptz;
alter table relays add column issues text;

-- The statistics of live streams, every 10 seconds.
create table stream_samples (
    stream_id uuid not null references streams (id) on delete cascade,
    sample_time timestamptz not null,
    bytes_received bigint not null,
    bitrate_bps bigint not null,
    width integer not null,
    height integer not null,
    fps double precision not null,
    video_codec text not null,
    audio_codec text not null,
    media text,
    primary key (stream_id, sample_time)
);
-- For the retention.
create index stream_samples_by_time on stream_samples (sample_time);

-- Destinations that an edge is asked to check, for a few seconds.
create table destination_checks (
    id uuid primary key,
    user_id uuid not null references users (id) on delete cascade,
    -- The media server whose edge has to check; empty means any.
    node_id text not null,
    -- The address without its key.
    server_url text not null,
    create_time timestamptz not null,
    -- Until when the result is of use.
    expire_time timestamptz not null,
    -- The edge that checks, and the media server for which it claims relays.
    worker_id text,
    worker_node_id text,
    -- The results of the steps: JSON.
    results text
);
-- For the rate limit, and what is to be checked.
create index destination_checks_of_user on destination_checks (user_id, create_time);
create index destination_checks_waiting on destination_checks (expire_time)
    where worker_id is null;
create index destination_checks_by_age on destination_checks (create_time);
