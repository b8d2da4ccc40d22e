-- When a boot last reported all of its connections: its connected streams were seen then.
-- One row a boot is written instead of one a stream.

alter table node_boots add column sync_time timestamptz;

-- Room for new versions of a row on its page, so that a report of statistics updates no index.
alter table streams set (fillfactor = 70);
