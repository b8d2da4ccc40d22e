-- Projects with their ingest keys, and the destinations of each.

create table projects (
    id BLOB primary key,
    owner_id BLOB not null references users (id) on delete cascade,
    name TEXT not null,
    disabled INTEGER not null,
    reconnect_window_ms INTEGER not null,
    publish_conflict_policy TEXT not null,
    -- SHA-256 of the stream key, by which it is found. Null once deleted.
    stream_key_hash BLOB unique,
    -- The stream key itself, sealed. Null once deleted.
    stream_key_sealed BLOB,
    stream_key_hint TEXT not null,
    -- The key before, while its grace lasts.
    previous_key_hash BLOB unique,
    previous_key_expire_time TEXT,
    -- Publishers are refused until then.
    publish_held_until TEXT,
    -- Grows by one with every change of the project and what belongs to it.
    revision INTEGER not null,
    create_time TEXT not null,
    update_time TEXT not null,
    -- A deleted project stays for a while, so that media servers learn why its stream ended.
    delete_time TEXT
) strict;
create index projects_of_owner on projects (owner_id, id) where delete_time is null;
create index projects_by_deletion on projects (delete_time) where delete_time is not null;

-- The projects that a restricted API key may see.
create table api_key_projects (
    api_key_id BLOB not null references api_keys (id) on delete cascade,
    project_id BLOB not null references projects (id) on delete cascade,
    primary key (api_key_id, project_id)
) strict;
create index api_key_projects_of_project on api_key_projects (project_id);

create table destinations (
    id BLOB primary key,
    project_id BLOB not null references projects (id) on delete cascade,
    platform TEXT not null,
    name TEXT not null,
    url TEXT not null,
    stream_key_sealed BLOB not null,
    stream_key_hint TEXT not null,
    enabled INTEGER not null,
    create_time TEXT not null,
    update_time TEXT not null
) strict;
create index destinations_of_project on destinations (project_id, id);
