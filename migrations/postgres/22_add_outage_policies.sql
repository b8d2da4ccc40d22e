-- What destinations get while the publisher of a stream is away.

alter table projects add column outage_policy text not null default 'end';
