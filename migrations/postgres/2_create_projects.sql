-- Projects with their ingest keys, and the destinations of each.

create table projects (
    id uuid primary key,
    owner_id uuid not null references users (id) on delete cascade,
    name text not null,
    disabled boolean not null,
    reconnect_window_ms bigint not null,
    publish_conflict_policy text not null,
    -- SHA-256 of the stream key, by which it is found. Null once deleted.
    stream_key_hash bytea unique,
    -- The stream key itself, sealed. Null once deleted.
    stream_key_sealed bytea,
    stream_key_hint text not null,
    -- The key before, while its grace lasts.
    previous_key_hash bytea unique,
    previous_key_expire_time timestamptz,
    -- Publishers are refused until then.
    publish_held_until timestamptz,
    -- Grows by one with every change of the project and what belongs to it.
    revision bigint not null,
    create_time timestamptz not null,
    update_time timestamptz not null,
    -- A deleted project stays for a while, so that media servers learn why its stream ended.
    delete_time timestamptz
);
create index projects_of_owner on projects (owner_id, id) where delete_time is null;
create index projects_by_deletion on projects (delete_time) where delete_time is not null;

-- The projects that a restricted API key may see.
create table api_key_projects (
    api_key_id uuid not null references api_keys (id) on delete cascade,
    project_id uuid not null references projects (id) on delete cascade,
    primary key (api_key_id, project_id)
);
create index api_key_projects_of_project on api_key_projects (project_id);

create table destinations (
    id uuid primary key,
    project_id uuid not null references projects (id) on delete cascade,
    platform text not null,
    name text not null,
    url text not null,
    stream_key_sealed bytea not null,
    stream_key_hint text not null,
    enabled boolean not null,
    create_time timestamptz not null,
    update_time timestamptz not null
);
create index destinations_of_project on destinations (project_id, id);
