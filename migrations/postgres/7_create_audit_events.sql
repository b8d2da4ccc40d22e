-- Who did what, when, from where, with what result. Rows are added, and removed
-- only when their retention has ended; they outlive the account.

create table audit_events (
    id uuid primary key,
    user_id uuid not null,
    create_time timestamptz not null,
    -- The RPC, and "OK" or the reason of its refusal.
    action text not null,
    result text not null,
    session_id uuid,
    api_key_id uuid,
    resource_id uuid,
    peer_address text not null,
    user_agent text not null
);
create index audit_events_of_user on audit_events (user_id, id);
create index audit_events_by_age on audit_events (create_time);
