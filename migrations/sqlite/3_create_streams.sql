-- Streams: at most one per project that has not ended, held by one connection at one epoch.

create table streams (
    id BLOB primary key,
    project_id BLOB not null references projects (id) on delete cascade,
    status TEXT not null,
    epoch INTEGER not null,
    -- The connection that holds the stream.
    node_id TEXT not null,
    boot_id TEXT not null,
    connection_id TEXT not null,
    peer_address TEXT not null,
    protocol TEXT not null,
    -- Whether that connection is believed to stand.
    connected INTEGER not null,
    create_time TEXT not null,
    live_time TEXT,
    last_seen_time TEXT not null,
    -- When it ends by itself: a connecting stream without media, a reconnecting one without publisher.
    deadline TEXT,
    end_time TEXT,
    end_reason TEXT,
    -- What was last measured; bytes_received is null until something was.
    bytes_received INTEGER,
    bitrate_bps INTEGER,
    width INTEGER,
    height INTEGER,
    fps REAL,
    video_codec TEXT,
    audio_codec TEXT
) strict;
create unique index streams_one_unended on streams (project_id) where end_time is null;
create index streams_of_project on streams (project_id, id);
create index streams_of_project_by_status on streams (project_id, status, id);
create index streams_unended_by_last_seen on streams (last_seen_time) where end_time is null;
create index streams_unended_by_deadline on streams (deadline) where end_time is null;
create index streams_unended_of_node on streams (node_id) where end_time is null;
