-- Deletions are marks: a job removes the rows of what is marked in small batches.

-- A deleted account has no address, name or password any more.
alter table users add column delete_time timestamptz;
create index users_by_deletion on users (delete_time) where delete_time is not null;

alter table destinations add column delete_time timestamptz;
create index destinations_by_deletion on destinations (delete_time) where delete_time is not null;

-- Also of deleted projects, which projects_of_owner does not contain.
create index projects_by_owner on projects (owner_id);
