//! Signed messages to endpoints of tenants, as Standard Webhooks
//! (<https://www.standardwebhooks.com>) describes them.

mod connector;
mod message;
mod sender;

pub(crate) use message::message;
pub use message::{EventWriter, WriteEvent, WriteGap};
pub use sender::WebhookSender;
