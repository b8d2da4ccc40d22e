-- Second factors, recovery codes, and the time of the last authentication of a session.

create table second_factors (
    -- UUIDv7, for the order of lists.
    id BLOB primary key,
    user_id BLOB not null references users (id) on delete cascade,
    display_name TEXT not null,
    -- The sealed secret of a time-based one-time password (RFC 6238).
    secret_sealed BLOB not null,
    -- The newest time step whose code was accepted: no code works twice.
    last_step INTEGER not null,
    create_time TEXT not null,
    -- Null until the user has proved to have the secret. Only then is it asked for.
    confirm_time TEXT,
    last_used_time TEXT
) strict;
create index second_factors_of_user on second_factors (user_id, id);

create table recovery_codes (
    user_id BLOB not null references users (id) on delete cascade,
    -- SHA-256 of the code. The row is deleted when the code is used.
    code_hash BLOB not null,
    primary key (user_id, code_hash)
) strict;

-- When the user of a session last proved who they are; null means when it began.
alter table sessions add column auth_time TEXT;
