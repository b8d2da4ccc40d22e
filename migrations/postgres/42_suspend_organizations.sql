-- Organizations that an operator has suspended, and quotas of members.

-- Since when the organization is suspended; null if it is active. A personal one never is: its user
-- is suspended instead.
alter table organizations add column suspend_time timestamptz;
create index organizations_suspended on organizations (id) where suspend_time is not null;
-- For the list of organizations: most are personal ones.
create index organizations_shared on organizations (id) where not personal and delete_time is null;

alter table quotas add column members bigint;
