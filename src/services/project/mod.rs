//! ProjectService: projects, destinations and their checks, and platforms, with their messages.

mod check_destination;
mod destination_messages;
mod messages;
mod service;
mod update_destination;

pub use service::ProjectService;
