-- Publishers that were refused, for the owner who asks why. Bounded per project.

create table refusals (
    id BLOB primary key,
    project_id BLOB not null references projects (id) on delete cascade,
    create_time TEXT not null,
    -- The reason that the media server was told.
    reason TEXT not null,
    node_id TEXT not null,
    -- The network of the publisher, or empty.
    peer_prefix TEXT not null
) strict;
create index refusals_of_project on refusals (project_id, id);
create index refusals_by_age on refusals (create_time);
