//! The media of a live stream, from one play session to many outputs.
//!
//! ```text
//! media server --RTMP--> input --> fan-out --> queue --> output
//!                                         \--> queue --> output
//! ```
//!
//! | file | purpose |
//! |---|---|
//! | `inputs`, `input` | one play session per live stream, restarted when it is lost |
//! | `idle_inputs` | play sessions that wait for a relay |
//! | `packet` | packets of media, inspected only as far as relays need |
//! | `meter`, `description`, `sps` | what is measured of the media, and what packets say about it |
//! | `fan_out` | what a new output starts with, and the distribution to all outputs |
//! | `delay` | packets that an output holds back, if its owner wants a delay |
//! | `output_queue` | what an output has not sent yet, bounded in time and bytes |
//! | `subscription` | the queue of an output, which may move to another input |
//! | `hold`, `silence` | what an output sends while the publisher is away |
//! | `timeline` | timestamps of an output, which never go back |

mod delay;
mod description;
mod fan_out;
mod hold;
mod idle_inputs;
mod input;
mod inputs;
mod meter;
mod output_queue;
mod packet;
mod silence;
mod sps;
mod subscription;
mod timeline;

#[cfg(test)]
mod tests;

pub(super) use fan_out::FanOut;
pub(super) use hold::Hold;
pub(super) use input::{Input, InputSource, next_epoch};
pub(super) use inputs::Inputs;
pub(super) use output_queue::{OutputQueue, Queued};
pub(super) use packet::{Packet, Role};
pub(super) use subscription::Subscription;
pub(super) use timeline::Timeline;

#[cfg(test)]
pub(super) use input::split_aggregate;
