-- Second factors, recovery codes, the time of the last authentication, and known networks.

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

-- The networks from which users signed in: a sign-in from another one is told to its user.
create table known_networks (
    user_id uuid not null references users (id) on delete cascade,
    -- The /24 of an IPv4 address or the /48 of an IPv6 address.
    network text not null,
    last_sign_in_time timestamptz not null,
    primary key (user_id, network)
);
create index known_networks_by_sign_in on known_networks (last_sign_in_time);

-- What a notice says beside its kind: a network; empty for other messages.
alter table outbox add column detail text not null default '';
