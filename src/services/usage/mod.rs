//! UsageService.

mod messages;
mod service;

pub(super) use messages::read_quota;
pub use service::UsageService;
