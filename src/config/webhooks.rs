use std::time::Duration;

use clap::Args;

use super::parse::{boolean, duration, within};
use crate::{backoff::Backoff, domain::UrlPolicy, jobs::WebhookDispatchSettings};

/// The longest delay between two attempts to send an event.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(12 * 60 * 60);

/// The settings of webhooks.
#[derive(Debug, Clone, Args)]
pub struct WebhookSettings {
    /// Maximum number of webhooks per account.
    #[arg(long, env = "SLUICE_MAX_WEBHOOKS", default_value = "20", value_parser = within(0..=10_000))]
    pub max_webhooks: u32,

    /// Time within which the endpoint of a webhook has to answer.
    #[arg(long, env = "SLUICE_WEBHOOK_TIMEOUT", default_value = "15s", value_parser = duration("100ms", "1min"))]
    pub webhook_timeout: Duration,

    /// Delay before an event is sent again after its first failure. Each further failure doubles it,
    /// up to 12 hours.
    #[arg(long, env = "SLUICE_WEBHOOK_RETRY_DELAY", default_value = "5s", value_parser = duration("10ms", "1h"))]
    pub webhook_retry_delay: Duration,

    /// Time after which a webhook is disabled if an event cannot be delivered.
    #[arg(long, env = "SLUICE_WEBHOOK_RETRY_PERIOD", default_value = "3days", value_parser = duration("100ms", "30days"))]
    pub webhook_retry_period: Duration,

    /// Maximum number of projects whose events this server sends to webhooks at once. A webhook has
    /// at most 4 of them, and all failing ones together half.
    #[arg(long, env = "SLUICE_WEBHOOK_CONCURRENCY", default_value = "64", value_parser = within(2..=10_000))]
    pub webhook_concurrency: u32,

    /// Time that deliveries to webhooks are listed.
    #[arg(long, env = "SLUICE_WEBHOOK_RETENTION", default_value = "7days", value_parser = duration("1s", "1year"))]
    pub webhook_retention: Duration,

    /// Allows webhooks on loopback and private addresses, and `http://`. For tests only.
    #[arg(long, env = "SLUICE_ALLOW_PRIVATE_WEBHOOKS", default_value = "false", value_parser = boolean, action = clap::ArgAction::Set)]
    pub allow_private_webhooks: bool,
}

impl WebhookSettings {
    /// The hosts that webhooks must not have.
    pub fn url_policy(&self) -> UrlPolicy {
        UrlPolicy {
            allow_private: self.allow_private_webhooks,
            own_ingest_hosts: Vec::new(),
        }
    }

    /// How events are sent. What a missed notification leaves is found at an interval.
    pub fn dispatch(&self, poll_interval: Duration) -> WebhookDispatchSettings {
        WebhookDispatchSettings {
            backoff: Backoff::new(self.webhook_retry_delay, MAX_RETRY_DELAY),
            retry_period: self.webhook_retry_period,
            concurrency: self.webhook_concurrency as usize,
            poll_interval,
        }
    }
}
