-- Operator keys that outlive their revocation, suspended accounts, and what operators list.

-- The media server that an operator's key is bound to; null means all.
alter table api_keys add column node_id TEXT;
-- A revoked operator key remains, so that the audit log can name it.
alter table api_keys add column revoke_time TEXT;
-- The operator key that created this one; null if it was created at the database.
alter table api_keys add column creator_id BLOB;
create index api_keys_by_creator on api_keys (creator_id) where creator_id is not null;

-- Since when the account is suspended; null if it is active.
alter table users add column suspend_time TEXT;
create index users_suspended on users (id) where suspend_time is not null;

-- The media servers that have reported.
create table nodes (
    -- UUIDv7, for the order of lists.
    id BLOB primary key,
    node_id TEXT not null unique,
    -- The newest boot, and when it reported first.
    boot_id TEXT not null,
    boot_time TEXT not null,
    create_time TEXT not null,
    last_report_time TEXT not null
) strict;
create index nodes_by_report on nodes (last_report_time);
insert into nodes (id, node_id, boot_id, boot_time, create_time, last_report_time)
select randomblob(16), b.node_id, b.boot_id, b.create_time, b.create_time, b.create_time
from node_boots b
where not exists (
    select 1
    from node_boots l
    where l.node_id = b.node_id
      and (l.create_time > b.create_time
           or l.create_time = b.create_time and l.boot_id > b.boot_id));

-- The relay workers that have claimed relays.
create table workers (
    -- UUIDv7, for the order of lists.
    id BLOB primary key,
    worker_id TEXT not null unique,
    -- The media server whose streams it relays; empty means any.
    node_id TEXT not null,
    capacity INTEGER not null,
    -- The operator key of the last claim.
    api_key_id BLOB not null,
    create_time TEXT not null,
    last_claim_time TEXT not null
) strict;
create index workers_by_claim on workers (last_claim_time);

-- For operators, who list the events of all accounts.
create index audit_events_by_action on audit_events (action, id);
create index audit_events_of_key on audit_events (api_key_id, id) where api_key_id is not null;
