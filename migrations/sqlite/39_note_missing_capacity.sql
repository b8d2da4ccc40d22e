-- Relays that no worker takes, for owners and operators.

-- That no worker takes the relay, in JSON; null otherwise. Not one of the issues, whose codes
-- servers of an earlier version must know.
alter table relays add column capacity_issue TEXT;
