-- Who did what, when, from where, with what result. Rows are added, and removed
-- only when their retention has ended; they outlive the account.

create table audit_events (
    id BLOB primary key,
    user_id BLOB not null,
    create_time TEXT not null,
    -- The RPC, and "OK" or the reason of its refusal.
    action TEXT not null,
    result TEXT not null,
    session_id BLOB,
    api_key_id BLOB,
    resource_id BLOB,
    peer_address TEXT not null,
    user_agent TEXT not null
) strict;
create index audit_events_of_user on audit_events (user_id, id);
create index audit_events_by_age on audit_events (create_time);
