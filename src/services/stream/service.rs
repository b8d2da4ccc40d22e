use std::time::Duration;

use tonic::{Request, Response, Status, codegen::BoxStream};

use super::{
    node_reconciler::NodeReconciler, owner_rpcs::OwnerRpcs, publish_rpcs::PublishRpcs,
    relay_rpcs::RelayRpcs, watch::WatchTimeouts, watch_rpcs::WatchRpcs, worker_rpcs::WorkerRpcs,
};
use crate::{
    auth::Sealer,
    database::Database,
    domain::RelayTimeouts,
    proto::v1 as pb,
    repositories::{
        Events, Projects, Publishing, Refusals, RelayClaims, RelayReports, Relays, Snapshots,
        Streams,
    },
    services::paging::PageTokens,
    watching::WatchHub,
};

/// The service for streams and relays.
#[derive(Debug)]
pub struct StreamService {
    publish: PublishRpcs,
    owner: OwnerRpcs,
    watch: WatchRpcs,
    relay: RelayRpcs,
    worker: WorkerRpcs,
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
            reports,
            sealer,
            heartbeat_interval,
            hub,
            watch_timeouts,
            relay_timeouts,
        } = dependencies;
        let streams = Streams::new(database.clone());
        Self {
            publish: PublishRpcs {
                node_reconciler: NodeReconciler::new(
                    database.clone(),
                    publishing.clone(),
                    sealer.clone(),
                ),
                publishing,
                sealer: sealer.clone(),
                heartbeat_interval,
            },
            owner: OwnerRpcs {
                projects: Projects::new(database.clone()),
                streams: streams.clone(),
                refusals: Refusals::new(database.clone()),
                page_tokens: PageTokens::new(sealer.clone()),
            },
            relay: RelayRpcs {
                streams,
                relays: Relays::new(database.clone()),
            },
            worker: WorkerRpcs {
                claims: RelayClaims::new(database.clone(), relay_timeouts),
                reports,
                sealer,
                timeouts: relay_timeouts,
            },
            watch: WatchRpcs {
                snapshots: Snapshots::new(database.clone()),
                events: Events::new(database),
                hub,
                timeouts: watch_timeouts,
            },
        }
    }
}

#[tonic::async_trait]
impl pb::stream_service_server::StreamService for StreamService {
    async fn begin_publish(
        &self,
        request: Request<pb::BeginPublishRequest>,
    ) -> Result<Response<pb::BeginPublishResponse>, Status> {
        Ok(self.publish.begin_publish(request).await?)
    }

    async fn heartbeat_publish(
        &self,
        request: Request<pb::HeartbeatPublishRequest>,
    ) -> Result<Response<pb::HeartbeatPublishResponse>, Status> {
        Ok(self.publish.heartbeat_publish(request).await?)
    }

    async fn end_publish(
        &self,
        request: Request<pb::EndPublishRequest>,
    ) -> Result<Response<pb::EndPublishResponse>, Status> {
        Ok(self.publish.end_publish(request).await?)
    }

    async fn sync_node(
        &self,
        request: Request<pb::SyncNodeRequest>,
    ) -> Result<Response<pb::SyncNodeResponse>, Status> {
        Ok(self.publish.sync_node(request).await?)
    }

    async fn get_stream(
        &self,
        request: Request<pb::GetStreamRequest>,
    ) -> Result<Response<pb::GetStreamResponse>, Status> {
        Ok(self.owner.get_stream(request).await?)
    }

    async fn list_streams(
        &self,
        request: Request<pb::ListStreamsRequest>,
    ) -> Result<Response<pb::ListStreamsResponse>, Status> {
        Ok(self.owner.list_streams(request).await?)
    }

    async fn stop_stream(
        &self,
        request: Request<pb::StopStreamRequest>,
    ) -> Result<Response<pb::StopStreamResponse>, Status> {
        Ok(self.owner.stop_stream(request).await?)
    }

    async fn list_refusals(
        &self,
        request: Request<pb::ListRefusalsRequest>,
    ) -> Result<Response<pb::ListRefusalsResponse>, Status> {
        Ok(self.owner.list_refusals(request).await?)
    }

    async fn start_relay(
        &self,
        request: Request<pb::StartRelayRequest>,
    ) -> Result<Response<pb::StartRelayResponse>, Status> {
        Ok(self.relay.start_relay(request).await?)
    }

    async fn stop_relay(
        &self,
        request: Request<pb::StopRelayRequest>,
    ) -> Result<Response<pb::StopRelayResponse>, Status> {
        Ok(self.relay.stop_relay(request).await?)
    }

    async fn list_relays(
        &self,
        request: Request<pb::ListRelaysRequest>,
    ) -> Result<Response<pb::ListRelaysResponse>, Status> {
        Ok(self.relay.list_relays(request).await?)
    }

    async fn report_relays(
        &self,
        request: Request<pb::ReportRelaysRequest>,
    ) -> Result<Response<pb::ReportRelaysResponse>, Status> {
        Ok(self.worker.report_relays(request).await?)
    }

    type WatchProjectStream = BoxStream<pb::WatchProjectResponse>;

    async fn watch_project(
        &self,
        request: Request<pb::WatchProjectRequest>,
    ) -> Result<Response<Self::WatchProjectStream>, Status> {
        Ok(self.watch.watch_project(request).await?)
    }

    type ClaimRelaysStream = BoxStream<pb::ClaimRelaysResponse>;

    async fn claim_relays(
        &self,
        request: Request<pb::ClaimRelaysRequest>,
    ) -> Result<Response<Self::ClaimRelaysStream>, Status> {
        Ok(self.worker.claim_relays(request).await?)
    }
}
