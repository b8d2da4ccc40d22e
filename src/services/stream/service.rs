use std::time::Duration;

use tonic::codegen::BoxStream;

use super::node_reconciler::NodeReconciler;
use crate::{
    auth::Sealer,
    check_dispatch::CheckDispatch,
    claim_dispatch::ClaimDispatch,
    proto::v1 as pb,
    repositories::{
        DestinationChecks, Events, Projects, Publishing, Refusals, RelayLeases, Relays,
        StreamSamples, Streams,
    },
    services::{paging::PageTokens, rpc::implement_service},
    watching::WatchHub,
};

/// The service for streams and relays.
#[derive(Debug)]
pub struct StreamService {
    pub(super) projects: Projects,
    pub(super) streams: Streams,
    pub(super) refusals: Refusals,
    pub(super) relays: Relays,
    pub(super) relay_leases: RelayLeases,
    pub(super) samples: StreamSamples,
    pub(super) check_dispatch: CheckDispatch,
    pub(super) claim_dispatch: ClaimDispatch,
    pub(super) checks: DestinationChecks,
    pub(super) events: Events,
    pub(super) publishing: Publishing,
    pub(super) node_reconciler: NodeReconciler,
    pub(super) hub: WatchHub,
    pub(super) sealer: Sealer,
    pub(super) page_tokens: PageTokens,
    pub(super) intervals: MessageIntervals,
}

/// The intervals at which messages are due.
#[derive(Debug, Clone, Copy)]
pub struct MessageIntervals {
    /// The interval of the reports of media servers.
    pub heartbeat: Duration,
    /// The longest interval between two messages of a watch.
    pub watch: Duration,
}

impl StreamService {
    /// The service of the database of publishers. The sealer seals play URLs and opens stream keys.
    pub fn new(
        publishing: Publishing,
        relay_leases: RelayLeases,
        check_dispatch: CheckDispatch,
        claim_dispatch: ClaimDispatch,
        hub: WatchHub,
        sealer: Sealer,
        intervals: MessageIntervals,
    ) -> Self {
        let database = publishing.database.clone();
        Self {
            projects: Projects::new(database.clone()),
            streams: Streams::new(database.clone()),
            refusals: Refusals::new(database.clone()),
            relays: Relays::new(database.clone()),
            relay_leases,
            samples: StreamSamples::new(database.clone()),
            check_dispatch,
            claim_dispatch,
            checks: DestinationChecks::new(database.clone()),
            events: Events::new(database),
            node_reconciler: NodeReconciler::new(publishing.clone(), sealer.clone()),
            publishing,
            hub,
            page_tokens: PageTokens::new(sealer.clone()),
            sealer,
            intervals,
        }
    }
}

implement_service! {
    StreamService as pb::stream_service_server::StreamService {
        type WatchProjectStream = BoxStream<pb::WatchProjectResponse>;
        type WatchProjectsStream = BoxStream<pb::WatchProjectsResponse>;
        type ClaimRelaysStream = BoxStream<pb::ClaimRelaysResponse>;
        rpc begin_publish(pb::BeginPublishRequest) -> pb::BeginPublishResponse;
        rpc heartbeat_publish(pb::HeartbeatPublishRequest) -> pb::HeartbeatPublishResponse;
        rpc end_publish(pb::EndPublishRequest) -> pb::EndPublishResponse;
        rpc sync_node(pb::SyncNodeRequest) -> pb::SyncNodeResponse;
        rpc get_stream(pb::GetStreamRequest) -> pb::GetStreamResponse;
        rpc list_streams(pb::ListStreamsRequest) -> pb::ListStreamsResponse;
        rpc list_stream_samples(pb::ListStreamSamplesRequest) -> pb::ListStreamSamplesResponse;
        rpc stop_stream(pb::StopStreamRequest) -> pb::StopStreamResponse;
        rpc list_refusals(pb::ListRefusalsRequest) -> pb::ListRefusalsResponse;
        rpc start_relay(pb::StartRelayRequest) -> pb::StartRelayResponse;
        rpc stop_relay(pb::StopRelayRequest) -> pb::StopRelayResponse;
        rpc list_relays(pb::ListRelaysRequest) -> pb::ListRelaysResponse;
        rpc report_relays(pb::ReportRelaysRequest) -> pb::ReportRelaysResponse;
        rpc watch_project(pb::WatchProjectRequest) -> BoxStream<pb::WatchProjectResponse>;
        rpc watch_projects(pb::WatchProjectsRequest) -> BoxStream<pb::WatchProjectsResponse>;
        rpc claim_relays(pb::ClaimRelaysRequest) -> BoxStream<pb::ClaimRelaysResponse>;
    }
}
