//! Relays: claimed, run and reported.
//!
//! | file | what it is for |
//! |---|---|
//! | `worker` | hears what is to run, reports what runs, and closes it all down |
//! | `claiming` | one ClaimRelays that is kept open |
//! | `roster`, `standing` | which relays there are under which leases, and until when they may run |
//! | `relay`, `progress` | the life of one relay, and what its bytes say |
//! | `ffmpeg`, `last_lines`, `spawner` | its process |
//! | `diagnosis`, `fault` | why it ended |
//! | `carrier` | what carries its media |

mod carrier;
mod claiming;
mod diagnosis;
mod fault;
mod ffmpeg;
mod last_lines;
mod progress;
mod relay;
mod roster;
mod seen;
mod spawner;
mod standing;
mod terms;
mod work;
mod worker;

pub use terms::RelayTerms;
pub(super) use worker::run;
