use std::time::Duration;

use clap::{Args, Subcommand};

use super::{
    error::{ClientError, ExitClass},
    names::project_id,
    output::Table,
    pages::Limit,
    session::{Session, request_id},
    text::{
        bitrate, bytes, duration, enum_parser, label, optional_label, or_dash, time, to_duration,
    },
};
use crate::proto::v1::{self as pb, StreamState};

pub(super) const STATE: &str = "STREAM_STATE_";
const END_REASON: &str = "END_REASON_";

/// The commands of `sluice stream`.
#[derive(Subcommand)]
pub enum StreamCommand {
    /// List the streams of a project, or of all projects, newest first.
    List {
        /// The project: its id, its unique name, or the unique start of its id. By default, all.
        project: Option<String>,
        /// Only streams in this state.
        #[arg(long, value_parser = state())]
        state: Option<StreamState>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show a stream.
    Get {
        #[command(flatten)]
        stream: StreamChoice,
    },
    /// List samples of the statistics of a stream: one every 10 seconds, kept for a day, newest
    /// first.
    Samples {
        #[command(flatten)]
        stream: StreamChoice,
        #[command(flatten)]
        limit: Limit,
    },
    /// End a stream.
    Stop {
        #[command(flatten)]
        stream: StreamChoice,
        /// Refuse publishers of the project for this time.
        #[arg(long, value_parser = humantime::parse_duration)]
        hold: Option<Duration>,
    },
}

/// A stream.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct StreamChoice {
    /// The id of the stream.
    stream: Option<String>,
    /// The stream of this project that has not ended.
    #[arg(long)]
    project: Option<String>,
}

impl StreamChoice {
    /// The id of the stream.
    pub(super) async fn id(&self, session: &Session) -> Result<String, ClientError> {
        let project = match (&self.stream, &self.project) {
            (Some(stream), _) => return Ok(stream.clone()),
            (None, project) => project.as_deref().unwrap_or_default(),
        };
        let request = pb::GetProjectRequest {
            project_id: project_id(session, project).await?,
            ..Default::default()
        };
        let answer = session.call(request, async |mut api, request| {
            api.project.get_project(request).await
        });
        let stream_id = answer.await?.project.unwrap_or_default().live_stream_id;
        match stream_id.is_empty() {
            true => Err(ClientError::new(
                ExitClass::NotFound,
                format!("the project {project} has no live stream: `sluice stream list` has more"),
            )),
            false => Ok(stream_id),
        }
    }
}

fn state() -> impl clap::builder::TypedValueParser<Value = StreamState> {
    enum_parser(STATE, StreamState::as_str_name)
}

/// Runs a command of `sluice stream`.
pub(super) async fn run(session: &Session, command: StreamCommand) -> Result<(), ClientError> {
    match command {
        StreamCommand::List {
            project,
            state,
            limit,
        } => list(session, project.as_deref(), state, &limit).await,
        StreamCommand::Get { stream } => {
            let answer = pb::GetStreamResponse {
                stream: Some(get(session, stream.id(session).await?).await?),
            };
            session
                .output()
                .print(&answer, |answer| record(answer.stream.as_ref()))
        }
        StreamCommand::Samples { stream, limit } => {
            samples(session, stream.id(session).await?, &limit).await
        }
        StreamCommand::Stop { stream, hold } => {
            let request = pb::StopStreamRequest {
                stream_id: stream.id(session).await?,
                hold: hold.map(to_duration),
                request_id: request_id(),
            };
            stop(session, request).await
        }
    }
}

/// Reads a stream.
pub(super) async fn get(session: &Session, stream_id: String) -> Result<pb::Stream, ClientError> {
    let request = pb::GetStreamRequest { stream_id };
    let answer = session.call(request, async |mut api, request| {
        api.stream.get_stream(request).await
    });
    Ok(answer.await?.stream.unwrap_or_default())
}

async fn list(
    session: &Session,
    project: Option<&str>,
    state: Option<StreamState>,
    limit: &Limit,
) -> Result<(), ClientError> {
    let project_id = match project {
        Some(project) => project_id(session, project).await?,
        None => String::new(),
    };
    let streams = limit.list(async |page_size, page_token| {
        let request = pb::ListStreamsRequest {
            project_id: project_id.clone(),
            state: state.map(i32::from),
            organization_id: session.organization(),
            page_size,
            page_token,
            ..Default::default()
        };
        let page = session.call(request, async |mut api, request| {
            api.stream.list_streams(request).await
        });
        let page = page.await?;
        Ok((page.streams, page.next_page_token))
    });
    let answer = pb::ListStreamsResponse {
        streams: streams.await?,
        next_page_token: String::new(),
    };
    session.output().print(&answer, |answer| {
        let rows = answer.streams.iter().map(|stream| {
            [
                stream.id.clone(),
                label(stream.state().as_str_name(), STATE),
                time(stream.create_time),
                time(stream.end_time),
                end_reason(stream),
                stream.project_id.clone(),
            ]
        });
        let header = ["ID", "STATE", "BEGAN", "ENDED", "REASON", "PROJECT"];
        Table::new(header, rows)
    })
}

async fn samples(session: &Session, stream_id: String, limit: &Limit) -> Result<(), ClientError> {
    let samples = limit.list(async |page_size, page_token| {
        let request = pb::ListStreamSamplesRequest {
            stream_id: stream_id.clone(),
            page_size,
            page_token,
            ..Default::default()
        };
        let page = session.call(request, async |mut api, request| {
            api.stream.list_stream_samples(request).await
        });
        let page = page.await?;
        Ok((page.samples, page.next_page_token))
    });
    let answer = pb::ListStreamSamplesResponse {
        samples: samples.await?,
        next_page_token: String::new(),
    };
    session.output().print(&answer, |answer| {
        let rows = answer.samples.iter().map(|sample| {
            let stats = sample.stats.clone().unwrap_or_default();
            [
                time(sample.sample_time),
                bitrate(stats.bitrate_bps),
                video(&stats),
                keyframe_interval(&stats),
                audio(&stats),
            ]
        });
        Table::new(["TIME", "BITRATE", "VIDEO", "KEYFRAMES", "AUDIO"], rows)
    })
}

async fn stop(session: &Session, request: pb::StopStreamRequest) -> Result<(), ClientError> {
    let answer = session.call(request, async |mut api, request| {
        api.stream.stop_stream(request).await
    });
    let answer = answer.await?;
    session
        .output()
        .print(&answer, |answer| record(answer.stream.as_ref()))
}

/// Why a stream ended; `-` while it has not.
pub(super) fn end_reason(stream: &pb::Stream) -> String {
    optional_label(stream.end_reason().as_str_name(), END_REASON)
}

fn record(stream: Option<&pb::Stream>) -> Table {
    let stream = stream.cloned().unwrap_or_default();
    let publisher = stream.publisher.clone().unwrap_or_default();
    let stats = stream.stats.clone().unwrap_or_default();
    Table::record([
        ("id", stream.id.clone()),
        ("project", stream.project_id.clone()),
        ("state", label(stream.state().as_str_name(), STATE)),
        ("epoch", stream.epoch.to_string()),
        ("node", or_dash(&publisher.node_id)),
        ("publisher", or_dash(&publisher.peer_address)),
        ("bitrate", bitrate(stats.bitrate_bps)),
        ("received", bytes(stats.bytes_received)),
        ("video", video(&stats)),
        ("keyframes", keyframe_interval(&stats)),
        ("audio", audio(&stats)),
        ("issues", issues(&stream.issues)),
        ("began", time(stream.create_time)),
        ("live since", time(stream.live_time)),
        ("last seen", time(stream.last_seen_time)),
        ("ended", time(stream.end_time)),
        ("end reason", end_reason(&stream)),
    ])
}

/// The codec, rate and channels of the audio; `none` if there is none, `-` if nothing is known.
pub(super) fn audio(stats: &pb::StreamStats) -> String {
    if stats.has_audio == Some(false) {
        return "none".to_owned();
    }
    let mut parts = Vec::new();
    if !stats.audio_codec.is_empty() {
        parts.push(stats.audio_codec.clone());
    }
    if stats.audio_sample_rate > 0 {
        parts.push(format!("{} Hz", stats.audio_sample_rate));
    }
    if stats.audio_channels > 0 {
        parts.push(format!("{} channels", stats.audio_channels));
    }
    or_dash(&parts.join(" "))
}

/// The time between key frames; `-` if it is not measured.
fn keyframe_interval(stats: &pb::StreamStats) -> String {
    match stats.keyframe_interval {
        None => "-".to_owned(),
        interval => format!("every {}", duration(interval)),
    }
}

/// Issues of media, each with its detail; `-` if there are none.
pub(super) fn issues(issues: &[pb::MediaIssue]) -> String {
    let texts = issues.iter().map(|issue| {
        let code = label(issue.code().as_str_name(), "MEDIA_ISSUE_CODE_");
        format!("{code}: {}", issue.detail)
    });
    or_dash(&texts.collect::<Vec<_>>().join("; "))
}

/// The codec, size and frame rate of a video; `-` if nothing is known.
pub(super) fn video(stats: &pb::StreamStats) -> String {
    let mut parts = Vec::new();
    if !stats.video_codec.is_empty() {
        parts.push(stats.video_codec.clone());
    }
    if stats.width > 0 && stats.height > 0 {
        parts.push(format!("{}x{}", stats.width, stats.height));
    }
    if stats.fps > 0.0 {
        parts.push(format!("{:.0} fps", stats.fps));
    }
    or_dash(&parts.join(" "))
}
