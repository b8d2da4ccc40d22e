use std::time::Duration;

use tonic::{Request, Response, Status};

use super::{
    fields::{duration, only},
    origin::acting,
    paging::Pages,
    stream_messages::{
        BeginPublish, EndPublish, HeartbeatPublish, ListStreams, StopStream, verdict,
    },
};
use crate::{
    auth::{Caller, Sealer},
    domain::{StreamId, now},
    proto::v1 as pb,
    repositories::{Database, Projects, Publishing, Streams},
};

/// The life of streams.
#[derive(Debug)]
pub struct StreamService {
    projects: Projects,
    streams: Streams,
    publishing: Publishing,
    pages: Pages,
    heartbeat_interval: Duration,
}

impl StreamService {
    /// The service over a database.
    pub fn new(
        database: &Database,
        publishing: Publishing,
        sealer: Sealer,
        heartbeat_interval: Duration,
    ) -> Self {
        Self {
            projects: Projects::new(database.clone()),
            streams: Streams::new(database.clone()),
            publishing,
            pages: Pages::new(sealer),
            heartbeat_interval,
        }
    }
}

#[tonic::async_trait]
impl pb::stream_service_server::StreamService for StreamService {
    async fn begin_publish(
        &self,
        request: Request<pb::BeginPublishRequest>,
    ) -> Result<Response<pb::BeginPublishResponse>, Status> {
        Caller::of(&request)?;
        let BeginPublish {
            stream_key,
            publisher,
            media_flowing,
        } = request.into_inner().try_into()?;

        let key_hash = stream_key.hash();
        let stream = self
            .publishing
            .begin(&key_hash, &publisher, media_flowing, now())
            .await?;

        Ok(Response::new(pb::BeginPublishResponse {
            stream: Some(stream.into()),
            heartbeat_interval: Some(duration(self.heartbeat_interval)),
        }))
    }

    async fn heartbeat_publish(
        &self,
        request: Request<pb::HeartbeatPublishRequest>,
    ) -> Result<Response<pb::HeartbeatPublishResponse>, Status> {
        Caller::of(&request)?;
        let HeartbeatPublish {
            id,
            epoch,
            publisher,
            stats,
        } = request.into_inner().try_into()?;

        let (stream, heartbeat) = self
            .publishing
            .heartbeat(id, epoch, &publisher, stats.as_ref(), now())
            .await?;

        let (action, stop_reason) = verdict(heartbeat);
        Ok(Response::new(pb::HeartbeatPublishResponse {
            stream: Some(stream.into()),
            action: action.into(),
            stop_reason: stop_reason.into(),
        }))
    }

    async fn end_publish(
        &self,
        request: Request<pb::EndPublishRequest>,
    ) -> Result<Response<pb::EndPublishResponse>, Status> {
        Caller::of(&request)?;
        let EndPublish {
            id,
            epoch,
            publisher,
        } = request.into_inner().try_into()?;

        let stream = self.publishing.end(id, epoch, &publisher, now()).await?;

        Ok(Response::new(pb::EndPublishResponse {
            stream: Some(stream.into()),
        }))
    }

    async fn get_stream(
        &self,
        request: Request<pb::GetStreamRequest>,
    ) -> Result<Response<pb::GetStreamResponse>, Status> {
        let tenant = Caller::of(&request)?.tenant()?;
        let id = only("stream_id", StreamId::parse(&request.get_ref().stream_id))?;

        let stream = self.streams.get(tenant, id).await?;

        Ok(Response::new(pb::GetStreamResponse {
            stream: Some(stream.into()),
        }))
    }

    async fn list_streams(
        &self,
        request: Request<pb::ListStreamsRequest>,
    ) -> Result<Response<pb::ListStreamsResponse>, Status> {
        let tenant = Caller::of(&request)?.tenant()?;
        let ListStreams {
            project_id,
            status,
            list,
        } = ListStreams::read(request.into_inner(), tenant, &self.pages)?;

        self.projects.get(tenant, project_id).await?;
        let (streams, page) = (&self.streams, list.page);
        let mut streams = match status {
            None => streams.list(tenant, project_id, page).await?,
            Some(status) => {
                streams
                    .list_by_status(tenant, project_id, status, page)
                    .await?
            }
        };

        let next_page_token = self.pages.cut(&list, &mut streams, |row| row.id.uuid());
        let streams = streams.into_iter().map(pb::Stream::from).collect();
        Ok(Response::new(pb::ListStreamsResponse {
            streams,
            next_page_token,
        }))
    }

    async fn stop_stream(
        &self,
        request: Request<pb::StopStreamRequest>,
    ) -> Result<Response<pb::StopStreamResponse>, Status> {
        let (tenant, act) = acting(&request, "StopStream")?;
        let StopStream { id, hold } = request.into_inner().try_into()?;

        let stream = self
            .streams
            .stop(tenant, id, hold, &act.on(id), now())
            .await?;

        Ok(Response::new(pb::StopStreamResponse {
            stream: Some(stream.into()),
        }))
    }
}
