//! ProjectService: projects, destinations and platforms, with their messages.

mod destination_messages;
mod messages;
mod service;

pub use service::ProjectService;
