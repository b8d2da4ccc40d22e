-- Identities at other issuers, each of which can sign in to one account.

create table identities (
    issuer text not null,
    -- What the issuer calls the person: `sub` (OpenID Connect Core section 2).
    subject text not null,
    user_id uuid not null references users (id) on delete cascade,
    create_time timestamptz not null,
    primary key (issuer, subject)
);
create index identities_of_user on identities (user_id);
