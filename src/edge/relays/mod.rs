//! Relays: claimed, run and reported.
//!
//! | file | what it is for |
//! |---|---|
//! | `worker` | hears what is to run, reports what runs, and closes it all down |
//! | `claim` | one ClaimRelays that is kept open |
//! | `roster`, `lease_clock` | which relays there are under which leases, and until when they may run |
//! | `relay`, `progress` | the life of one relay, and what its bytes say |
//! | `ffmpeg`, `stderr_tail`, `spawner` | its process |
//! | `diagnosis`, `failure` | why it ended |
//! | `carrier` | what carries its media |

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

pub use settings::RelayTerms;
pub(super) use worker::run;
