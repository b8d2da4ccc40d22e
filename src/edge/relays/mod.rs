//! Claims relays and runs one supervised ffmpeg for each.
//!
//! | file | purpose |
//! |---|---|
//! | `worker` | the main loop: starts, reports and stops relays |
//! | `claim` | the ClaimRelays stream, kept open |
//! | `assignments`, `lease_clock` | the relays with their leases, and until when they may run |
//! | `relay`, `progress`, `status` | the life of one relay, and its reported status |
//! | `ffmpeg`, `stderr_tail`, `spawner` | its process |
//! | `diagnosis`, `failure` | why it ended |
//! | `carrier` | the connections that carry its media |

mod assignment;
mod assignments;
mod carrier;
mod claim;
mod diagnosis;
mod failure;
mod ffmpeg;
mod lease_clock;
mod progress;
mod relay;
mod settings;
mod spawner;
mod status;
mod stderr_tail;
mod worker;

pub(super) use settings::RelaySettings;
pub(super) use worker::run;
