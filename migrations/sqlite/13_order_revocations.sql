-- Revocations in the order of their commits, and stream keys that were replaced at once.

-- Grows with every insert.
alter table revocations add column position INTEGER not null default 0;
create index revocations_by_position on revocations (position);

-- A stream key that was replaced without a grace period: it is not valid, whatever the time.
alter table projects add column replaced_key_hash BLOB;
create unique index projects_by_replaced_key on projects (replaced_key_hash);
