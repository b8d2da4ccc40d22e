-- What keeps accounts safe: ended sessions and keys, and wrong guesses.

-- Sessions and API keys that were ended: until the time their last access token
-- expires, each replica refuses them.
create table revocations (
    -- The `sid` of the tokens: a session or an API key.
    id BLOB primary key,
    revoke_time TEXT not null
) strict;
create index revocations_by_time on revocations (revoke_time);

-- Wrong passwords, counted per account, and per account and address from which
-- its owner signed in before.
create table guesses (
    -- SHA-256 of what is counted.
    subject_hash BLOB primary key,
    -- Attempts that failed or have not ended yet.
    failures INTEGER not null,
    -- Until when it is an address of the owner, who signed in there: strangers'
    -- failures do not count there.
    familiar_until TEXT,
    locked_until TEXT not null,
    update_time TEXT not null
) strict;
create index guesses_by_age on guesses (update_time);

-- For the deletion of an account.
create index idempotent_creates_of_resource on idempotent_creates (resource_id);
