//! ProjectService: projects, destinations and platforms, with their messages.

mod destination_messages;
mod messages;
mod platform_messages;
mod service;

pub use service::{ProjectDependencies, ProjectService};
