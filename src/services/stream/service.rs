use std::time::Duration;

use tonic::codegen::BoxStream;

use super::{node_reconciler::NodeReconciler, watch::WatchTimeouts};
use crate::{
    auth::Sealer,
    database::Database,
    domain::RelayTimeouts,
    proto::v1 as pb,
    repositories::{
        Events, Projects, Publishing, Refusals, RelayClaims, RelayReports, Relays, Streams,
    },
    services::{implement_service::implement_service, paging::PageTokens},
    watching::WatchHub,
};

/// The service for streams and relays.
#[derive(Debug)]
pub struct StreamService {
    pub(super) projects: Projects,
    pub(super) streams: Streams,
    pub(super) refusals: Refusals,
    pub(super) relays: Relays,
    pub(super) claims: RelayClaims,
    pub(super) reports: RelayReports,
    pub(super) events: Events,
    pub(super) publishing: Publishing,
    pub(super) node_reconciler: NodeReconciler,
    pub(super) hub: WatchHub,
    pub(super) sealer: Sealer,
    pub(super) page_tokens: PageTokens,
    pub(super) heartbeat_interval: Duration,
    pub(super) watch_timeouts: WatchTimeouts,
    pub(super) relay_timeouts: RelayTimeouts,
}

/// The dependencies of [`StreamService`].
pub struct StreamDependencies {
    /// The database.
    pub database: Database,
    /// Records the reports of media servers.
    pub publishing: Publishing,
    /// Records the reports of relay workers.
    pub reports: RelayReports,
    /// Seals secrets in the database.
    pub sealer: Sealer,
    /// How often media servers have to report.
    pub heartbeat_interval: Duration,
    /// The registry of watches.
    pub hub: WatchHub,
    /// The timeouts of watches.
    pub watch_timeouts: WatchTimeouts,
    /// The timeouts of relays.
    pub relay_timeouts: RelayTimeouts,
}

impl StreamService {
    /// The service with its dependencies.
    pub fn new(dependencies: StreamDependencies) -> Self {
        let StreamDependencies {
            database,
            publishing,
            sealer,
            relay_timeouts,
            ..
        } = dependencies;
        Self {
            projects: Projects::new(database.clone()),
            streams: Streams::new(database.clone()),
            refusals: Refusals::new(database.clone()),
            relays: Relays::new(database.clone()),
            claims: RelayClaims::new(database.clone(), relay_timeouts),
            reports: dependencies.reports,
            events: Events::new(database),
            node_reconciler: NodeReconciler::new(publishing.clone(), sealer.clone()),
            publishing,
            hub: dependencies.hub,
            page_tokens: PageTokens::new(sealer.clone()),
            sealer,
            heartbeat_interval: dependencies.heartbeat_interval,
            watch_timeouts: dependencies.watch_timeouts,
            relay_timeouts,
        }
    }
}

implement_service! {
    StreamService as pb::stream_service_server::StreamService {
        type WatchProjectStream = BoxStream<pb::WatchProjectResponse>;
        type ClaimRelaysStream = BoxStream<pb::ClaimRelaysResponse>;
        rpc begin_publish(pb::BeginPublishRequest) -> pb::BeginPublishResponse;
        rpc heartbeat_publish(pb::HeartbeatPublishRequest) -> pb::HeartbeatPublishResponse;
        rpc end_publish(pb::EndPublishRequest) -> pb::EndPublishResponse;
        rpc sync_node(pb::SyncNodeRequest) -> pb::SyncNodeResponse;
        rpc get_stream(pb::GetStreamRequest) -> pb::GetStreamResponse;
        rpc list_streams(pb::ListStreamsRequest) -> pb::ListStreamsResponse;
        rpc stop_stream(pb::StopStreamRequest) -> pb::StopStreamResponse;
        rpc list_refusals(pb::ListRefusalsRequest) -> pb::ListRefusalsResponse;
        rpc start_relay(pb::StartRelayRequest) -> pb::StartRelayResponse;
        rpc stop_relay(pb::StopRelayRequest) -> pb::StopRelayResponse;
        rpc list_relays(pb::ListRelaysRequest) -> pb::ListRelaysResponse;
        rpc report_relays(pb::ReportRelaysRequest) -> pb::ReportRelaysResponse;
        rpc watch_project(pb::WatchProjectRequest) -> BoxStream<pb::WatchProjectResponse>;
        rpc claim_relays(pb::ClaimRelaysRequest) -> BoxStream<pb::ClaimRelaysResponse>;
    }
}
