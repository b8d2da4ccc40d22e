//! Sends the events of projects to webhooks.
//!
//! Each replica leases projects of webhooks, sends their next events in order, and records how far
//! it has got, all by `WebhookQueue`. An event is sent again if its replica ends in between.

mod batch;
mod dispatcher;
mod running;

pub use dispatcher::{WebhookDispatchSettings, WebhookDispatcher};
