//! Claims relays, and sends live streams to their destinations.
//!
//! A relay copies media without encoding. RTMP and RTMPS are spoken by the edge itself; for
//! SRT it feeds one ffmpeg for each destination.
//!
//! One play session for all destinations, shared payloads and no process for each of them: 50
//! destinations of a stream of 6 Mbit/s cost 6 % of a core and 59 MB (unoptimized build), where
//! one ffmpeg each cost 58 MB and a reader at the media server. The first relay of a stream
//! broadcasts 0.07 s after the stream is live, instead of 3.5 to 10 s, and a relay stops within
//! 0.02 s, instead of up to 5 s (medians of 5 of `tests/run bench --profile dev --bench relays`).
//!
//! | file | purpose |
//! |---|---|
//! | `worker` | the main loop: starts, reports and stops relays |
//! | `claim` | the ClaimRelays stream, kept open |
//! | `leased_relays`, `lease_clock` | the relays with their leases, and until when they may run |
//! | `relay`, `progress`, `status` | the life of one relay, and its reported status |
//! | `reconnect` | when a lost connection to a destination is replaced at once |
//! | `early_inputs` | play sessions of streams whose relays are not assigned yet |
//! | `assignment` | the input and the output of one relay |
//! | `output` | sends to one destination |
//! | `media` | one play session per live stream, and its distribution to outputs |
//! | `upstream` | addresses of and connections to servers |
//! | `rtmp` | the protocol |
//! | `destination_check` | checks whether a destination can be reached, without publishing |
//! | `relay_failure` | why a relay ended |

mod assignment;
mod claim;
mod destination_check;
mod early_inputs;
#[cfg(test)]
mod fuzzing;
mod lease_clock;
mod leased_relays;
#[cfg(test)]
mod leased_relays_tests;
mod media;
mod output;
mod progress;
mod reconnect;
mod relay;
mod relay_failure;
mod rtmp;
mod status;
#[cfg(test)]
mod tests;
mod upstream;
mod worker;

pub(super) use assignment::ENCODING_COST;
pub(super) use worker::run;
