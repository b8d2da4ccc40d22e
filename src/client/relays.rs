use clap::{Args, Subcommand};

use super::{
    error::ClientError,
    names::{destination_id, destinations},
    output::Table,
    pages::list_all,
    session::{Session, request_id},
    streams::{self, StreamChoice},
    text::{bitrate, bytes, label, or_dash, time},
};
use crate::proto::v1 as pb;

const STATE: &str = "RELAY_STATE_";
const DESIRED: &str = "RELAY_DESIRED_STATE_";

/// The commands of `sluice relay`.
#[derive(Subcommand)]
pub enum RelayCommand {
    /// List the relays of a stream.
    List {
        #[command(flatten)]
        stream: StreamChoice,
    },
    /// Start sending a stream to a destination, or retry at once.
    Start {
        #[command(flatten)]
        relay: RelayChoice,
    },
    /// Stop sending a stream to a destination.
    Stop {
        #[command(flatten)]
        relay: RelayChoice,
    },
}

/// A relay.
#[derive(Args)]
pub struct RelayChoice {
    #[command(flatten)]
    stream: StreamChoice,
    /// The destination: its id, its unique name, or the unique start of its id.
    #[arg(long)]
    destination: String,
}

impl RelayChoice {
    /// The ids of the stream and the destination.
    async fn ids(&self, session: &Session) -> Result<(String, String), ClientError> {
        let stream_id = self.stream.id(session).await?;
        let project_id = match uuid::Uuid::try_parse(&self.destination) {
            Ok(_) => None,
            Err(_) => Some(streams::get(session, stream_id.clone()).await?.project_id),
        };
        let destination = destination_id(session, project_id.as_deref(), &self.destination);
        Ok((stream_id, destination.await?))
    }
}

/// Runs a command of `sluice relay`.
pub(super) async fn run(session: &Session, command: RelayCommand) -> Result<(), ClientError> {
    match command {
        RelayCommand::List { stream } => print_list(session, stream.id(session).await?).await,
        RelayCommand::Start { relay } => {
            let (stream_id, destination_id) = relay.ids(session).await?;
            let request = pb::StartRelayRequest {
                stream_id,
                destination_id,
                request_id: request_id(),
            };
            let answer = session.call(request, async |mut api, request| {
                api.stream.start_relay(request).await
            });
            let answer = answer.await?;
            session
                .output()
                .print(&answer, |answer| record(answer.relay.as_ref()))
        }
        RelayCommand::Stop { relay } => {
            let (stream_id, destination_id) = relay.ids(session).await?;
            let request = pb::StopRelayRequest {
                stream_id,
                destination_id,
                request_id: request_id(),
            };
            let answer = session.call(request, async |mut api, request| {
                api.stream.stop_relay(request).await
            });
            let answer = answer.await?;
            session
                .output()
                .print(&answer, |answer| record(answer.relay.as_ref()))
        }
    }
}

/// Reads the relays of a stream.
pub(super) async fn list(
    session: &Session,
    stream_id: String,
) -> Result<pb::ListRelaysResponse, ClientError> {
    let relays = list_all(async |page_size, page_token| {
        let request = pb::ListRelaysRequest {
            stream_id: stream_id.clone(),
            page_size,
            page_token,
            state: None,
        };
        let page = session.call(request, async |mut api, request| {
            api.stream.list_relays(request).await
        });
        let page = page.await?;
        Ok((page.relays, page.next_page_token))
    });
    Ok(pb::ListRelaysResponse {
        relays: relays.await?,
        next_page_token: String::new(),
    })
}

async fn print_list(session: &Session, stream_id: String) -> Result<(), ClientError> {
    let answer = list(session, stream_id.clone()).await?;
    let project_id = streams::get(session, stream_id).await?.project_id;
    let destinations = destinations(session, &project_id).await?;
    session.output().print(&answer, |answer| {
        let rows = answer.relays.iter().map(|relay| {
            let mut found = destinations.iter();
            let destination = found.find(|one| one.id == relay.destination_id);
            [
                destination
                    .map_or("-", |one| one.display_name.as_str())
                    .to_owned(),
                relay.destination_id.clone(),
                state(relay),
                bitrate(relay.bitrate_bps),
                bytes(relay.bytes_sent),
                problem(relay),
                streams::issues(&relay.issues),
            ]
        });
        let header = [
            "DESTINATION",
            "ID",
            "STATE",
            "BITRATE",
            "SENT",
            "ERROR",
            "ISSUES",
        ];
        Table::new(header, rows)
    })
}

/// The observed state of a relay.
pub(super) fn state(relay: &pb::Relay) -> String {
    label(relay.state().as_str_name(), STATE)
}

/// The last error of a relay; `-` if there is none.
pub(super) fn problem(relay: &pb::Relay) -> String {
    let error = relay.error.as_ref();
    or_dash(error.map_or("", |error| error.message.as_str()))
}

fn record(relay: Option<&pb::Relay>) -> Table {
    let relay = relay.cloned().unwrap_or_default();
    Table::record([
        ("stream", relay.stream_id.clone()),
        ("destination", relay.destination_id.clone()),
        (
            "desired",
            label(relay.desired_state().as_str_name(), DESIRED),
        ),
        ("state", state(&relay)),
        ("bitrate", bitrate(relay.bitrate_bps)),
        ("sent", bytes(relay.bytes_sent)),
        ("attempt", relay.attempt.to_string()),
        ("next retry", time(relay.next_retry_time)),
        ("error", problem(&relay)),
        ("issues", streams::issues(&relay.issues)),
        ("lag", format!("{} ms", relay.lag_ms)),
        ("dropped", format!("{} packets", relay.dropped_packets)),
        (
            "sent again",
            format!("{} segments", relay.retransmitted_segments),
        ),
        ("worker", or_dash(&relay.worker_id)),
    ])
}
