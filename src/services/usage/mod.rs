//! UsageService.

mod messages;
mod service;

pub use service::UsageService;
