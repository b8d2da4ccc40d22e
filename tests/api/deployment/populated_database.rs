//! A database with rows in every table, and the clients that use them.

use sluice::{domain::Scope, proto::v1 as pb};
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::{
    harness::{
        Client, DatabaseReuse, Engine, MediaServer, Pooling, Process, TestDatabase, TestServer,
        User, Watcher, refused,
    },
    relay::fixture::{Fixture, broadcasting_report, destination_request},
    usage::fixture::{HOURS, plant_record},
    webhooks::fixture::{create_quiet, plant_delivery},
};

/// A populated database and its clients.
pub struct PopulatedDatabase {
    pub database: TestDatabase,
    pub clients: Clients,
}

/// Clients that must be able to continue after the data was moved.
pub struct Clients {
    owner: User,
    media_token: String,
    worker_token: String,
    /// An API key of the owner for the first project only.
    api_key: String,
    live: pb::Stream,
    assignment: pb::RelayAssignment,
    project: pb::Project,
    /// The project whose stream has ended.
    idle: (pb::Project, String),
    /// The last revision that a watcher of the first project has seen, and the current one.
    seen: i64,
    last: i64,
}

/// Rows that calls do not leave in these tables, and more rows than a copy batch has.
const EXTRA_ROWS: &str = "
    insert into identities (issuer, subject, user_id, create_time)
    select 'https://id.example.com', 'ada', id, create_time from users limit 1;
    insert into stream_samples (stream_id, sample_time, bytes_received, bitrate_bps, width, height,
                                fps, video_codec, audio_codec, media)
    select id, create_time, 1, 2, 3, 4, 29.97, 'h264', 'aac', '{}' from streams;
    insert into destination_checks (id, user_id, node_id, server_url, create_time, expire_time)
    select id, id, '', 'rtmp://live.example.com/app', create_time, create_time from users limit 1;
    insert into second_factors (id, user_id, display_name, secret_sealed, last_step, create_time)
    select p.id, p.owner_id, 'Phone', p.stream_key_sealed, 0, p.create_time from projects p limit 1;
    insert into recovery_codes (user_id, code_hash)
    select p.owner_id, p.stream_key_hash from projects p limit 1;
    insert into email_changes (user_id, new_email, new_email_key, create_time, expire_time,
                               current_confirm_time)
    select id, 'Ada.New@example.com', 'ada.new@example.com', create_time, create_time, create_time
    from users limit 1;
    insert into invitations (id, organization_id, email, email_key, role, inviter_id, create_time,
                             expire_time)
    select id, id, 'bob@example.com', 'bob@example.com', 'viewer', id, create_time,
           '2100-01-01T00:00:00+00:00'
    from users limit 1;
    insert into outbox (id, kind, email_key, create_time, attempts, next_attempt_time)
    select id, 'email_verification', 'ada@example.com', create_time, 1, '2100-01-01T00:00:00+00:00'
    from users limit 1;
    insert into node_boots (node_id, boot_id, create_time)
    with recursive numbers (number) as (
        select 1 union all select number + 1 from numbers where number < 1200
    )
    select 'many-' || number, 'b1', u.create_time
    from numbers, (select create_time from users limit 1) u;";

impl PopulatedDatabase {
    /// Populates a database with a server, which is stopped while the stream is live.
    pub async fn create(engine: Engine) -> Self {
        let server = TestServer::start(engine).await;
        let fixture = Fixture::over(server, 60).await;
        let api_key = api_key(&fixture).await;
        let idle = ended_stream(&fixture).await;
        account_rows(&fixture).await;
        let webhook = create_quiet(&fixture.owner, &fixture.project.id, true).await;
        let database = &fixture.server.database;
        plant_delivery(database, &webhook.id, &fixture.project.id, 1, "delivered").await;

        let (live, _, _worker, assignment) = fixture.claimed_relay().await;
        plant_record(
            database,
            &fixture.owner.user.id,
            &fixture.project.id,
            None,
            HOURS[0],
        )
        .await;
        database
            .execute(
                "insert into quotas (organization_id, projects, update_time)
                 select id, 1000, create_time from organizations",
            )
            .await;
        database
            .execute(
                "insert into usage_meters (stream_id, destination_id, epoch, bytes)
                 select id, project_id, 1, 1 from streams",
            )
            .await;
        let taken = fixture.node.begin(&fixture.key, "c9").await;
        refused(taken);
        let seen = fixture.revision().await;
        let mut projects = fixture.owner.client.project.clone();
        for name in ["One more", "Another", "The last"] {
            let request = pb::UpdateProjectRequest {
                project_id: fixture.project.id.clone(),
                display_name: Some(name.to_owned()),
                ..Default::default()
            };
            projects.update_project(request).await.unwrap();
        }
        let clients = Clients {
            media_token: fixture
                .server
                .operator_token(&[Scope::StreamsPublish])
                .await,
            worker_token: fixture.server.operator_token(&[Scope::RelaysWork]).await,
            last: fixture.revision().await,
            owner: fixture.owner,
            api_key,
            live,
            assignment,
            project: fixture.project,
            idle,
            seen,
        };
        let database = fixture.server.stop().await;
        database.execute(EXTRA_ROWS).await;
        let rotate = ["rotate-signing-key"];
        let rotated = Process::run(Process::admin(&database, &rotate, &[])).await;
        assert_eq!(rotated.exit_code, Some(0), "{}", rotated.stderr);
        Self { database, clients }
    }
}

impl Clients {
    /// Checks that all clients can continue, on a server with the moved data and the key files.
    pub async fn assert_all_continue(self, url: String, directory: TempDir) -> TestDatabase {
        let database = TestDatabase {
            url,
            directory,
            reuse: DatabaseReuse::disabled(),
            pooling: Pooling::Environment,
        };
        let server = TestServer::start_on(database, &[]).await;
        let channel = &server.channel;
        let owner = Client::with_token(channel, &self.owner.tokens.access_token);
        self.watch(&owner).await;
        self.continue_stream(channel).await;
        self.begin_stream(channel).await;
        self.continue_relay(channel).await;
        self.use_keys(channel).await;
        self.refresh_and_sign_in(channel).await;
        server.stop().await
    }

    /// Resumes the watch after the last seen event.
    async fn watch(&self, owner: &Client) {
        let watcher = Watcher::resume(owner, &self.project.id, self.seen).await;
        watcher.unwrap().read_until(self.last).await;
        assert!(self.last >= self.seen + 3);
    }

    async fn continue_stream(&self, channel: &Channel) {
        let node = MediaServer {
            client: Client::with_token(channel, &self.media_token),
        };
        let answer = node.heartbeat(&self.live, "c1").await;
        assert_eq!(answer.action(), pb::PublishAction::Continue);
        let stream = answer.stream.unwrap();
        assert_eq!(stream.state(), pb::StreamState::Live);
        assert_eq!((&stream.id, stream.epoch), (&self.live.id, self.live.epoch));
    }

    async fn begin_stream(&self, channel: &Channel) {
        let node = MediaServer {
            client: Client::with_token(channel, &self.media_token),
        };
        let (project, stream_key) = &self.idle;
        let stream = node.live(stream_key, "c-after").await;
        assert_eq!(stream.project_id, project.id);
    }

    async fn continue_relay(&self, channel: &Channel) {
        let request = pb::ReportRelaysRequest {
            worker_id: "w1".to_owned(),
            reports: vec![broadcasting_report(&self.assignment, 1000)],
            ..Default::default()
        };
        let mut workers = Client::with_token(channel, &self.worker_token).stream;
        let answer = workers.report_relays(request).await.unwrap().into_inner();
        assert_eq!(answer.lost_lease_ids, [""; 0]);
    }

    async fn use_keys(&self, channel: &Channel) {
        let request = pb::ExchangeApiKeyRequest {
            secret: self.api_key.clone(),
        };
        let mut anonymous = Client::anonymous(channel).auth;
        let token = anonymous.exchange_api_key(request).await.unwrap();
        let mut program = Client::with_token(channel, &token.into_inner().access_token).project;
        let list = program.list_projects(pb::ListProjectsRequest::default());
        let seen = list.await.unwrap().into_inner().projects;
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].id, self.project.id);

        let mut owner = Client::with_token(channel, &self.owner.tokens.access_token).project;
        let request = pb::RevealStreamKeyRequest {
            project_id: self.idle.0.id.clone(),
        };
        let revealed = owner.reveal_stream_key(request).await.unwrap();
        assert_eq!(revealed.into_inner().stream_key, self.idle.1);
        let request = pb::ListDestinationsRequest {
            project_id: self.idle.0.id.clone(),
            ..Default::default()
        };
        let listed = owner.list_destinations(request).await.unwrap();
        let encrypted = listed.into_inner().destinations.remove(0);
        // A changed URL makes the server open the key and the passphrase.
        let request = pb::UpdateDestinationRequest {
            destination_id: encrypted.id,
            url: Some("srt://live.example.com:9000?latency=20".to_owned()),
            ..Default::default()
        };
        let updated = owner.update_destination(request).await.unwrap();
        assert!(updated.into_inner().destination.unwrap().has_srt_passphrase);
    }

    async fn refresh_and_sign_in(&self, channel: &Channel) {
        let mut anonymous = Client::anonymous(channel).auth;
        let request = pb::RefreshTokensRequest {
            refresh_token: self.owner.tokens.refresh_token.clone(),
        };
        anonymous.refresh_tokens(request).await.unwrap();
        let request = pb::SignInRequest {
            email: self.owner.email.clone(),
            password: self.owner.password.to_owned(),
            ..Default::default()
        };
        anonymous.sign_in(request).await.unwrap();
    }
}

/// An API key of the owner that is restricted to the first project.
async fn api_key(fixture: &Fixture) -> String {
    let request = pb::CreateApiKeyRequest {
        display_name: "A program".to_owned(),
        scopes: vec!["projects:read".to_owned()],
        project_ids: vec![fixture.project.id.clone()],
        expire_time: None,
        ..Default::default()
    };
    let mut auth = fixture.owner.client.auth.clone();
    auth.create_api_key(request)
        .await
        .unwrap()
        .into_inner()
        .secret
}

/// A project with a stream that has ended, and its stream key.
async fn ended_stream(fixture: &Fixture) -> (pb::Project, String) {
    let request = pb::CreateProjectRequest {
        display_name: "Über, \"ended\" 🎮".to_owned(),
        request_id: uuid::Uuid::now_v7().to_string(),
        reconnect_window: Some(prost_types::Duration::default()),
        ..Default::default()
    };
    let (project, stream_key) = fixture.owner.project_with(request).await;
    let stream = fixture.node.live(&stream_key, "c0").await;
    fixture.node.end(&stream, "c0").await;
    let request = pb::CreateDestinationRequest {
        url: "srt://live.example.com:9000".to_owned(),
        srt_passphrase: "correct horse".to_owned(),
        disabled: true,
        ..destination_request(&project, "encrypted")
    };
    fixture.create_destination(request).await;
    (project, stream_key)
}

/// Creates rows of a failed sign-in, an ended session and a sent message.
async fn account_rows(fixture: &Fixture) {
    let mut anonymous = fixture.server.anonymous().auth;
    let sign_in = |password: &str| pb::SignInRequest {
        email: fixture.owner.email.clone(),
        password: password.to_owned(),
        ..Default::default()
    };
    let wrong = anonymous.sign_in(sign_in("another one altogether")).await;
    assert_eq!(refused(wrong).class().1, "CREDENTIALS_INVALID");
    let session = anonymous
        .sign_in(sign_in(fixture.owner.password))
        .await
        .unwrap();
    let token = session.into_inner().tokens.unwrap().access_token;
    let mut other = Client::with_token(&fixture.server.channel, &token).auth;
    other.sign_out(pb::SignOutRequest::default()).await.unwrap();
    let database = &fixture.server.database;
    database.mail(&fixture.owner.email, "erify", 1).await;
}
