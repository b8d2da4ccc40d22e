-- Relays: what is wanted and what is observed of each stream on its way to each
-- destination, and which worker has it.

create table relays (
    stream_id BLOB not null references streams (id) on delete cascade,
    destination_id BLOB not null references destinations (id) on delete cascade,
    project_id BLOB not null references projects (id) on delete cascade,
    -- Whether it is to run, as opposed to being stopped.
    wanted INTEGER not null,
    state TEXT not null,
    -- Failures in a row.
    attempt INTEGER not null,
    -- From when on a worker may take it.
    ready_time TEXT not null,
    last_progress_time TEXT,
    bytes_sent INTEGER not null,
    bitrate_bps INTEGER not null,
    -- What went wrong last; all three or none.
    error_code TEXT,
    error_severity TEXT,
    error_message TEXT,
    -- Who has it, until when; all of them or none, but for broadcast_time.
    worker_id TEXT,
    lease_id BLOB unique,
    lease_expire_time TEXT,
    claim_time TEXT,
    -- When the first bytes of the present try were sent.
    broadcast_time TEXT,
    -- Since when no more bytes were sent while there was something to send.
    silent_since TEXT,
    update_time TEXT not null,
    primary key (stream_id, destination_id)
) strict;
create index relays_of_destination on relays (destination_id);
create index relays_of_project on relays (project_id);
create index relays_of_worker on relays (worker_id) where worker_id is not null;
create index relays_by_lease_expiry on relays (lease_expire_time) where lease_id is not null;
create index relays_by_silence on relays (silent_since) where state = 'broadcasting';
-- What a worker may take.
create index relays_unclaimed on relays (ready_time, stream_id, destination_id)
    where wanted and lease_id is null and state <> 'failed';
-- Two workers must not send to one destination.
create unique index relays_one_lease_of_destination on relays (destination_id)
    where lease_id is not null;
