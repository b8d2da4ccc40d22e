//! ProjectService: projects, destinations and platforms, with their messages.

mod destination_messages;
mod messages;
mod service;
mod update_destination;

pub use service::ProjectService;
