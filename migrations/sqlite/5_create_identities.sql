-- Identities at other issuers, each of which can sign in to one account.

create table identities (
    issuer TEXT not null,
    -- What the issuer calls the person: `sub` (OpenID Connect Core section 2).
    subject TEXT not null,
    user_id BLOB not null references users (id) on delete cascade,
    create_time TEXT not null,
    primary key (issuer, subject)
) strict;
create index identities_of_user on identities (user_id);
