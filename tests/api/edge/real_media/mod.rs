//! Real media: a control plane, an edge, nginx-rtmp, publishers and destinations.

mod cut_connections;
mod drains;
mod fixture;
mod holds;
mod media_health;
mod moves;
mod outages;
mod owner;
mod publishing;
mod relays;
mod secret_scanner;

pub use fixture::{Fixture, wait_for};
