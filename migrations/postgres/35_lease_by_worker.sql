-- Reports of workers renew one row of the worker instead of one of each relay.

-- Until when the leases of the worker last that depend on its reports; null before the first.
alter table workers add column lease_expire_time timestamptz;

-- Room for new versions of a row on its page, so that a report updates no index.
alter table workers set (fillfactor = 50);
alter table relays set (fillfactor = 75);
alter table node_boots set (fillfactor = 75);
