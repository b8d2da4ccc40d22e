use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, codegen::BoxStream};

use super::{
    node_sync::NodeSync, owner_rpcs::OwnerRpcs, publish_rpcs::PublishRpcs, sync_rpc::SyncRpc,
    watch::WatchTimes, watch_rpcs::WatchRpcs,
};
use crate::{
    auth::Sealer,
    proto::v1 as pb,
    repositories::{Database, Events, Projects, Publishing, Refusals, Snapshots, Streams},
    services::paging::Pages,
    watching::Hub,
};

/// The life of streams.
#[derive(Debug)]
pub struct StreamService {
    publish: PublishRpcs,
    sync: SyncRpc,
    owner: OwnerRpcs,
    watch: WatchRpcs,
}

/// What the service works with.
pub struct StreamParts {
    /// Where the data is.
    pub database: Database,
    /// Streams, as media servers report them.
    pub publishing: Publishing,
    /// Seals what must not be read in the database.
    pub sealer: Sealer,
    /// How often media servers are to report.
    pub heartbeat_interval: Duration,
    /// Who watches what.
    pub hub: Hub,
    /// How long a watch waits.
    pub watch_times: WatchTimes,
    /// Cancelled when answers that go on are to end.
    pub closing: CancellationToken,
}

impl StreamService {
    /// The service with these parts.
    pub fn new(parts: StreamParts) -> Self {
        let StreamParts {
            database,
            publishing,
            sealer,
            heartbeat_interval,
            hub,
            watch_times,
            closing,
        } = parts;
        Self {
            sync: SyncRpc {
                nodes: NodeSync::new(database.clone(), publishing.clone(), sealer.clone()),
                heartbeat_interval,
            },
            publish: PublishRpcs {
                publishing,
                sealer: sealer.clone(),
                heartbeat_interval,
            },
            owner: OwnerRpcs {
                projects: Projects::new(database.clone()),
                streams: Streams::new(database.clone()),
                refusals: Refusals::new(database.clone()),
                pages: Pages::new(sealer),
            },
            watch: WatchRpcs {
                snapshots: Snapshots::new(database.clone()),
                events: Events::new(database),
                hub,
                times: watch_times,
                closing,
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
        Ok(self.sync.sync_node(request).await?)
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
        let _ = request;
        Err(Status::unimplemented("StartRelay"))
    }

    async fn stop_relay(
        &self,
        request: Request<pb::StopRelayRequest>,
    ) -> Result<Response<pb::StopRelayResponse>, Status> {
        let _ = request;
        Err(Status::unimplemented("StopRelay"))
    }

    async fn list_relays(
        &self,
        request: Request<pb::ListRelaysRequest>,
    ) -> Result<Response<pb::ListRelaysResponse>, Status> {
        let _ = request;
        Err(Status::unimplemented("ListRelays"))
    }

    async fn report_relays(
        &self,
        request: Request<pb::ReportRelaysRequest>,
    ) -> Result<Response<pb::ReportRelaysResponse>, Status> {
        let _ = request;
        Err(Status::unimplemented("ReportRelays"))
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
        let _ = request;
        Err(Status::unimplemented("ClaimRelays"))
    }
}
