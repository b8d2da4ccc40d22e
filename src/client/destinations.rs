use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use super::{
    error::{ClientError, ExitClass},
    names::{destination_id, project_id},
    output::{Table, printable},
    pages::{Limit, list_all},
    secret_input::{from_file, from_stdin},
    session::{Session, request_id},
    text::{duration, enum_parser, label, or_dash, time, to_duration},
};
use crate::{
    domain::Secret,
    proto::v1::{self as pb, Platform},
};

const PLATFORM: &str = "PLATFORM_";
const CHECK_STEP: &str = "DESTINATION_CHECK_STEP_";
const CHECK_OUTCOME: &str = "DESTINATION_CHECK_OUTCOME_";

/// The commands of `sluice destination`.
#[derive(Subcommand)]
pub enum DestinationCommand {
    /// Add a destination to a project.
    #[command(visible_alias = "add")]
    Create {
        /// The project: its id, its unique name, or the unique start of its id.
        project: String,
        /// The name of the destination.
        #[arg(long)]
        name: String,
        /// The platform. `sluice destination platforms` shows what is known about each.
        #[arg(long, value_parser = platform())]
        platform: Platform,
        /// The server to send to: rtmp, rtmps or srt. Needed unless the platform has one for all.
        #[arg(long)]
        url: Option<String>,
        #[command(flatten)]
        secrets: DestinationSecrets,
        /// How much later than the stream the media is sent, for example 30s: up to 60 seconds.
        #[arg(long, value_parser = humantime::parse_duration)]
        delay: Option<Duration>,
        #[command(flatten)]
        limits: DestinationLimits,
        /// The server accepts a second connection with the same key before the first one ends.
        #[arg(long)]
        allows_second_connection: bool,
        /// Do not send streams to it until it is enabled.
        #[arg(long)]
        disabled: bool,
    },
    /// List the destinations of a project, newest first.
    List {
        /// The project: its id, its unique name, or the unique start of its id.
        project: String,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show a destination.
    Get {
        #[command(flatten)]
        destination: DestinationChoice,
    },
    /// Change a destination.
    #[command(group = clap::ArgGroup::new("changes").required(true).multiple(true))]
    Update {
        #[command(flatten)]
        destination: DestinationChoice,
        /// The new name.
        #[arg(long, group = "changes")]
        name: Option<String>,
        /// The new platform.
        #[arg(long, group = "changes", value_parser = platform())]
        platform: Option<Platform>,
        /// The new server.
        #[arg(long, group = "changes")]
        url: Option<String>,
        /// Read the new stream key from standard input.
        #[arg(long, group = "changes", conflicts_with = "stream_key_file")]
        stream_key_stdin: bool,
        /// Read the new stream key from a file.
        #[arg(long, group = "changes", value_name = "FILE")]
        stream_key_file: Option<PathBuf>,
        /// Read the new SRT passphrase from a file.
        #[arg(long, group = "changes", value_name = "FILE")]
        srt_passphrase_file: Option<PathBuf>,
        /// The length of the SRT key in bytes: 16, 24 or 32.
        #[arg(long, group = "changes")]
        srt_pbkeylen: Option<i32>,
        /// How much later than the stream the media is sent, for example 30s: up to 60 seconds.
        /// A running relay is started again.
        #[arg(long, group = "changes", value_parser = humantime::parse_duration)]
        delay: Option<Duration>,
        /// The most bits of video in a second, in thousands; 0 removes the limit.
        #[arg(long, group = "changes")]
        max_video_bitrate_kbps: Option<i32>,
        /// The greatest height of the picture in pixels; 0 removes the limit.
        #[arg(long, group = "changes")]
        max_height: Option<i32>,
        /// Whether it accepts a second connection with the same key before the first one ends.
        #[arg(long, group = "changes")]
        allows_second_connection: Option<bool>,
        /// Whether streams are not sent to it.
        #[arg(long, group = "changes")]
        disabled: Option<bool>,
        /// Do this only if the destination still has this `etag`, which `-o json` shows.
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
    /// Delete a destination. Its relay stops.
    Delete {
        #[command(flatten)]
        destination: DestinationChoice,
        /// Do this only if the destination still has this `etag`, which `-o json` shows.
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
    /// Check whether a destination can be reached from where streams are sent. Nothing is
    /// published, and the stream key is not sent.
    Check {
        #[command(flatten)]
        destination: DestinationChoice,
    },
    /// List the platforms, with their servers and limits.
    Platforms,
}

/// A destination.
#[derive(Args)]
pub struct DestinationChoice {
    /// The destination: its id; or with --project its unique name, or the unique start of its id.
    destination: String,
    /// The project of the destination.
    #[arg(long)]
    project: Option<String>,
}

/// The secrets of a destination.
#[derive(Args)]
pub struct DestinationSecrets {
    /// Read the stream key from standard input.
    #[arg(long, conflicts_with = "stream_key_file")]
    stream_key_stdin: bool,
    /// Read the stream key from a file.
    #[arg(long, value_name = "FILE")]
    stream_key_file: Option<PathBuf>,
    /// Read the SRT passphrase from a file.
    #[arg(long, value_name = "FILE")]
    srt_passphrase_file: Option<PathBuf>,
    /// The length of the SRT key in bytes: 16, 24 or 32.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    srt_pbkeylen: i32,
}

/// The limits of the video.
#[derive(Args)]
pub struct DestinationLimits {
    /// The most bits of video in a second, in thousands. The video is encoded for this destination.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    max_video_bitrate_kbps: i32,
    /// The greatest height of the picture in pixels. The video is encoded for this destination.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    max_height: i32,
}

impl DestinationChoice {
    async fn id(&self, session: &Session) -> Result<String, ClientError> {
        let project = match &self.project {
            Some(project) => Some(project_id(session, project).await?),
            None => None,
        };
        destination_id(session, project.as_deref(), &self.destination).await
    }
}

fn platform() -> impl clap::builder::TypedValueParser<Value = Platform> {
    enum_parser(PLATFORM, Platform::as_str_name)
}

/// Runs a command of `sluice destination`.
pub(super) async fn run(session: &Session, command: DestinationCommand) -> Result<(), ClientError> {
    match command {
        DestinationCommand::Create {
            project,
            name,
            platform,
            url,
            secrets,
            delay,
            limits,
            allows_second_connection,
            disabled,
        } => {
            let stream_key =
                stream_key(secrets.stream_key_stdin, secrets.stream_key_file.as_ref())?;
            let srt_passphrase = srt_passphrase(secrets.srt_passphrase_file.as_ref())?;
            let request = pb::CreateDestinationRequest {
                project_id: project_id(session, &project).await?,
                platform: platform.into(),
                display_name: name,
                url: url.unwrap_or_default(),
                stream_key: stream_key.unwrap_or_default(),
                disabled,
                request_id: request_id(),
                srt_passphrase: srt_passphrase.unwrap_or_default(),
                srt_pbkeylen: secrets.srt_pbkeylen,
                delay: delay.map(to_duration),
                max_video_bitrate_kbps: limits.max_video_bitrate_kbps,
                max_height: limits.max_height,
                allows_second_connection,
            };
            create(session, request).await
        }
        DestinationCommand::List { project, limit } => list(session, &project, &limit).await,
        DestinationCommand::Get { destination } => get(session, &destination).await,
        DestinationCommand::Update {
            destination,
            name,
            platform,
            url,
            stream_key_stdin,
            stream_key_file,
            srt_passphrase_file,
            srt_pbkeylen,
            delay,
            max_video_bitrate_kbps,
            max_height,
            allows_second_connection,
            disabled,
            etag,
        } => {
            let request = pb::UpdateDestinationRequest {
                destination_id: destination.id(session).await?,
                platform: platform.map(i32::from),
                display_name: name,
                url,
                stream_key: stream_key(stream_key_stdin, stream_key_file.as_ref())?,
                disabled,
                srt_passphrase: srt_passphrase(srt_passphrase_file.as_ref())?,
                srt_pbkeylen,
                delay: delay.map(to_duration),
                max_video_bitrate_kbps,
                max_height,
                allows_second_connection,
                etag,
                request_id: request_id(),
            };
            update(session, request).await
        }
        DestinationCommand::Delete { destination, etag } => {
            let request = pb::DeleteDestinationRequest {
                destination_id: destination.id(session).await?,
                etag,
                request_id: request_id(),
            };
            delete(session, request).await
        }
        DestinationCommand::Check { destination } => check(session, &destination).await,
        DestinationCommand::Platforms => platforms(session).await,
    }
}

async fn create(
    session: &Session,
    request: pb::CreateDestinationRequest,
) -> Result<(), ClientError> {
    let answer = session.call(request, async |mut api, request| {
        api.project.create_destination(request).await
    });
    let answer = answer.await?;
    advise(&answer.lints);
    session
        .output()
        .print(&answer, |answer| record(answer.destination.as_ref()))
}

async fn list(session: &Session, project: &str, limit: &Limit) -> Result<(), ClientError> {
    let project_id = project_id(session, project).await?;
    let destinations = limit.list(async |page_size, page_token| {
        let request = pb::ListDestinationsRequest {
            project_id: project_id.clone(),
            page_size,
            page_token,
            ..Default::default()
        };
        let page = session.call(request, async |mut api, request| {
            api.project.list_destinations(request).await
        });
        let page = page.await?;
        Ok((page.destinations, page.next_page_token))
    });
    let answer = pb::ListDestinationsResponse {
        destinations: destinations.await?,
        next_page_token: String::new(),
    };
    session.output().print(&answer, |answer| {
        let rows = answer.destinations.iter().map(|destination| {
            [
                destination.id.clone(),
                destination.display_name.clone(),
                label(destination.platform().as_str_name(), PLATFORM),
                state(destination).to_owned(),
                destination.url.clone(),
            ]
        });
        Table::new(["ID", "NAME", "PLATFORM", "STATE", "URL"], rows)
    })
}

async fn get(session: &Session, destination: &DestinationChoice) -> Result<(), ClientError> {
    let request = pb::GetDestinationRequest {
        destination_id: destination.id(session).await?,
    };
    let answer = session.call(request, async |mut api, request| {
        api.project.get_destination(request).await
    });
    let answer = answer.await?;
    session
        .output()
        .print(&answer, |answer| record(answer.destination.as_ref()))
}

async fn update(
    session: &Session,
    request: pb::UpdateDestinationRequest,
) -> Result<(), ClientError> {
    let answer = session.call(request, async |mut api, request| {
        api.project.update_destination(request).await
    });
    let answer = answer.await?;
    advise(&answer.lints);
    session
        .output()
        .print(&answer, |answer| record(answer.destination.as_ref()))
}

async fn delete(
    session: &Session,
    request: pb::DeleteDestinationRequest,
) -> Result<(), ClientError> {
    let text = format!("the destination {} is deleted", request.destination_id);
    let answer = session.call(request, async |mut api, request| {
        api.project.delete_destination(request).await
    });
    let answer = answer.await?;
    session.output().print_text(&answer, &text)
}

async fn check(session: &Session, destination: &DestinationChoice) -> Result<(), ClientError> {
    let request = pb::CheckDestinationRequest {
        destination_id: destination.id(session).await?,
    };
    let answer = session.call(request, async |mut api, request| {
        api.project.check_destination(request).await
    });
    let answer = answer.await?;
    session.output().print(&answer, |answer| {
        let rows = answer.results.iter().map(|result| {
            [
                label(result.step().as_str_name(), CHECK_STEP),
                label(result.outcome().as_str_name(), CHECK_OUTCOME),
                duration(result.duration),
                result.detail.clone(),
            ]
        });
        Table::new(["STEP", "RESULT", "TIME", "DETAIL"], rows)
    })?;
    match answer.is_reachable {
        true => Ok(()),
        false => Err(ClientError::new(
            ExitClass::Failure,
            "the destination cannot be reached",
        )),
    }
}

async fn platforms(session: &Session) -> Result<(), ClientError> {
    let platforms = list_all(async |page_size, page_token| {
        let request = pb::ListPlatformsRequest {
            page_size,
            page_token,
        };
        let page = session.call(request, async |mut api, request| {
            api.project.list_platforms(request).await
        });
        let page = page.await?;
        Ok((page.platforms, page.next_page_token))
    });
    let answer = pb::ListPlatformsResponse {
        platforms: platforms.await?,
        next_page_token: String::new(),
    };
    session.output().print(&answer, |answer| {
        let rows = answer.platforms.iter().map(|info| {
            let name = label(info.platform().as_str_name(), PLATFORM);
            [
                name.to_ascii_lowercase().replace('_', "-"),
                info.display_name.clone(),
                label(info.kind().as_str_name(), "PLATFORM_KIND_"),
                label(info.tls().as_str_name(), "PLATFORM_TLS_"),
                or_dash(info.urls.first().map_or("", |url| url.as_str())),
            ]
        });
        Table::new(["PLATFORM", "NAME", "SERVERS", "TLS", "URL"], rows)
    })
}

/// Prints what the server noticed about a destination on standard error.
fn advise(lints: &[pb::DestinationLint]) {
    for lint in lints {
        eprintln!(
            "sluice: {}: {}",
            lint.field,
            printable(lint.message.clone())
        );
    }
}

fn stream_key(from_input: bool, file: Option<&PathBuf>) -> Result<Option<String>, ClientError> {
    let key = match (from_input, file) {
        (true, _) => Some(from_stdin("--stream-key-stdin")?),
        (false, Some(file)) => Some(from_file(file, "--stream-key-file")?),
        (false, None) => None,
    };
    Ok(key.map(exposed))
}

fn srt_passphrase(file: Option<&PathBuf>) -> Result<Option<String>, ClientError> {
    let passphrase = file.map(|file| from_file(file, "--srt-passphrase-file"));
    Ok(passphrase.transpose()?.map(exposed))
}

fn exposed(secret: Secret) -> String {
    secret.expose().to_owned()
}

fn state(destination: &pb::Destination) -> &'static str {
    match destination.disabled {
        true => "DISABLED",
        false => "ENABLED",
    }
}

fn second_connection(destination: &pb::Destination) -> &'static str {
    match destination.allows_second_connection {
        true => "ALLOWED",
        false => "-",
    }
}

fn delay(delay: Option<prost_types::Duration>) -> String {
    let delay = Duration::try_from(delay.unwrap_or_default()).unwrap_or_default();
    match delay.is_zero() {
        true => "-".to_owned(),
        false => humantime::format_duration(delay).to_string(),
    }
}

fn limits(destination: &pb::Destination) -> String {
    let bitrate = match destination.max_video_bitrate_kbps {
        0 => None,
        kbps => Some(format!("{kbps} kbit/s")),
    };
    let height = match destination.max_height {
        0 => None,
        pixels => Some(format!("{pixels} pixels")),
    };
    let limits: Vec<_> = bitrate.into_iter().chain(height).collect();
    or_dash(&limits.join(", "))
}

fn record(destination: Option<&pb::Destination>) -> Table {
    let destination = destination.cloned().unwrap_or_default();
    let hint = match &*destination.stream_key_hint {
        "" => "-".to_owned(),
        hint => format!("…{hint}"),
    };
    let platform = destination.platform();
    Table::record([
        ("id", destination.id.clone()),
        ("name", destination.display_name.clone()),
        ("project", destination.project_id.clone()),
        ("platform", label(platform.as_str_name(), PLATFORM)),
        ("url", destination.url.clone()),
        ("stream key", hint),
        ("delay", delay(destination.delay)),
        ("limits", limits(&destination)),
        (
            "second connection",
            second_connection(&destination).to_owned(),
        ),
        ("state", state(&destination).to_owned()),
        ("created", time(destination.create_time)),
        ("updated", time(destination.update_time)),
    ])
}
