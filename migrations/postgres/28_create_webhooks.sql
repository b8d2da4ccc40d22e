-- Webhooks: where the events of projects are sent, how far each has got, and what was sent.

create table webhooks (
    id uuid primary key,
    -- The tenant whose projects it is about.
    owner_id uuid not null references users (id) on delete cascade,
    -- Null: all projects of the owner.
    project_id uuid references projects (id) on delete cascade,
    url text not null,
    description text not null,
    -- Names of event types, separated by spaces; empty means all.
    event_types text not null,
    enabled boolean not null,
    -- Why the server disabled it; null if it did not.
    disable_reason text,
    -- Since when no attempt has succeeded; null after a success.
    failing_since timestamptz,
    secret_sealed bytea not null,
    -- The secret before, while its grace lasts.
    previous_secret_sealed bytea,
    previous_secret_expire_time timestamptz,
    create_time timestamptz not null,
    update_time timestamptz not null,
    -- Its rows are deleted in batches.
    delete_time timestamptz
);
create index webhooks_of_owner on webhooks (owner_id, id);
create index webhooks_of_project on webhooks (project_id) where project_id is not null;
create index webhooks_by_deletion on webhooks (delete_time) where delete_time is not null;

-- How far a webhook has got with the events of a project. A project without a row was created
-- after the webhook.
create table webhook_cursors (
    webhook_id uuid not null references webhooks (id) on delete cascade,
    project_id uuid not null references projects (id) on delete cascade,
    -- The revision of the last event that was taken, or that the webhook does not want.
    revision bigint not null,
    -- The failed attempts of the next event, and the first of them.
    failures integer not null default 0,
    failing_since timestamptz,
    next_attempt_time timestamptz not null,
    -- The replica that sends the next events, and until when.
    lease_id uuid,
    lease_expire_time timestamptz,
    primary key (webhook_id, project_id)
);
create index webhook_cursors_of_project on webhook_cursors (project_id);
create index webhook_cursors_by_lease on webhook_cursors (lease_id) where lease_id is not null;

-- What was sent to webhooks, without the content.
create table webhook_deliveries (
    id uuid primary key,
    webhook_id uuid not null references webhooks (id) on delete cascade,
    project_id uuid not null references projects (id) on delete cascade,
    -- The revision of the event; of a gap, its last revision.
    revision bigint not null,
    event_type text not null,
    -- The `webhook-id` of all its attempts.
    message_id text not null,
    state text not null,
    attempts integer not null,
    -- Of the last attempt: the status of the response, or null without one.
    status_code integer,
    error text not null,
    latency_ms integer not null,
    create_time timestamptz not null,
    last_attempt_time timestamptz not null,
    next_attempt_time timestamptz,
    unique (webhook_id, project_id, revision)
);
create index webhook_deliveries_of_webhook on webhook_deliveries (webhook_id, id);
create index webhook_deliveries_of_project on webhook_deliveries (project_id);
create index webhook_deliveries_by_age on webhook_deliveries (last_attempt_time);
