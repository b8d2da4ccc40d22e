-- What keeps accounts safe: ended sessions and keys, and wrong guesses.

-- Sessions and API keys that were ended: until the time their last access token
-- expires, each replica refuses them.
create table revocations (
    -- The `sid` of the tokens: a session or an API key.
    id uuid primary key,
    revoke_time timestamptz not null
);
create index revocations_by_time on revocations (revoke_time);

-- Wrong passwords, counted per account, and per account and address from which
-- its owner signed in before.
create table guesses (
    -- SHA-256 of what is counted.
    subject_hash bytea primary key,
    -- Attempts that failed or have not ended yet.
    failures bigint not null,
    -- Whether the owner signed in here: then strangers' failures do not count.
    familiar boolean not null,
    locked_until timestamptz not null,
    update_time timestamptz not null
);
create index guesses_by_age on guesses (update_time);
