-- Streams: at most one per project that has not ended, held by one connection at one epoch.

create table streams (
    id uuid primary key,
    project_id uuid not null references projects (id) on delete cascade,
    status text not null,
    epoch bigint not null,
    -- The connection that holds the stream.
    node_id text not null,
    boot_id text not null,
    connection_id text not null,
    peer_address text not null,
    protocol text not null,
    -- Whether that connection is believed to stand.
    connected boolean not null,
    create_time timestamptz not null,
    live_time timestamptz,
    last_seen_time timestamptz not null,
    -- When it ends by itself: a connecting stream without media, a reconnecting one without publisher.
    deadline timestamptz,
    end_time timestamptz,
    end_reason text,
    -- What was last measured; bytes_received is null until something was.
    bytes_received bigint,
    bitrate_bps bigint,
    width integer,
    height integer,
    fps double precision,
    video_codec text,
    audio_codec text
);
create unique index streams_one_unended on streams (project_id) where end_time is null;
create index streams_of_project on streams (project_id, id);
create index streams_of_project_by_status on streams (project_id, status, id);
create index streams_unended_by_last_seen on streams (last_seen_time) where end_time is null;
create index streams_unended_by_deadline on streams (deadline) where end_time is null;
create index streams_unended_of_node on streams (node_id) where end_time is null;
