-- The rings of keys: those that sign access tokens, and those that seal secrets.

create table keys (
    -- What it is for.
    purpose text not null,
    -- The `kid` of a signing key; the hexadecimal id of a sealing key.
    id text not null,
    -- The key, sealed under a key of the settings; null if it is one of those itself.
    secret_sealed bytea,
    create_time timestamptz not null,
    -- From when it signs or seals; before, it only verifies or opens, so that
    -- every replica knows it in time.
    active_time timestamptz not null,
    -- From when it is not accepted any more; null while that is not decided.
    retire_time timestamptz,
    -- Since when nothing is sealed under an earlier key; null while the rotation to
    -- this one has not come to its end.
    finish_time timestamptz,
    primary key (purpose, id)
);
-- One rotation at a time: whoever comes second goes on with the first.
create unique index keys_one_unfinished on keys (purpose) where finish_time is null;
