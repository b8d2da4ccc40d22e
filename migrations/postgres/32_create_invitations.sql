-- Invitations to organizations, and projects that have moved to another one.

create table invitations (
    -- UUIDv7, for the order of lists.
    id uuid primary key,
    organization_id uuid not null references organizations (id) on delete cascade,
    email text not null,
    -- The address in lower case: only its account can accept.
    email_key text not null,
    role text not null,
    -- Who has sent it. Not a foreign key: it ends with their membership.
    inviter_id uuid not null,
    -- SHA-256 of the token in the message; null until it is sent, and after its use.
    token_hash bytea unique,
    create_time timestamptz not null,
    expire_time timestamptz not null,
    -- Rows remain until they expire, because they limit how many are sent.
    accept_time timestamptz,
    revoke_time timestamptz
);
create index invitations_of_organization on invitations (organization_id, id);
create index invitations_by_expiry on invitations (expire_time);

-- When the project moved to its organization; null if it was created there. For watches of all
-- projects of the organization, which search for new ones.
alter table projects add column transfer_time timestamptz;
create index projects_by_transfer on projects (owner_id, transfer_time)
    where transfer_time is not null and delete_time is null;
