//! Webhooks, how far each has got with the events of projects, and what was sent.

mod deliveries;
mod queue;
mod rows;
#[expect(
    clippy::module_inception,
    reason = "a repository is named after its resource"
)]
mod webhooks;

pub use deliveries::WebhookDeliveries;
pub use queue::{DueEvents, WebhookQueue};
pub(crate) use rows::disable_taken_over;
pub use webhooks::{SecretRotation, Webhooks};
