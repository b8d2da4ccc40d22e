//! Claims relays and runs one supervised ffmpeg for each.
//!
//! | file | purpose |
//! |---|---|
//! | `worker` | the main loop: starts, reports and stops relays |
//! | `claim` | the ClaimRelays stream, kept open |
//! | `assignments`, `lease_clock` | the relays with their leases, and until when they may run |
//! | `relay`, `progress`, `status` | the life of one relay, and its reported status |
//! | `ffmpeg`, `stderr_tail` | its process |
//! | `failure` | why it ended |
//! | `carrier` | the connections that carry its media |

mod assignment;
mod assignments;
#[cfg(test)]
mod assignments_tests;
mod carrier;
mod claim;
mod ffmpeg;
mod lease_clock;
mod progress;
mod relay;
mod relay_failure;
mod status;
mod stderr_tail;
mod worker;

pub(super) use relay::RelaySettings;
pub(super) use worker::run;
