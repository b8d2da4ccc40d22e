//! ProjectService: projects, destinations and platforms, and their messages.

mod destination_messages;
mod messages;
mod platform_messages;
mod service;

pub use service::ProjectService;
