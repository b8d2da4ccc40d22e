//! The commands for what runs: media servers, relay workers and live streams.

use clap::Subcommand;

use super::{
    client::{ApiOptions, OperatorSession, run_with},
    tables,
};
use crate::{
    client::{ClientError, Limit},
    commands::error::CommandError,
    proto::v1 as pb,
};

/// Commands for media servers, relay workers and live streams.
#[derive(Subcommand)]
pub(in crate::commands) enum FleetCommand {
    /// List the media servers that have reported.
    #[command(name = "list-nodes")]
    Nodes {
        #[command(flatten)]
        limit: Limit,
        #[command(flatten)]
        options: ApiOptions,
    },
    /// Move relays away from the workers of a media server, to workers of all media servers.
    #[command(name = "drain-node")]
    Drain {
        /// The media server.
        node_id: String,
        #[command(flatten)]
        options: ApiOptions,
    },
    /// Let the workers of a media server keep and claim relays again.
    #[command(name = "resume-node")]
    Resume {
        /// The media server.
        node_id: String,
        #[command(flatten)]
        options: ApiOptions,
    },
    /// List the relay workers.
    #[command(name = "list-workers")]
    Workers {
        /// Only workers of this media server.
        #[arg(long, default_value = "")]
        node_id: String,
        #[command(flatten)]
        limit: Limit,
        #[command(flatten)]
        options: ApiOptions,
    },
    /// List the streams of all users that have not ended.
    #[command(name = "list-live-streams")]
    LiveStreams {
        /// Only streams of this user.
        #[arg(long, default_value = "")]
        user_id: String,
        /// Only streams at this media server.
        #[arg(long, default_value = "")]
        node_id: String,
        #[command(flatten)]
        limit: Limit,
        #[command(flatten)]
        options: ApiOptions,
    },
}

/// Runs a command.
pub(super) fn run(command: FleetCommand) -> Result<(), CommandError> {
    match command {
        FleetCommand::Nodes { limit, options } => {
            run_with(options, async |session| list_nodes(session, &limit).await)
        }
        FleetCommand::Drain { node_id, options } => {
            run_with(options, async |session| drain(session, node_id).await)
        }
        FleetCommand::Resume { node_id, options } => {
            run_with(options, async |session| resume(session, node_id).await)
        }
        FleetCommand::Workers {
            node_id,
            limit,
            options,
        } => run_with(options, async |session| {
            list_workers(session, &node_id, &limit).await
        }),
        FleetCommand::LiveStreams {
            user_id,
            node_id,
            limit,
            options,
        } => run_with(options, async |session| {
            list_live_streams(session, &user_id, &node_id, &limit).await
        }),
    }
}

async fn list_nodes(session: &OperatorSession, limit: &Limit) -> Result<(), ClientError> {
    let nodes = limit.list(async |page_size, page_token| {
        let request = pb::ListNodesRequest {
            page_size,
            page_token,
            ..Default::default()
        };
        let page = session.call(request, async |mut api, request| {
            api.list_nodes(request).await
        });
        let page = page.await?;
        Ok((page.nodes, page.next_page_token))
    });
    let answer = pb::ListNodesResponse {
        nodes: nodes.await?,
        next_page_token: String::new(),
    };
    let table = |answer: &pb::ListNodesResponse| tables::nodes(&answer.nodes);
    session.output().print(&answer, table)
}

async fn drain(session: &OperatorSession, node_id: String) -> Result<(), ClientError> {
    let request = pb::DrainNodeRequest { node_id };
    let answer = session.call(request, async |mut api, request| {
        api.drain_node(request).await
    });
    let table = |answer: &pb::DrainNodeResponse| tables::nodes(answer.node.as_slice());
    session.output().print(&answer.await?, table)
}

async fn resume(session: &OperatorSession, node_id: String) -> Result<(), ClientError> {
    let request = pb::ResumeNodeRequest { node_id };
    let answer = session.call(request, async |mut api, request| {
        api.resume_node(request).await
    });
    let table = |answer: &pb::ResumeNodeResponse| tables::nodes(answer.node.as_slice());
    session.output().print(&answer.await?, table)
}

async fn list_workers(
    session: &OperatorSession,
    node_id: &str,
    limit: &Limit,
) -> Result<(), ClientError> {
    let workers = limit.list(async |page_size, page_token| {
        let request = pb::ListWorkersRequest {
            node_id: node_id.to_owned(),
            page_size,
            page_token,
        };
        let page = session.call(request, async |mut api, request| {
            api.list_workers(request).await
        });
        let page = page.await?;
        Ok((page.workers, page.next_page_token))
    });
    let answer = pb::ListWorkersResponse {
        workers: workers.await?,
        next_page_token: String::new(),
    };
    let table = |answer: &pb::ListWorkersResponse| tables::workers(&answer.workers);
    session.output().print(&answer, table)
}

async fn list_live_streams(
    session: &OperatorSession,
    user_id: &str,
    node_id: &str,
    limit: &Limit,
) -> Result<(), ClientError> {
    let streams = limit.list(async |page_size, page_token| {
        let request = pb::ListLiveStreamsRequest {
            user_id: user_id.to_owned(),
            node_id: node_id.to_owned(),
            page_size,
            page_token,
        };
        let page = session.call(request, async |mut api, request| {
            api.list_live_streams(request).await
        });
        let page = page.await?;
        Ok((page.live_streams, page.next_page_token))
    });
    let answer = pb::ListLiveStreamsResponse {
        live_streams: streams.await?,
        next_page_token: String::new(),
    };
    let table = |answer: &pb::ListLiveStreamsResponse| tables::live_streams(&answer.live_streams);
    session.output().print(&answer, table)
}
