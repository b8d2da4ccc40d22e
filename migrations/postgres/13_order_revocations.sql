-- Revocations in the order of their commits, and stream keys that were replaced at once.

-- The transaction that inserted the revocation. A reader that has seen every transaction
-- before a certain one misses no revocation from then on.
alter table revocations
    add column position bigint not null default pg_current_xact_id()::text::bigint;
create index revocations_by_position on revocations (position);

-- A stream key that was replaced without a grace period: it is not valid, whatever the time.
alter table projects add column replaced_key_hash bytea;
create unique index projects_by_replaced_key on projects (replaced_key_hash);
