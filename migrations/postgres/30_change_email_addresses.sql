-- Requested changes of e-mail addresses, until both addresses have confirmed them.

create table email_changes (
    user_id uuid primary key references users (id) on delete cascade,
    new_email text not null,
    -- The new address in lower case.
    new_email_key text not null,
    create_time timestamptz not null,
    expire_time timestamptz not null,
    -- When each address confirmed the change; null before.
    current_confirm_time timestamptz,
    new_confirm_time timestamptz
);
create index email_changes_by_expiry on email_changes (expire_time);

-- For the interval between messages to one address.
create index mail_tokens_by_address on mail_tokens (email_key, kind);
