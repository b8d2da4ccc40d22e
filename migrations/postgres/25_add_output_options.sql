-- Options of destinations that relays apply.

-- How much later than the stream the media is sent, in milliseconds: 0 to 60,000.
alter table destinations add column delay_ms integer not null default 0;
