-- Publishers that were refused, for the owner who asks why. Bounded per project.

create table refusals (
    id uuid primary key,
    project_id uuid not null references projects (id) on delete cascade,
    create_time timestamptz not null,
    -- The reason that the media server was told.
    reason text not null,
    node_id text not null,
    -- The network of the publisher, or empty.
    peer_prefix text not null
);
create index refusals_of_project on refusals (project_id, id);
create index refusals_by_age on refusals (create_time);
