//! Conversions between WebhookService's messages and the domain.

use std::time::Duration;

use prost::Message;

use crate::{
    auth::{Sealer, WebhookSecret},
    domain::{
        CreateTimeRange, Invalid, ListFilter, Name, NewWebhook, ProjectId, Tenant, UrlPolicy,
        UserId, Webhook, WebhookDelivery, WebhookDeliveryFilter, WebhookEventTypes, WebhookId,
        WebhookUpdate, WebhookUrl, now,
    },
    error::Error,
    proto::v1 as pb,
    repositories::{ChangeOptions, IdempotencyKey, SecretRotation},
    services::{
        enums::read_filter,
        fields::{
            Fields, duration, read_created, read_duration, read_etag, read_idempotency,
            read_organization, timestamp,
        },
        paging::{PageRequest, PageTokens},
    },
};

/// The longest grace period of a replaced secret.
const MAX_GRACE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The most entries of a list of event types: each could be named several times.
const MAX_EVENT_TYPES: usize = 100;

/// A webhook to create, with its new secret.
#[derive(Debug)]
pub(super) struct CreateWebhook {
    pub webhook: NewWebhook,
    pub secret: WebhookSecret,
    pub idempotency: Option<IdempotencyKey>,
}

/// Reads the webhook to create, with a new secret.
pub(super) fn read_create_webhook(
    message: pb::CreateWebhookRequest,
    tenant: Tenant,
    sealer: &Sealer,
    policy: &UrlPolicy,
) -> Result<(Tenant, CreateWebhook), Error> {
    let content = message.encode_to_vec();
    let pb::CreateWebhookRequest {
        project_id,
        url,
        description,
        event_types,
        disabled,
        request_id,
        organization_id,
    } = message;
    Fields::read_all(|fields| {
        let organization = read_organization(fields, tenant, &organization_id);
        let project_id = fields.read_optional_id("project_id", &project_id);
        let url = fields.read("url", WebhookUrl::parse(&url, policy));
        let description = fields.read("description", read_description(&description));
        let event_types = fields.read("event_types", read_event_types(&event_types));
        let (user, method) = (tenant.user, "CreateWebhook");
        let idempotency = read_idempotency(fields, user, &request_id, method, &content, sealer);

        let id = WebhookId::generate();
        let secret = WebhookSecret::generate();
        let webhook = NewWebhook {
            id,
            project_id: project_id?,
            url: url?,
            description: description?,
            event_types: event_types?,
            disabled,
            secret_sealed: secret.seal(id, sealer),
        };
        let new = CreateWebhook {
            webhook,
            secret,
            idempotency: idempotency?,
        };
        Some((organization?, new))
    })
}

/// Reads the filter and the page of a list of webhooks.
pub(super) fn read_list_webhooks(
    message: &pb::ListWebhooksRequest,
    tenant: Tenant,
    page_tokens: &PageTokens,
) -> Result<(Tenant, Option<ProjectId>, ListFilter, PageRequest), Error> {
    Fields::read_all(|fields| {
        let tenant = read_organization(fields, tenant, &message.organization_id);
        let project_id = fields.read_optional_id("project_id", &message.project_id);
        let created = read_created(fields, message.created_after, message.created_before);
        let filter = created.map(|created| ListFilter {
            disabled: message.disabled,
            created,
        });
        let filters = filter.map(|filter| filter.to_string()).unwrap_or_default();
        let list = format!("webhooks/{tenant:?}/{project_id:?}{filters}");
        let page = page_tokens.read(fields, list, message.page_size, &message.page_token);
        Some((tenant?, project_id?, filter?, page?))
    })
}

/// Reads the webhook and its update.
pub(super) fn read_update_webhook(
    message: pb::UpdateWebhookRequest,
    user: UserId,
    sealer: &Sealer,
    policy: &UrlPolicy,
) -> Result<(WebhookId, WebhookUpdate, ChangeOptions), Error> {
    let content = message.encode_to_vec();
    let pb::UpdateWebhookRequest {
        webhook_id,
        url,
        description,
        event_types,
        disabled,
        etag,
        request_id,
    } = message;
    Fields::read_all(|fields| {
        let id = fields.read("webhook_id", WebhookId::parse(&webhook_id));
        let url = url.map(|url| WebhookUrl::parse(&url, policy));
        let url = fields.read_optional("url", url);
        let description = description.map(|text| read_description(&text));
        let description = fields.read_optional("description", description);
        let event_types = event_types.map(|types| read_event_types(&types.types));
        let event_types = fields.read_optional("event_types.types", event_types);
        let method = "UpdateWebhook";
        let idempotency = read_idempotency(fields, user, &request_id, method, &content, sealer);
        let update = WebhookUpdate {
            url: url?,
            description: description?,
            event_types: event_types?,
            disabled,
        };
        let options = ChangeOptions {
            etag: read_etag(etag),
            idempotency: idempotency?,
        };
        Some((id?, update, options))
    })
}

/// Reads the webhook to delete.
pub(super) fn read_delete_webhook(
    message: pb::DeleteWebhookRequest,
    user: UserId,
    sealer: &Sealer,
) -> Result<(WebhookId, ChangeOptions), Error> {
    let content = message.encode_to_vec();
    let pb::DeleteWebhookRequest {
        webhook_id,
        etag,
        request_id,
    } = message;
    Fields::read_all(|fields| {
        let id = fields.read("webhook_id", WebhookId::parse(&webhook_id));
        let method = "DeleteWebhook";
        let idempotency = read_idempotency(fields, user, &request_id, method, &content, sealer);
        let options = ChangeOptions {
            etag: read_etag(etag),
            idempotency: idempotency?,
        };
        Some((id?, options))
    })
}

/// Reads the webhook, with a new secret.
pub(super) fn read_rotate_webhook_secret(
    message: pb::RotateWebhookSecretRequest,
    user: UserId,
    sealer: &Sealer,
) -> Result<(WebhookId, WebhookSecret, SecretRotation), Error> {
    let content = message.encode_to_vec();
    let pb::RotateWebhookSecretRequest {
        webhook_id,
        grace,
        request_id,
    } = message;
    Fields::read_all(|fields| {
        let id = fields.read("webhook_id", WebhookId::parse(&webhook_id));
        let bounds = Duration::ZERO..=MAX_GRACE;
        let grace = fields.read("grace", read_duration(grace, bounds, "must be 0 to 7 days"));
        let method = "RotateWebhookSecret";
        let idempotency = read_idempotency(fields, user, &request_id, method, &content, sealer);
        let (id, secret) = (id?, WebhookSecret::generate());
        let new = SecretRotation {
            sealed: secret.seal(id, sealer),
            grace: grace?,
            idempotency: idempotency?,
        };
        Some((id, secret, new))
    })
}

/// Reads the filter and the page of a list of deliveries.
pub(super) fn read_list_webhook_deliveries(
    message: &pb::ListWebhookDeliveriesRequest,
    tenant: Tenant,
    page_tokens: &PageTokens,
) -> Result<
    (
        WebhookId,
        WebhookDeliveryFilter,
        CreateTimeRange,
        PageRequest,
    ),
    Error,
> {
    Fields::read_all(|fields| {
        let id = fields.read("webhook_id", WebhookId::parse(&message.webhook_id));
        let project_id = fields.read_optional_id("project_id", &message.project_id);
        let state = fields.read("state", read_filter(message.state));
        let created = read_created(fields, message.created_after, message.created_before);
        let times = created.map(|range| range.to_string()).unwrap_or_default();
        let list = format!("webhook_deliveries/{tenant:?}/{id:?}/{project_id:?}/{state:?}{times}");
        let page = page_tokens.read(fields, list, message.page_size, &message.page_token);
        let filter = WebhookDeliveryFilter {
            state: state?,
            project_id: project_id?,
        };
        Some((id?, filter, created?, page?))
    })
}

fn read_description(text: &str) -> Result<Option<Name>, Invalid> {
    match text.trim() {
        "" => Ok(None),
        text => Name::parse(text).map(Some),
    }
}

fn read_event_types(names: &[String]) -> Result<WebhookEventTypes, Invalid> {
    match names.len() {
        ..=MAX_EVENT_TYPES => WebhookEventTypes::parse(names.iter().map(String::as_str)),
        _ => Err(Invalid::because("must have at most 100 entries")),
    }
}

impl From<Webhook> for pb::Webhook {
    fn from(webhook: Webhook) -> Self {
        let etag = webhook.etag();
        let Webhook {
            id,
            organization_id,
            project_id,
            url,
            description,
            event_types,
            disabled,
            disable_reason,
            failing_since,
            previous_secret_expire_time,
            create_time,
            update_time,
        } = webhook;
        let reason = disable_reason.map(pb::WebhookDisableReason::from);
        let previous = previous_secret_expire_time.filter(|time| *time > now());
        let event_types = event_types.iter().map(|one| one.as_str().to_owned());
        Self {
            id: id.to_string(),
            organization_id: organization_id.to_string(),
            project_id: project_id.map(|id| id.to_string()).unwrap_or_default(),
            url,
            description,
            event_types: event_types.collect(),
            disabled,
            disable_reason: reason.unwrap_or_default().into(),
            failing_since_time: failing_since.map(timestamp),
            previous_secret_expire_time: previous.map(timestamp),
            create_time: Some(timestamp(create_time)),
            update_time: Some(timestamp(update_time)),
            etag,
        }
    }
}

impl From<WebhookDelivery> for pb::WebhookDelivery {
    fn from(delivery: WebhookDelivery) -> Self {
        let WebhookDelivery {
            id,
            webhook_id,
            project_id,
            revision,
            event_type,
            message_id,
            state,
            attempts,
            status_code,
            error,
            latency_ms,
            create_time,
            last_attempt_time,
            next_attempt_time,
        } = delivery;
        let latency = u64::try_from(latency_ms).unwrap_or_default();
        Self {
            id: id.to_string(),
            webhook_id: webhook_id.to_string(),
            project_id: project_id.to_string(),
            revision,
            event_type,
            message_id,
            state: pb::WebhookDeliveryState::from(state).into(),
            attempts,
            status_code: status_code.unwrap_or_default(),
            error,
            latency: Some(duration(Duration::from_millis(latency))),
            create_time: Some(timestamp(create_time)),
            last_attempt_time: Some(timestamp(last_attempt_time)),
            next_attempt_time: next_attempt_time.map(timestamp),
        }
    }
}
