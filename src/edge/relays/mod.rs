//! Claims relays and runs one supervised ffmpeg for each.
//!
//! | file | purpose |
//! |---|---|
//! | `worker` | the main loop: starts, reports and stops relays |
//! | `claim` | the ClaimRelays stream, kept open |
//! | `leased_relays`, `lease_clock` | the relays with their leases, and until when they may run |
//! | `assignment` | the input and the output of one relay |
//! | `relay`, `progress`, `status` | the life of one relay, and its reported status |
//! | `ffmpeg`, `ffmpeg_exit` | its process, and what its exit means |
//! | `relay_failure` | why a relay ended |
//! | `carrier` | the connections that carry its media |

mod assignment;
mod carrier;
mod claim;
mod ffmpeg;
mod ffmpeg_exit;
mod lease_clock;
mod leased_relays;
#[cfg(test)]
mod leased_relays_tests;
mod progress;
mod relay;
mod relay_failure;
mod status;
mod worker;

pub(super) use worker::run;
