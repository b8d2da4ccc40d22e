-- People, their sessions, and the API keys of people and of operators.

create table users (
    id BLOB primary key,
    email TEXT not null,
    -- The address in lower case: unique without regard to case.
    email_key TEXT not null unique,
    email_verified INTEGER not null,
    display_name TEXT not null,
    -- Null for an account that signs in only through another issuer.
    password_hash TEXT,
    create_time TEXT not null,
    update_time TEXT not null
) strict;

create table sessions (
    id BLOB primary key,
    user_id BLOB not null references users (id) on delete cascade,
    -- Sealed: all refresh tokens of the session are derived from it and a counter.
    refresh_seed BLOB not null,
    refresh_counter INTEGER not null,
    peer_address TEXT not null,
    user_agent TEXT not null,
    create_time TEXT not null,
    last_used_time TEXT not null,
    -- The end of the session, however often it is refreshed.
    expire_time TEXT not null,
    revoke_time TEXT
) strict;
create index sessions_of_user on sessions (user_id, id);
create index sessions_by_expiry on sessions (expire_time);
create index sessions_by_revocation on sessions (revoke_time) where revoke_time is not null;

create table api_keys (
    id BLOB primary key,
    -- Null for an operator's key.
    user_id BLOB references users (id) on delete cascade,
    display_name TEXT not null,
    -- Names parted by spaces, as in the scope claim (RFC 8693 section 4.2).
    scopes TEXT not null,
    -- Whether only the projects in api_key_projects may be seen.
    restricted INTEGER not null,
    -- SHA-256 of the whole key.
    secret_hash BLOB not null unique,
    create_time TEXT not null,
    expire_time TEXT,
    last_used_time TEXT
) strict;
create index api_keys_of_user on api_keys (user_id, id);

-- What a create with a request_id made, so that a repetition makes nothing new.
create table idempotent_creates (
    -- The user, or nil for a sign-up.
    owner_id BLOB not null,
    request_id BLOB not null,
    -- The RPC and a keyed digest of the request.
    method TEXT not null,
    fingerprint BLOB not null,
    resource_id BLOB not null,
    create_time TEXT not null,
    primary key (owner_id, request_id)
) strict;
create index idempotent_creates_by_age on idempotent_creates (create_time);
