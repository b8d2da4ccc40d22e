-- Passkeys (WebAuthn), and the challenges of their ceremonies.

create table passkeys (
    -- UUIDv7, for the order of lists.
    id BLOB primary key,
    user_id BLOB not null references users (id) on delete cascade,
    display_name TEXT not null,
    -- As the authenticator chose it.
    credential_id BLOB not null unique,
    -- A COSE_Key (RFC 9052).
    public_key BLOB not null,
    -- Random; the same for all passkeys of a user.
    user_handle BLOB not null,
    -- How the authenticator can be reached, comma-separated.
    transports TEXT not null,
    -- The signature counter of the last use; zero if the authenticator has none.
    sign_count INTEGER not null,
    -- Whether it can be synchronised to other devices, and whether it is.
    backup_eligible INTEGER not null,
    backed_up INTEGER not null,
    create_time TEXT not null,
    last_used_time TEXT
) strict;
create index passkeys_of_user on passkeys (user_id, id);

-- Challenges that were not answered. The row is deleted by the response that it permits.
create table passkey_challenges (
    -- SHA-256 of the challenge.
    challenge_hash BLOB primary key,
    -- SHA-256 of the user or of the network address that asked for it, to limit their number.
    subject_hash BLOB not null,
    -- The user who registers a passkey, and the handle of that passkey; null in an authentication.
    user_id BLOB references users (id) on delete cascade,
    user_handle BLOB,
    expire_time TEXT not null
) strict;
create index passkey_challenges_of_subject on passkey_challenges (subject_hash, expire_time);
create index passkey_challenges_of_user on passkey_challenges (user_id);
create index passkey_challenges_by_expiry on passkey_challenges (expire_time);
