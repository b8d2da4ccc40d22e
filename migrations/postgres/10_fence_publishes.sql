-- What keeps late reports of media servers from doing harm.

-- The boots of media servers: of each node the one that was first heard of last
-- counts, all others are dead.
create table node_boots (
    node_id text not null,
    boot_id text not null,
    create_time timestamptz not null,
    primary key (node_id, boot_id)
);
create index node_boots_by_age on node_boots (create_time);

-- Every connection that was ever accepted, so that a late repetition of its
-- first report is known as one.
create table publishes (
    node_id text not null,
    boot_id text not null,
    connection_id text not null,
    project_id uuid not null references projects (id) on delete cascade,
    create_time timestamptz not null,
    -- When the media server said that it is gone.
    end_time timestamptz,
    primary key (node_id, boot_id, connection_id, project_id)
);
create index publishes_of_project on publishes (project_id);
create index publishes_by_age on publishes (create_time);

-- From when the key with which the connection published counts no more.
alter table streams add column key_expire_time timestamptz;
-- Where relay workers read its media, sealed; null if nobody said, and once it has ended.
alter table streams add column play_url_id uuid;
alter table streams add column play_url_sealed bytea;
create unique index streams_by_play_url on streams (play_url_id) where play_url_id is not null;
create index streams_unended_by_key_expiry on streams (key_expire_time)
    where end_time is null and key_expire_time is not null;

-- What a connection published last, for a media server that says which it has.
create index streams_of_connection on streams (node_id, boot_id, connection_id);
