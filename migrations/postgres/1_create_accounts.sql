-- People, their sessions, and the API keys of people and of operators.

create table users (
    id uuid primary key,
    email text not null,
    -- The address in lower case: unique without regard to case.
    email_key text not null unique,
    email_verified boolean not null,
    display_name text not null,
    -- Null for an account that signs in only through another issuer.
    password_hash text,
    create_time timestamptz not null,
    update_time timestamptz not null
);

create table sessions (
    id uuid primary key,
    user_id uuid not null references users (id) on delete cascade,
    -- Sealed: all refresh tokens of the session are derived from it and a counter.
    refresh_seed bytea not null,
    refresh_counter bigint not null,
    peer_address text not null,
    user_agent text not null,
    create_time timestamptz not null,
    last_used_time timestamptz not null,
    -- The end of the session, however often it is refreshed.
    expire_time timestamptz not null,
    revoke_time timestamptz
);
create index sessions_of_user on sessions (user_id, id);
create index sessions_by_expiry on sessions (expire_time);
create index sessions_by_revocation on sessions (revoke_time) where revoke_time is not null;

create table api_keys (
    id uuid primary key,
    -- Null for an operator's key.
    user_id uuid references users (id) on delete cascade,
    display_name text not null,
    -- Names parted by spaces, as in the scope claim (RFC 8693 section 4.2).
    scopes text not null,
    -- Whether only the projects in api_key_projects may be seen.
    restricted boolean not null,
    -- SHA-256 of the whole key.
    secret_hash bytea not null unique,
    create_time timestamptz not null,
    expire_time timestamptz,
    last_used_time timestamptz
);
create index api_keys_of_user on api_keys (user_id, id);

-- What a create with a request_id made, so that a repetition makes nothing new.
create table idempotent_creates (
    -- The user, or nil for a sign-up.
    owner_id uuid not null,
    request_id uuid not null,
    -- The RPC and a keyed digest of the request.
    method text not null,
    fingerprint bytea not null,
    resource_id uuid not null,
    create_time timestamptz not null,
    primary key (owner_id, request_id)
);
create index idempotent_creates_by_age on idempotent_creates (create_time);
