//! WebhookService, and what webhooks are sent.

mod delivery_rpcs;
mod event_data;
mod messages;
mod service;
mod webhook_rpcs;

pub use event_data::event_writer;
pub use service::{WebhookDependencies, WebhookService};
