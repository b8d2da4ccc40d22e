-- API keys of organizations, and the audit events of each organization.

-- The organization of a user's key; null for the personal one.
alter table api_keys add column organization_id uuid;
create index api_keys_of_organization on api_keys (organization_id, id)
    where organization_id is not null;

-- The organization that an action concerns; null in earlier events, and if it concerns none.
alter table audit_events add column organization_id uuid;
create index audit_events_of_organization on audit_events (organization_id, id)
    where organization_id is not null;
