-- What destinations get while the publisher of a stream is away.

alter table projects add column outage_policy TEXT not null default 'end';
