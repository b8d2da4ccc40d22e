//! The RPCs of projects and streams.

use sluice::proto::v1 as pb;
use uuid::Uuid;

use super::recorder::{
    Outcome::{Fails, Succeeds},
    Recorder,
};
use crate::harness::MediaServer;

impl Recorder {
    /// Calls the RPCs of projects and destinations; returns a project and its stream key.
    pub async fn project_rpcs(&mut self, token: &str) -> (String, String) {
        let request = pb::CreateProjectRequest {
            display_name: "Show".to_owned(),
            request_id: Uuid::now_v7().to_string(),
            ..Default::default()
        };
        let rpc = "ProjectService/CreateProject";
        let made: pb::CreateProjectResponse = self.call(Succeeds, rpc, token, request).await;
        let project_id = made.project.unwrap().id;
        self.secret("stream key", &made.stream_key);
        let id = || project_id.clone();

        let rpc = "ProjectService/RotateStreamKey";
        let grace = Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        });
        let request = pb::RotateStreamKeyRequest {
            project_id: id(),
            grace,
            ..Default::default()
        };
        let rotated: pb::RotateStreamKeyResponse = self.call(Succeeds, rpc, token, request).await;
        let stream_key = self.secret("new stream key", &rotated.stream_key);
        let request = pb::RevealStreamKeyRequest { project_id: id() };
        self.call::<()>(Succeeds, "ProjectService/RevealStreamKey", token, request)
            .await;
        for view in [pb::ProjectView::Basic, pb::ProjectView::Full] {
            let request = pb::GetProjectRequest {
                project_id: id(),
                view: view.into(),
            };
            self.call::<()>(Succeeds, "ProjectService/GetProject", token, request)
                .await;
            let request = pb::ListProjectsRequest {
                view: view.into(),
                ..Default::default()
            };
            self.call::<()>(Succeeds, "ProjectService/ListProjects", token, request)
                .await;
        }
        let wrong = pb::GetProjectRequest {
            project_id: self.new_secret("secret instead of a project id"),
            ..Default::default()
        };
        self.call::<()>(Fails, "ProjectService/GetProject", token, wrong)
            .await;
        let request = pb::UpdateProjectRequest {
            project_id: id(),
            display_name: Some("Renamed".to_owned()),
            ..Default::default()
        };
        self.call::<()>(Succeeds, "ProjectService/UpdateProject", token, request)
            .await;
        let request = pb::ListPlatformsRequest::default();
        self.call::<()>(Succeeds, "ProjectService/ListPlatforms", token, request)
            .await;
        self.destination_rpcs(token, &project_id).await;
        (project_id, stream_key)
    }

    async fn destination_rpcs(&mut self, token: &str, project_id: &str) {
        let request = pb::CreateDestinationRequest {
            project_id: project_id.to_owned(),
            platform: pb::Platform::Custom.into(),
            display_name: "Mine".to_owned(),
            url: "rtmp://live.example.com/app".to_owned(),
            stream_key: self.new_secret("destination key"),
            request_id: Uuid::now_v7().to_string(),
            ..Default::default()
        };
        let rpc = "ProjectService/CreateDestination";
        let made: pb::CreateDestinationResponse =
            self.call(Succeeds, rpc, token, request.clone()).await;
        let destination_id = made.destination.unwrap().id;
        let kept = pb::CreateDestinationRequest {
            stream_key: self.new_secret("key of a destination that stays as it is"),
            request_id: String::new(),
            ..request.clone()
        };
        self.call::<()>(Succeeds, rpc, token, kept).await;
        let encrypted = pb::CreateDestinationRequest {
            url: "srt://live.example.com:9000".to_owned(),
            stream_key: self.new_secret("stream id"),
            srt_passphrase: self.new_secret("passphrase"),
            request_id: String::new(),
            ..request.clone()
        };
        self.call::<()>(Succeeds, rpc, token, encrypted.clone())
            .await;
        let wrong = pb::CreateDestinationRequest {
            stream_key: format!(
                "a&passphrase={}",
                self.new_secret("passphrase behind the key")
            ),
            ..encrypted.clone()
        };
        self.call::<()>(Fails, rpc, token, wrong).await;
        let wrong = pb::CreateDestinationRequest {
            url: request.url.clone(),
            ..encrypted
        };
        self.call::<()>(Fails, rpc, token, wrong).await;
        let pasted = self.new_secret("key pasted into the address");
        let user = self.new_secret("password in the address");
        let passphrase = self.new_secret("passphrase in the address");
        for url in [
            format!("rtmp://live.example.com/app/{pasted}"),
            format!("rtmp://live.example.com/app?key={pasted}"),
            format!("rtmp://ada:{user}@live.example.com/app"),
            format!("srt://live.example.com:9000?passphrase={passphrase}"),
            format!("rtmp://localhost/{pasted}"),
            format!("nonsense {pasted}"),
        ] {
            let wrong = pb::CreateDestinationRequest {
                url: url.clone(),
                stream_key: pasted.clone(),
                ..request.clone()
            };
            self.call::<()>(Fails, rpc, token, wrong).await;
            let wrong = pb::UpdateDestinationRequest {
                destination_id: destination_id.clone(),
                url: Some(url),
                stream_key: Some(pasted.clone()),
                ..Default::default()
            };
            self.call::<()>(Fails, "ProjectService/UpdateDestination", token, wrong)
                .await;
        }
        let request = pb::UpdateDestinationRequest {
            destination_id: destination_id.clone(),
            stream_key: Some(self.new_secret("new destination key")),
            ..Default::default()
        };
        self.call::<()>(Succeeds, "ProjectService/UpdateDestination", token, request)
            .await;
        let request = pb::CheckDestinationRequest {
            destination_id: destination_id.clone(),
        };
        // No edge is connected.
        self.call::<()>(Fails, "ProjectService/CheckDestination", token, request)
            .await;
        let request = pb::GetDestinationRequest { destination_id };
        self.call::<()>(Succeeds, "ProjectService/GetDestination", token, request)
            .await;
        let request = pb::ListDestinationsRequest {
            project_id: project_id.to_owned(),
            ..Default::default()
        };
        self.call::<()>(Succeeds, "ProjectService/ListDestinations", token, request)
            .await;
    }

    /// Calls the RPCs of a stream from begin to end, as a media server and as the owner.
    pub async fn stream_rpcs(&mut self, token: &str, media: &str, project: &str, stream_key: &str) {
        let publisher = Some(MediaServer::connection("c1"));
        let request = pb::BeginPublishRequest {
            stream_key: stream_key.to_owned(),
            publisher: publisher.clone(),
            media_flowing: true,
            play_url: format!("rtmp://10.0.0.5/live/{}", self.new_secret("play url")),
        };
        let rpc = "StreamService/BeginPublish";
        let begun: pb::BeginPublishResponse =
            self.call(Succeeds, rpc, media, request.clone()).await;
        let stream = begun.stream.unwrap();
        let (stream_id, epoch) = (stream.id, stream.epoch);
        for wrong in [self.new_secret("unknown stream key"), "x".repeat(300)] {
            let wrong = pb::BeginPublishRequest {
                stream_key: wrong,
                ..request.clone()
            };
            self.call::<()>(Fails, rpc, media, wrong).await;
        }
        let wrong = pb::BeginPublishRequest {
            publisher: Some(MediaServer::connection("c2")),
            ..request.clone()
        };
        self.call::<()>(Fails, rpc, media, wrong).await;
        let again = request.clone();
        self.call::<()>(Fails, rpc, token, request).await;

        let request = pb::HeartbeatPublishRequest {
            stream_id: stream_id.clone(),
            epoch,
            publisher: publisher.clone(),
            stats: None,
        };
        self.call::<()>(Succeeds, "StreamService/HeartbeatPublish", media, request)
            .await;
        self.sync_rpc(token, media, stream_key).await;
        let request = pb::GetStreamRequest {
            stream_id: stream_id.clone(),
        };
        self.call::<()>(Succeeds, "StreamService/GetStream", token, request)
            .await;
        let request = pb::ListStreamsRequest {
            project_id: project.to_owned(),
            ..Default::default()
        };
        self.call::<()>(Succeeds, "StreamService/ListStreams", token, request)
            .await;
        let request = pb::ListStreamSamplesRequest {
            stream_id: stream_id.clone(),
            ..Default::default()
        };
        self.call::<()>(Succeeds, "StreamService/ListStreamSamples", token, request)
            .await;
        let request = pb::ListRefusalsRequest {
            project_id: project.to_owned(),
            ..Default::default()
        };
        self.call::<()>(Succeeds, "StreamService/ListRefusals", token, request)
            .await;
        let wrong = pb::BeginPublishRequest {
            play_url: self.new_secret("play url that is none"),
            ..again
        };
        self.call::<()>(Fails, rpc, media, wrong).await;
        self.watch_rpcs(token, project).await;
        self.relay_rpcs(token, media, project, &stream_id).await;
        let request = pb::StopStreamRequest {
            stream_id: stream_id.clone(),
            hold: None,
            ..Default::default()
        };
        self.call::<()>(Succeeds, "StreamService/StopStream", token, request)
            .await;
        let request = pb::EndPublishRequest {
            stream_id,
            epoch,
            publisher,
        };
        self.call::<()>(Succeeds, "StreamService/EndPublish", media, request)
            .await;
    }

    /// Reports other connections of the media server than its current one.
    async fn sync_rpc(&mut self, token: &str, media: &str, stream_key: &str) {
        let rpc = "StreamService/SyncNode";
        let connection = |id: &str, stream_key: &str, play_url: String| pb::NodeConnection {
            connection_id: id.to_owned(),
            stream_key: stream_key.to_owned(),
            play_url,
            ..Default::default()
        };
        let sync = |connections: Vec<pb::NodeConnection>| pb::SyncNodeRequest {
            node_id: "n1".to_owned(),
            boot_id: "b1".to_owned(),
            connections,
        };
        let play_url = self.new_secret("address of the media of a connection");
        let play_url = format!("rtmp://10.0.0.5/live/{play_url}");
        let unknown = self.new_secret("unknown stream key of a connection");
        let request = sync(vec![
            connection("c3", stream_key, play_url.clone()),
            connection("c4", &unknown, play_url.clone()),
        ]);
        let answer: pb::SyncNodeResponse = self.call(Succeeds, rpc, media, request.clone()).await;
        assert_eq!((answer.adoptions.len(), answer.kicks.len()), (1, 1));
        self.call::<()>(Fails, rpc, token, request).await;

        let long_key = self.new_secret("too long a stream key") + &"x".repeat(300);
        let nowhere = self.new_secret("address of media that is none");
        for wrong in [
            connection("c3", &long_key, play_url.clone()),
            connection("c3", stream_key, nowhere),
            connection("c3", stream_key, play_url + &"x".repeat(1100)),
        ] {
            self.call::<()>(Fails, rpc, media, sync(vec![wrong])).await;
        }
    }

    async fn watch_rpcs(&mut self, token: &str, project: &str) {
        let rpc = "StreamService/WatchProject";
        // The events after revision 1, and a snapshot.
        for after_revision in [1, 0] {
            let request = pb::WatchProjectRequest {
                project_id: project.to_owned(),
                after_revision,
            };
            self.call::<()>(Succeeds, rpc, token, request).await;
        }
        let wrong = pb::WatchProjectRequest {
            project_id: self.new_secret("secret instead of a watched project id"),
            after_revision: 0,
        };
        self.call::<()>(Fails, rpc, token, wrong).await;

        let rpc = "StreamService/WatchProjects";
        let request = |project_id: String, after_revision| pb::WatchProjectsRequest {
            projects: vec![pb::WatchedProject {
                project_id,
                after_revision,
            }],
            with_stats: true,
            ..Default::default()
        };
        for after_revision in [1, 0] {
            let request = request(project.to_owned(), after_revision);
            self.call::<()>(Succeeds, rpc, token, request).await;
        }
        let wrong = self.new_secret("secret instead of one of the watched project ids");
        self.call::<()>(Fails, rpc, token, request(wrong, 0)).await;
    }
}
