//! StreamService.

mod fencing;
mod invalid;
mod list;
mod media_servers;
mod publish;
mod races;
mod random_lives;
mod reconnect;
mod refusals;
mod revision;
mod scene;
mod silence;
mod stop;
mod takeover;
mod tenancy;
