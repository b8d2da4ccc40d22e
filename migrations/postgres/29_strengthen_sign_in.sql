-- Second factors, recovery codes, and the time of the last authentication of a session.

create table second_factors (
    -- UUIDv7, for the order of lists.
    id uuid primary key,
    user_id uuid not null references users (id) on delete cascade,
    display_name text not null,
    -- The sealed secret of a time-based one-time password (RFC 6238).
    secret_sealed bytea not null,
    -- The newest time step whose code was accepted: no code works twice.
    last_step bigint not null,
    create_time timestamptz not null,
    -- Null until the user has proved to have the secret. Only then is it asked for.
    confirm_time timestamptz,
    last_used_time timestamptz
);
create index second_factors_of_user on second_factors (user_id, id);

create table recovery_codes (
    user_id uuid not null references users (id) on delete cascade,
    -- SHA-256 of the code. The row is deleted when the code is used.
    code_hash bytea not null,
    primary key (user_id, code_hash)
);

-- When the user of a session last proved who they are; null means when it began.
alter table sessions add column auth_time timestamptz;
