-- Reports of workers renew one row of the worker instead of one of each relay.

-- Until when the leases of the worker last that depend on its reports; null before the first.
alter table workers add column lease_expire_time TEXT;
