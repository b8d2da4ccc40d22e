-- When a boot last reported all of its connections: its connected streams were seen then.
-- One row a boot is written instead of one a stream.

alter table node_boots add column sync_time TEXT;
