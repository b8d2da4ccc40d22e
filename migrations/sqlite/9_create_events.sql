-- What changed of each project, in the order of its revisions, so that watchers
-- can go on where they were.

create table events (
    project_id BLOB not null references projects (id) on delete cascade,
    -- The project's revision after the change: there is an event for each.
    revision INTEGER not null,
    create_time TEXT not null,
    -- What changed, and how it was then: JSON.
    change TEXT not null,
    primary key (project_id, revision)
) strict;
create index events_by_age on events (create_time);
