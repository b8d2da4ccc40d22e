use tonic::{Request, Response};

use super::{
    messages::{
        read_create_webhook, read_delete_webhook, read_list_webhooks, read_rotate_webhook_secret,
        read_update_webhook,
    },
    service::WebhookService,
};
use crate::{
    auth::WebhookSecret,
    domain::{AuditContext, ProjectId, Tenant, WebhookId, now},
    error::{Error, Result},
    proto::v1 as pb,
    repositories::Created,
    services::{
        fields::read_id,
        rpc::{tenant, tenant_and_audit},
    },
};

/// The RPCs for webhooks themselves.
impl WebhookService {
    pub(super) async fn create_webhook(
        &self,
        request: Request<pb::CreateWebhookRequest>,
    ) -> Result<Response<pb::CreateWebhookResponse>> {
        let (tenant, audit) = tenant_and_audit(&request, "CreateWebhook")?;
        self.require_recent_authentication(&request)?;
        let message = request.into_inner();
        let (named, new) = read_create_webhook(message, tenant, &self.sealer, &self.url_policy)?;
        let tenant = self
            .tenant_of(tenant, named, new.webhook.project_id)
            .await?;
        if tenant.restricted && new.webhook.project_id.is_none() {
            return Err(Error::ApiKeyRestricted);
        }

        let audit = audit.with_resource(new.webhook.id);
        let idempotency = new.idempotency.as_ref();
        let created = self
            .webhooks
            .create(tenant, &new.webhook, idempotency, &audit, now())
            .await?;
        let (webhook, secret) = match created {
            Created::New(webhook) => (webhook, new.secret),
            Created::Existing(webhook) => {
                let secret = self.secret(tenant, webhook.id, &audit).await?;
                (webhook, secret)
            }
        };

        Ok(Response::new(pb::CreateWebhookResponse {
            webhook: Some(webhook.into()),
            secret: secret.0.expose().to_owned(),
        }))
    }

    pub(super) async fn get_webhook(
        &self,
        request: Request<pb::GetWebhookRequest>,
    ) -> Result<Response<pb::GetWebhookResponse>> {
        let tenant = tenant(&request)?;
        let id = read_id("webhook_id", &request.get_ref().webhook_id)?;

        let webhook = self.webhooks.get(tenant, id).await?;

        let webhook = Some(webhook.into());
        Ok(Response::new(pb::GetWebhookResponse { webhook }))
    }

    pub(super) async fn list_webhooks(
        &self,
        request: Request<pb::ListWebhooksRequest>,
    ) -> Result<Response<pb::ListWebhooksResponse>> {
        let tenant = tenant(&request)?;
        let message = request.into_inner();
        let (named, project_id, filter, list) =
            read_list_webhooks(&message, tenant, &self.page_tokens)?;

        let tenant = self.tenant_of(tenant, named, project_id).await?;
        let webhooks = self
            .webhooks
            .list(tenant, project_id, filter, list.page)
            .await?;

        let (webhooks, next_page_token) =
            self.page_tokens.page(&list, webhooks, |row| row.id.uuid());
        Ok(Response::new(pb::ListWebhooksResponse {
            webhooks,
            next_page_token,
        }))
    }

    pub(super) async fn update_webhook(
        &self,
        request: Request<pb::UpdateWebhookRequest>,
    ) -> Result<Response<pb::UpdateWebhookResponse>> {
        let (tenant, audit) = tenant_and_audit(&request, "UpdateWebhook")?;
        self.require_recent_authentication(&request)?;
        let message = request.into_inner();
        let (id, update, options) =
            read_update_webhook(message, tenant.user, &self.sealer, &self.url_policy)?;

        let audit = audit.with_resource(id);
        let webhook = self
            .webhooks
            .update(tenant, id, &update, &options, &audit, now())
            .await?;

        let webhook = Some(webhook.into());
        Ok(Response::new(pb::UpdateWebhookResponse { webhook }))
    }

    pub(super) async fn delete_webhook(
        &self,
        request: Request<pb::DeleteWebhookRequest>,
    ) -> Result<Response<pb::DeleteWebhookResponse>> {
        let (tenant, audit) = tenant_and_audit(&request, "DeleteWebhook")?;
        self.require_recent_authentication(&request)?;
        let message = request.into_inner();
        let (id, options) = read_delete_webhook(message, tenant.user, &self.sealer)?;

        let audit = audit.with_resource(id);
        self.webhooks
            .delete(tenant, id, &options, &audit, now())
            .await?;

        Ok(Response::new(pb::DeleteWebhookResponse {}))
    }

    pub(super) async fn rotate_webhook_secret(
        &self,
        request: Request<pb::RotateWebhookSecretRequest>,
    ) -> Result<Response<pb::RotateWebhookSecretResponse>> {
        let (tenant, audit) = tenant_and_audit(&request, "RotateWebhookSecret")?;
        self.require_recent_authentication(&request)?;
        let message = request.into_inner();
        let (id, secret, new) = read_rotate_webhook_secret(message, tenant.user, &self.sealer)?;

        let audit = audit.with_resource(id);
        let rotated = self
            .webhooks
            .rotate_secret(tenant, id, &new, &audit, now())
            .await?;
        let (webhook, secret) = match rotated {
            Created::New(webhook) => (webhook, secret),
            Created::Existing(webhook) => (webhook, self.secret(tenant, id, &audit).await?),
        };

        Ok(Response::new(pb::RotateWebhookSecretResponse {
            webhook: Some(webhook.into()),
            secret: secret.0.expose().to_owned(),
        }))
    }

    /// The tenant in the organization of a project, or else in one that a request has named.
    async fn tenant_of(
        &self,
        tenant: Tenant,
        named: Tenant,
        project_id: Option<ProjectId>,
    ) -> Result<Tenant> {
        if let Some(project_id) = project_id {
            let project = self.projects.get(tenant, project_id).await?;
            let organization = project.organization_id.unwrap_or(tenant.organization);
            return Ok(tenant.in_organization(organization));
        }
        self.projects
            .require_chosen_organization(named, tenant)
            .await?;
        Ok(named)
    }

    /// The secret of a webhook, for the answer to a repeated request.
    async fn secret(
        &self,
        tenant: Tenant,
        id: WebhookId,
        audit: &AuditContext,
    ) -> Result<WebhookSecret> {
        let sealed = self.webhooks.get_secret(tenant, id, audit).await?;
        WebhookSecret::unseal(&sealed, id, &self.sealer)
    }
}
