use std::time::Duration;

use clap::Subcommand;

use super::{
    error::{ClientError, ExitClass},
    names::project_id,
    options::OutputFormat,
    output::{Table, print_line},
    pages::Limit,
    session::{Session, request_id},
    text::{duration, enum_parser, label, optional_label, or_dash, time, to_duration},
};
use crate::proto::v1::{self as pb, WebhookDeliveryState};

const STATE: &str = "WEBHOOK_DELIVERY_STATE_";
const REASON: &str = "WEBHOOK_DISABLE_REASON_";

/// The commands of `sluice webhook`.
#[derive(Subcommand)]
pub enum WebhookCommand {
    /// Create a webhook, and print its secret, which is shown only now.
    ///
    /// Only the secret goes to standard output.
    Create {
        /// The endpoint: an https URL.
        url: String,
        /// Only for this project. By default, for all projects of the account.
        #[arg(long)]
        project: Option<String>,
        /// A type of events to send, such as `stream.live`; repeatable. By default, all.
        #[arg(long = "event", value_name = "TYPE")]
        events: Vec<String>,
        /// What it is for.
        #[arg(long, default_value = "", hide_default_value = true)]
        description: String,
        /// Send nothing until it is enabled.
        #[arg(long)]
        disabled: bool,
    },
    /// List webhooks, newest first.
    List {
        /// Only those of this project.
        #[arg(long)]
        project: Option<String>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show a webhook.
    Get {
        /// The id of the webhook.
        webhook: String,
    },
    /// Change a webhook.
    #[command(group = clap::ArgGroup::new("changes").required(true).multiple(true))]
    Update {
        /// The id of the webhook.
        webhook: String,
        /// The new endpoint.
        #[arg(long, group = "changes")]
        url: Option<String>,
        /// A type of events to send from now on; repeatable.
        #[arg(
            long = "event",
            value_name = "TYPE",
            group = "changes",
            conflicts_with = "all_events"
        )]
        events: Vec<String>,
        /// Send events of all types from now on.
        #[arg(long, group = "changes")]
        all_events: bool,
        /// The new description.
        #[arg(long, group = "changes")]
        description: Option<String>,
        /// Whether nothing is sent.
        #[arg(long, group = "changes")]
        disabled: Option<bool>,
        /// Do this only if the webhook still has this `etag`, which `-o json` shows.
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
    /// Delete a webhook.
    Delete {
        /// The id of the webhook.
        webhook: String,
        /// Do this only if the webhook still has this `etag`, which `-o json` shows.
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
    /// Replace the secret of a webhook, and print the new one, which is shown only now.
    ///
    /// Only the secret goes to standard output.
    RotateSecret {
        /// The id of the webhook.
        webhook: String,
        /// How long messages are signed with the old secret too, such as 24h: up to 7 days.
        #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
        grace: Duration,
    },
    /// Send a test event. Fails if the endpoint does not answer 2xx.
    Test {
        /// The id of the webhook.
        webhook: String,
    },
    /// List what was sent to a webhook, newest first.
    Deliveries {
        /// The id of the webhook.
        webhook: String,
        /// Only those in this state.
        #[arg(long, value_parser = enum_parser(STATE, WebhookDeliveryState::as_str_name))]
        state: Option<WebhookDeliveryState>,
        /// Only those of this project's events.
        #[arg(long)]
        project: Option<String>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Send an event again. Fails if the endpoint does not answer 2xx.
    Redeliver {
        /// The id of the delivery.
        delivery: String,
    },
}

/// Runs a command of `sluice webhook`.
pub(super) async fn run(session: &Session, command: WebhookCommand) -> Result<(), ClientError> {
    match command {
        WebhookCommand::Create {
            url,
            project,
            events,
            description,
            disabled,
        } => {
            let request = pb::CreateWebhookRequest {
                project_id: optional_project(session, project.as_deref()).await?,
                url,
                description,
                event_types: events,
                disabled,
                request_id: request_id(),
                organization_id: session.organization(),
            };
            create(session, request).await
        }
        WebhookCommand::List { project, limit } => list(session, project.as_deref(), &limit).await,
        WebhookCommand::Get { webhook } => get(session, webhook).await,
        WebhookCommand::Update {
            webhook,
            url,
            events,
            all_events,
            description,
            disabled,
            etag,
        } => {
            let is_changed = all_events || !events.is_empty();
            let request = pb::UpdateWebhookRequest {
                webhook_id: webhook,
                url,
                description,
                event_types: is_changed.then_some(pb::WebhookEventTypes { types: events }),
                disabled,
                etag,
                request_id: request_id(),
            };
            update(session, request).await
        }
        WebhookCommand::Delete { webhook, etag } => delete(session, webhook, etag).await,
        WebhookCommand::RotateSecret { webhook, grace } => rotate(session, webhook, grace).await,
        WebhookCommand::Test { webhook } => test(session, webhook).await,
        WebhookCommand::Deliveries {
            webhook,
            state,
            project,
            limit,
        } => {
            let project = optional_project(session, project.as_deref()).await?;
            deliveries(session, &webhook, state, &project, &limit).await
        }
        WebhookCommand::Redeliver { delivery } => redeliver(session, delivery).await,
    }
}

/// The id of a project; empty without one.
async fn optional_project(session: &Session, text: Option<&str>) -> Result<String, ClientError> {
    match text {
        Some(text) => project_id(session, text).await,
        None => Ok(String::new()),
    }
}

async fn create(session: &Session, request: pb::CreateWebhookRequest) -> Result<(), ClientError> {
    let answer = session.call(request, async |mut api, request| {
        api.webhook.create_webhook(request).await
    });
    let answer = answer.await?;
    match session.output() {
        OutputFormat::Json => session.output().print_text(&answer, ""),
        OutputFormat::Table => print_secret(answer.webhook.as_ref(), &answer.secret),
    }
}

/// Only the secret goes to standard output.
fn print_secret(webhook: Option<&pb::Webhook>, secret: &str) -> Result<(), ClientError> {
    let id = webhook.map(|webhook| &*webhook.id).unwrap_or_default();
    eprintln!("the secret of the webhook {id} is shown only now:");
    print_line(secret)
}

async fn list(session: &Session, project: Option<&str>, limit: &Limit) -> Result<(), ClientError> {
    let project_id = optional_project(session, project).await?;
    let webhooks = limit.list(async |page_size, page_token| {
        let request = pb::ListWebhooksRequest {
            project_id: project_id.clone(),
            organization_id: session.organization(),
            page_size,
            page_token,
            ..Default::default()
        };
        let page = session.call(request, async |mut api, request| {
            api.webhook.list_webhooks(request).await
        });
        let page = page.await?;
        Ok((page.webhooks, page.next_page_token))
    });
    let answer = pb::ListWebhooksResponse {
        webhooks: webhooks.await?,
        next_page_token: String::new(),
    };
    session.output().print(&answer, |answer| {
        let rows = answer.webhooks.iter().map(|webhook| {
            [
                webhook.id.clone(),
                webhook.url.clone(),
                project_of(webhook),
                events_of(webhook),
                state_of(webhook),
            ]
        });
        Table::new(["ID", "URL", "PROJECT", "EVENTS", "STATE"], rows)
    })
}

async fn get(session: &Session, webhook_id: String) -> Result<(), ClientError> {
    let request = pb::GetWebhookRequest { webhook_id };
    let answer = session.call(request, async |mut api, request| {
        api.webhook.get_webhook(request).await
    });
    let answer = answer.await?;
    session
        .output()
        .print(&answer, |answer| record(answer.webhook.as_ref()))
}

async fn update(session: &Session, request: pb::UpdateWebhookRequest) -> Result<(), ClientError> {
    let answer = session.call(request, async |mut api, request| {
        api.webhook.update_webhook(request).await
    });
    let answer = answer.await?;
    session
        .output()
        .print(&answer, |answer| record(answer.webhook.as_ref()))
}

async fn delete(session: &Session, webhook_id: String, etag: String) -> Result<(), ClientError> {
    let text = format!("the webhook {webhook_id} is deleted");
    let request = pb::DeleteWebhookRequest {
        webhook_id,
        etag,
        request_id: request_id(),
    };
    let answer = session.call(request, async |mut api, request| {
        api.webhook.delete_webhook(request).await
    });
    let answer = answer.await?;
    session.output().print_text(&answer, &text)
}

async fn rotate(session: &Session, webhook_id: String, grace: Duration) -> Result<(), ClientError> {
    let request = pb::RotateWebhookSecretRequest {
        webhook_id,
        grace: Some(to_duration(grace)),
        request_id: request_id(),
    };
    let answer = session.call(request, async |mut api, request| {
        api.webhook.rotate_webhook_secret(request).await
    });
    let answer = answer.await?;
    match session.output() {
        OutputFormat::Json => session.output().print_text(&answer, ""),
        OutputFormat::Table => print_secret(answer.webhook.as_ref(), &answer.secret),
    }
}

async fn test(session: &Session, webhook_id: String) -> Result<(), ClientError> {
    let request = pb::TestWebhookRequest { webhook_id };
    let answer = session.call(request, async |mut api, request| {
        api.webhook.test_webhook(request).await
    });
    let answer = answer.await?;
    require_success(&answer.error)?;
    session.output().print(&answer, |answer| {
        Table::record([
            ("message id", answer.message_id.clone()),
            ("status", status(answer.status_code)),
            ("latency", duration(answer.latency)),
        ])
    })
}

async fn deliveries(
    session: &Session,
    webhook_id: &str,
    state: Option<WebhookDeliveryState>,
    project_id: &str,
    limit: &Limit,
) -> Result<(), ClientError> {
    let deliveries = limit.list(async |page_size, page_token| {
        let request = pb::ListWebhookDeliveriesRequest {
            webhook_id: webhook_id.to_owned(),
            state: state.unwrap_or_default().into(),
            project_id: project_id.to_owned(),
            page_size,
            page_token,
            ..Default::default()
        };
        let page = session.call(request, async |mut api, request| {
            api.webhook.list_webhook_deliveries(request).await
        });
        let page = page.await?;
        Ok((page.deliveries, page.next_page_token))
    });
    let answer = pb::ListWebhookDeliveriesResponse {
        deliveries: deliveries.await?,
        next_page_token: String::new(),
    };
    session.output().print(&answer, |answer| {
        let rows = answer.deliveries.iter().map(|delivery| {
            [
                delivery.id.clone(),
                delivery.event_type.clone(),
                delivery.project_id.clone(),
                delivery.revision.to_string(),
                label(delivery.state().as_str_name(), STATE),
                delivery.attempts.to_string(),
                status(delivery.status_code),
                time(delivery.last_attempt_time),
                time(delivery.next_attempt_time),
                or_dash(&delivery.error),
            ]
        });
        let header = [
            "ID", "EVENT", "PROJECT", "REVISION", "STATE", "ATTEMPTS", "STATUS", "LAST", "NEXT",
            "ERROR",
        ];
        Table::new(header, rows)
    })
}

async fn redeliver(session: &Session, delivery_id: String) -> Result<(), ClientError> {
    let request = pb::RedeliverWebhookRequest { delivery_id };
    let answer = session.call(request, async |mut api, request| {
        api.webhook.redeliver_webhook(request).await
    });
    let answer = answer.await?;
    let delivery = answer.delivery.clone().unwrap_or_default();
    require_success(&delivery.error)?;
    session.output().print(&answer, |_| {
        Table::record([
            ("event", delivery.event_type.clone()),
            ("state", label(delivery.state().as_str_name(), STATE)),
            ("attempts", delivery.attempts.to_string()),
            ("status", status(delivery.status_code)),
            ("latency", duration(delivery.latency)),
        ])
    })
}

/// Fails if the endpoint has not taken the message.
fn require_success(error: &str) -> Result<(), ClientError> {
    match error {
        "" => Ok(()),
        error => {
            let text = format!("the endpoint has not taken the message: {error}");
            Err(ClientError::new(ExitClass::Failure, text))
        }
    }
}

fn record(webhook: Option<&pb::Webhook>) -> Table {
    let webhook = webhook.cloned().unwrap_or_default();
    Table::record([
        ("id", webhook.id.clone()),
        ("url", webhook.url.clone()),
        ("description", or_dash(&webhook.description)),
        ("project", project_of(&webhook)),
        ("events", events_of(&webhook)),
        ("state", state_of(&webhook)),
        ("failing since", time(webhook.failing_since_time)),
        (
            "old secret until",
            time(webhook.previous_secret_expire_time),
        ),
        ("created", time(webhook.create_time)),
    ])
}

fn project_of(webhook: &pb::Webhook) -> String {
    match &*webhook.project_id {
        "" => "all".to_owned(),
        id => id.to_owned(),
    }
}

fn events_of(webhook: &pb::Webhook) -> String {
    match webhook.event_types.is_empty() {
        true => "all".to_owned(),
        false => webhook.event_types.join(" "),
    }
}

fn state_of(webhook: &pb::Webhook) -> String {
    let reason = optional_label(webhook.disable_reason().as_str_name(), REASON);
    match (webhook.disabled, webhook.failing_since_time) {
        (true, _) if reason != "-" => format!("disabled ({reason})"),
        (true, _) => "disabled".to_owned(),
        (false, Some(_)) => "failing".to_owned(),
        (false, None) => "enabled".to_owned(),
    }
}

fn status(code: i32) -> String {
    match code {
        0 => "-".to_owned(),
        code => code.to_string(),
    }
}
