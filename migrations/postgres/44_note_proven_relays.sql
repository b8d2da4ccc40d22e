-- Relays whose destinations have taken media.

-- Whether the destination has taken media for a minute since the owner has started the relay.
alter table relays add column is_proven boolean not null default false;
