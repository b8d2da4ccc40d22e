-- Passkeys (WebAuthn), and the challenges of their ceremonies.

create table passkeys (
    -- UUIDv7, for the order of lists.
    id uuid primary key,
    user_id uuid not null references users (id) on delete cascade,
    display_name text not null,
    -- As the authenticator chose it.
    credential_id bytea not null unique,
    -- A COSE_Key (RFC 9052).
    public_key bytea not null,
    -- Random; the same for all passkeys of a user.
    user_handle bytea not null,
    -- How the authenticator can be reached, comma-separated.
    transports text not null,
    -- The signature counter of the last use; zero if the authenticator has none.
    sign_count bigint not null,
    -- Whether it can be synchronised to other devices, and whether it is.
    backup_eligible boolean not null,
    backed_up boolean not null,
    create_time timestamptz not null,
    last_used_time timestamptz
);
create index passkeys_of_user on passkeys (user_id, id);

-- Challenges that were not answered. The row is deleted by the response that it permits.
create table passkey_challenges (
    -- SHA-256 of the challenge.
    challenge_hash bytea primary key,
    -- SHA-256 of the user or of the network address that asked for it, to limit their number.
    subject_hash bytea not null,
    -- The user who registers a passkey, and the handle of that passkey; null in an authentication.
    user_id uuid references users (id) on delete cascade,
    user_handle bytea,
    expire_time timestamptz not null
);
create index passkey_challenges_of_subject on passkey_challenges (subject_hash, expire_time);
create index passkey_challenges_of_user on passkey_challenges (user_id);
create index passkey_challenges_by_expiry on passkey_challenges (expire_time);
