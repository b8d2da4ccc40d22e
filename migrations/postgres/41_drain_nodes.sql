-- Media servers whose relays move to other workers.

-- Since when the relays of its workers move away; null if they do not.
alter table nodes add column drain_time timestamptz;
create index nodes_draining on nodes (node_id) where drain_time is not null;

-- Whether a second connection with the same key may begin before the first one ends.
alter table destinations add column allows_second_connection boolean not null default false;

-- The lease of the worker that a relay moves away from. It goes on until the next worker sends, or
-- until this time.
alter table relays add column outgoing_lease_id uuid;
alter table relays add column outgoing_worker_id text;
alter table relays add column outgoing_expire_time timestamptz;
create index relays_of_outgoing_worker on relays (outgoing_worker_id)
    where outgoing_worker_id is not null;
