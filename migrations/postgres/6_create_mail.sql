-- Messages that are to be sent, and the tokens in those that were.

create table outbox (
    id uuid primary key,
    -- Why it is sent. What it says is made when it is sent.
    kind text not null,
    -- The address in lower case; it may have no account.
    email_key text not null,
    create_time timestamptz not null,
    attempts bigint not null,
    next_attempt_time timestamptz not null,
    -- One message of a kind at a time.
    unique (email_key, kind)
);
create index outbox_by_attempt on outbox (next_attempt_time);

create table mail_tokens (
    -- SHA-256 of the token.
    token_hash bytea primary key,
    user_id uuid not null references users (id) on delete cascade,
    -- What it is good for.
    kind text not null,
    -- The address to which it was sent: it proves nothing about another one.
    email_key text not null,
    create_time timestamptz not null,
    expire_time timestamptz not null
);
create index mail_tokens_of_user on mail_tokens (user_id, kind);
create index mail_tokens_by_expiry on mail_tokens (expire_time);
