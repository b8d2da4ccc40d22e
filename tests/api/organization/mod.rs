//! Organizations, their members and invitations.

pub mod fixture;
mod invitations;
mod members;
mod organizations;
mod projects;
mod watches;
