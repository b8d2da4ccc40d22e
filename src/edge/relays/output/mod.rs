//! Sends the media of a live stream to one destination.
//!
//! | file | purpose |
//! |---|---|
//! | `rtmp_output` | over RTMP and RTMPS |
//! | `srt_output`, `ffmpeg`, `ffmpeg_exit`, `preset_file` | over SRT, by ffmpeg |
//! | `continuation`, `parameter_sets` | whether a process continues with what comes next |
//! | `rendition` | other video for a destination with limits, encoded by ffmpeg |
//! | `flv` | the format in which ffmpeg receives and returns media |
//! | `playout` | what is sent: the media, and what bridges the time without media |
//! | `sequence` | what is sent of the packets, and with which timestamps |
//! | `delivery`, `media_bytes`, `tcp_info` | the bytes of media that the destination has acknowledged |

mod continuation;
mod delivery;
mod ffmpeg;
mod ffmpeg_exit;
mod flv;
mod media_bytes;
mod parameter_sets;
mod playout;
mod preset_file;
mod rendition;
mod rtmp_output;
mod sequence;
mod srt_output;
mod tcp_info;

pub(super) use delivery::{Delivery, DeliveryQuality};
pub(super) use ffmpeg::Spawner;
pub(super) use preset_file::PresetFolder;
pub(super) use rendition::{Encoder, Limits, rendition};
pub(super) use rtmp_output::RtmpOutput;
pub(super) use srt_output::{Encryption, SrtOutput};
