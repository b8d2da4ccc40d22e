//! Every list RPC, with its filters and with rows that they distinguish.

use std::time::SystemTime;

use prost::Message;
use prost_types::Timestamp;
use sluice::{
    domain::{DestinationId, Scope},
    proto::v1 as pb,
};
use tonic::{Response, Status};

use super::{
    id_fields::create_destination,
    raw_rpc::{bearer, call},
};
use crate::{
    auth::{calls, passkey_calls, second_factor_calls},
    harness::{Client, Engine, MediaServer, TestServer, User, exchange},
    organization::fixture,
    relay::fixture::{Worker, broadcasting_report},
    stream::list_stream_samples::add_samples,
    usage::fixture::{HOURS, plant_record},
    webhooks::fixture::{create_quiet, plant_delivery},
};

/// The times of a stream's samples, and one between them.
const SAMPLE_TIMES: [&str; 3] = [
    "2100-01-01T00:00:00+00:00",
    "2100-01-01T00:00:10+00:00",
    "2100-01-01T00:00:20+00:00",
];
const MIDDLE_OF_SAMPLES: Timestamp = Timestamp {
    seconds: 4_102_444_805,
    nanos: 0,
};

/// The first of [`HOURS`], in seconds since 1970.
const START_OF_USAGE: i64 = 4_102_444_800;

/// A list RPC, with its filters.
pub struct List {
    pub path: &'static str,
    /// A request without filters, except for the resource whose rows are listed.
    pub request: Vec<u8>,
    /// The fields for the size and the token of a page.
    page: fn(i32, &str) -> Vec<u8>,
    pub filters: Vec<Filter>,
}

/// A field of a list request, with requests that have only this field: encoded messages can be
/// appended to each other.
pub struct Filter {
    pub field: &'static str,
    pub effect: Effect,
    pub values: Vec<Vec<u8>>,
}

/// What the values of a filter select.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Each row is selected by exactly one of the values.
    Divides,
    /// Each value selects some of the rows, which no other value selects.
    Selects,
    /// Other rows, or another form of the rows.
    Replaces,
}

/// The fields of every list response; the rows stay encoded.
#[derive(Clone, PartialEq, Message)]
struct ListPage {
    #[prost(bytes = "vec", repeated, tag = "1")]
    rows: Vec<Vec<u8>>,
    #[prost(string, tag = "2")]
    next_page_token: String,
}

/// The rows of a page, and the token of the next one.
pub type Page = (Vec<Vec<u8>>, String);

macro_rules! filter {
    ($request:ident, $field:ident, $effect:ident, $value:expr, [$($of:expr),*]) => {
        Filter {
            field: stringify!($field),
            effect: Effect::$effect,
            values: vec![$(
                pb::$request { $field: $value($of), ..Default::default() }.encode_to_vec()
            ),*],
        }
    };
}

macro_rules! list {
    ($path:literal $request:ident { $($field:ident: $value:expr),* };
     $($filter:ident $effect:ident $wrap:expr => [$($of:expr),*];)*) => {
        List {
            path: concat!("/sluice.v1.", $path),
            request: pb::$request { $($field: $value.clone(),)* ..Default::default() }
                .encode_to_vec(),
            page: |page_size, page_token| {
                let page_token = page_token.to_owned();
                pb::$request { page_size, page_token, ..Default::default() }.encode_to_vec()
            },
            filters: vec![$(filter!($request, $filter, $effect, $wrap, [$($of),*])),*],
        }
    };
}

/// A server with at least two rows in every list, whose values differ.
pub struct Rows {
    pub server: TestServer,
    pub owner: User,
    operator: String,
    operator_key_id: String,
    other: User,
    project: String,
    other_project: String,
    stream: String,
    other_stream: String,
    webhook: String,
    other_webhook: String,
    /// A deleted destination of the first project.
    destination: String,
    organization: String,
    other_organization: String,
    /// A time between the creation of the organizations and their other rows.
    later: Timestamp,
    /// A time between the first and the last rows of each list.
    middle: Timestamp,
}

impl Rows {
    pub async fn create(engine: Engine) -> Self {
        let flags = [
            "--heartbeat-timeout=1h",
            "--relay-lease=1h",
            "--relay-stall-timeout=1h",
        ];
        let server = TestServer::start_with(engine, &flags).await;
        let scopes = [Scope::OperatorRead, Scope::OperatorWrite];
        let (operator_key_id, secret) = server.operator_key(&scopes, None, None).await;
        let operator = exchange(&server.channel, &secret).await;
        let owner = server.user().await;
        let first = Round::create(&server, &owner, "n1").await;
        let middle = now();
        calls::new_session(&server, &owner).await;
        let (_, codes) = second_factor_calls::enrol(&owner).await;
        second_factor_calls::enrol_another(&owner, &codes[0]).await;
        for code in &codes[1..3] {
            passkey_calls::register_another(&owner, code).await;
        }
        let other = server.user().await;
        let second = Round::create(&server, &owner, "n2").await;
        Round::create(&server, &other, "n3").await;
        // The first webhook has deliveries of both projects, in each state.
        let other_project = &second.project.id;
        plant_delivery(&server.database, &first.webhook, other_project, 1, "failed").await;
        plant_delivery(
            &server.database,
            &first.webhook,
            other_project,
            2,
            "delivered",
        )
        .await;
        create_quiet(&owner, other_project, true).await;

        fixture::verify(&server.database, &owner).await;
        let organization = fixture::create(&owner).await.id;
        let other_organization = fixture::create(&owner).await.id;
        let later = now();
        for organization in [&organization, &other_organization] {
            let (project, key) = fixture::create_project(&owner, organization).await.unwrap();
            let media = server.media_server().await;
            let stream = media.live(&key, &project.id).await;
            media.end(&stream, &project.id).await;
            let role = pb::OrganizationRole::Viewer;
            fixture::join(&server, &owner, organization, role).await;
            let request = pb::CreateApiKeyRequest {
                organization_id: organization.clone(),
                ..calls::api_key_request(&["projects:read"])
            };
            calls::new_api_key(&owner, request).await;
            create_quiet(&owner, &project.id, true).await;
            for email in ["one@example.com", "two@example.com"] {
                fixture::invite(&owner, organization, email, role)
                    .await
                    .unwrap();
            }
        }

        let rows = Self {
            organization,
            other_organization,
            later,
            project: first.project.id.clone(),
            other_project: second.project.id.clone(),
            stream: first.stream.id.clone(),
            other_stream: second.stream.id.clone(),
            webhook: first.webhook.clone(),
            other_webhook: second.webhook.clone(),
            destination: DestinationId::generate().to_string(),
            server,
            owner,
            operator,
            operator_key_id,
            other,
            middle,
        };
        rows.add_later_rows(&first).await;
        add_samples(&rows.server, &rows.stream, &SAMPLE_TIMES).await;
        rows.add_usage().await;
        rows
    }

    /// Records of both projects, in two hours, and of a destination.
    async fn add_usage(&self) {
        let plant = async |project: &str, destination, hour| {
            plant_record(
                &self.server.database,
                &self.owner.user.id,
                project,
                destination,
                hour,
            )
            .await;
        };
        let database = &self.server.database;
        plant_record(database, &self.organization, &self.project, None, HOURS[0]).await;
        plant(&self.project, None, HOURS[0]).await;
        plant(&self.project, Some(&*self.destination), HOURS[0]).await;
        plant(&self.project, None, HOURS[1]).await;
        plant(&self.other_project, None, HOURS[1]).await;
    }

    /// More rows of the first project, and rows in other states.
    async fn add_later_rows(&self, first: &Round) {
        let mut projects = self.owner.client.project.clone();
        let request = create_destination(self.project.clone(), String::new());
        let created = projects.create_destination(request).await.unwrap();
        let destination = created.into_inner().destination.unwrap();
        let disable = pb::UpdateDestinationRequest {
            destination_id: destination.id,
            disabled: Some(true),
            ..Default::default()
        };
        projects.update_destination(disable).await.unwrap();
        first.begin("later").await.unwrap_err();
        let (empty, _) = self.owner.project().await;
        let disable = pb::UpdateProjectRequest {
            project_id: empty.id,
            disabled: Some(true),
            ..Default::default()
        };
        projects.update_project(disable).await.unwrap();

        let suspended = self.server.user().await;
        let suspend = pb::SuspendUserRequest {
            user_id: suspended.user.id,
        };
        let client = Client::with_token(&self.server.channel, &self.operator);
        client.operator.clone().suspend_user(suspend).await.unwrap();
        let unused = pb::CreateOperatorKeyRequest {
            display_name: "unused".to_owned(),
            scopes: vec!["streams:publish".to_owned()],
            ..Default::default()
        };
        let created = client.operator.clone().create_operator_key(unused).await;
        let revoke = pb::RevokeOperatorKeyRequest {
            operator_key_id: created.unwrap().into_inner().operator_key.unwrap().id,
            include_created: false,
        };
        let revoked = client.operator.clone().revoke_operator_key(revoke).await;
        revoked.unwrap();
    }

    /// All lists.
    #[expect(clippy::needless_update, reason = "not every request has more fields")]
    pub fn lists(&self) -> Vec<List> {
        let (middle, later) = (Some(self.middle), Some(self.later));
        let [always, never] =
            [0, 253_402_300_799].map(|seconds| Some(Timestamp { seconds, nanos: 0 }));
        let project = &self.project;
        let both = [project.clone(), self.other_project.clone()];
        let between_samples = Some(MIDDLE_OF_SAMPLES);
        let organization_ids = [self.organization.clone(), self.other_organization.clone()];
        let user_ids = [&self.owner, &self.other].map(|user| user.user.id.clone());
        let [n1, n2] = ["n1", "n2"].map(str::to_owned);
        let same = |one: &String| one.clone();
        let start_of_hour = |at: i64| {
            Some(Timestamp {
                seconds: START_OF_USAGE + 3600 * at,
                nanos: 0,
            })
        };
        let time = |one: Option<Timestamp>| one;
        vec![
            list! { "AuthService/ListSessions" ListSessionsRequest {};
                created_after Selects time => [middle];
                created_before Selects time => [middle];
            },
            list! { "AuthService/ListApiKeys" ListApiKeysRequest {};
                organization_id Replaces same => [&organization_ids[0], &organization_ids[1]];
                created_after Selects time => [middle];
                created_before Selects time => [middle];
            },
            list! { "AuthService/ListAuditEvents" ListAuditEventsRequest {};
                created_after Selects time => [middle];
                created_before Selects time => [middle];
            },
            list! { "AuthService/ListSecondFactors" ListSecondFactorsRequest {}; },
            list! { "AuthService/ListPasskeys" ListPasskeysRequest {}; },
            list! { "ProjectService/ListProjects" ListProjectsRequest {};
                created_after Selects time => [middle];
                created_before Selects time => [middle];
                disabled Divides Some => [true, false];
                organization_id Replaces same => [&organization_ids[0], &organization_ids[1]];
                view Replaces i32::from => [pb::ProjectView::Full];
            },
            list! { "ProjectService/ListDestinations" ListDestinationsRequest { project_id: project };
                project_id Replaces same => [&both[1]];
                created_after Selects time => [middle];
                created_before Selects time => [middle];
                disabled Divides Some => [true, false];
            },
            list! { "ProjectService/ListPlatforms" ListPlatformsRequest {}; },
            list! { "StreamService/ListStreams" ListStreamsRequest {};
                project_id Divides same => [&both[0], &both[1]];
                state Divides Some => [1, 2, 3, 4];
                organization_id Replaces same => [&organization_ids[0], &organization_ids[1]];
                created_after Selects time => [middle];
                created_before Selects time => [middle];
            },
            list! { "StreamService/ListRefusals" ListRefusalsRequest { project_id: project };
                project_id Replaces same => [&both[1]];
                created_after Selects time => [middle];
                created_before Selects time => [middle];
            },
            list! { "StreamService/ListRelays" ListRelaysRequest { stream_id: self.stream };
                stream_id Replaces same => [&self.other_stream];
                state Divides Some => [1, 2, 3, 4, 5, 6, 7];
            },
            list! { "StreamService/ListStreamSamples"
                ListStreamSamplesRequest { stream_id: self.stream };
                stream_id Replaces same => [&self.other_stream];
                sampled_after Selects time => [between_samples];
                sampled_before Selects time => [between_samples];
            },
            list! { "OperatorService/ListOperatorKeys" ListOperatorKeysRequest {};
                state Divides i32::from => [1, 2, 3];
                node_id Selects same => [&n1, &n2];
            },
            list! { "OperatorService/ListUsers" ListUsersRequest {};
                email Selects same => [&self.owner.email, &self.other.email];
                state Divides i32::from => [1, 2];
                created_after Selects time => [middle];
                created_before Selects time => [middle];
            },
            list! { "OperatorService/ListNodes" ListNodesRequest {};
                reported_after Divides time => [always, never];
            },
            list! { "OperatorService/ListWorkers" ListWorkersRequest {};
                node_id Selects same => [&n1, &n2];
            },
            list! { "OperatorService/ListLiveStreams" ListLiveStreamsRequest {};
                user_id Divides same => [&user_ids[0], &user_ids[1]];
                node_id Selects same => [&n1, &n2];
            },
            list! { "OperatorService/ListAuditEvents" OperatorServiceListAuditEventsRequest {};
                user_id Selects same => [&user_ids[0], &user_ids[1]];
                operator_key_id Selects same => [&self.operator_key_id];
                action Selects same => [&"SuspendUser".to_owned(), &"CreateProject".to_owned()];
                created_after Selects time => [middle];
                created_before Selects time => [middle];
            },
            list! { "WebhookService/ListWebhooks" ListWebhooksRequest {};
                organization_id Replaces same => [&organization_ids[0], &organization_ids[1]];
                project_id Divides same => [&both[0], &both[1]];
                created_after Selects time => [middle];
                created_before Selects time => [middle];
                disabled Divides Some => [true, false];
            },
            list! { "WebhookService/ListWebhookDeliveries"
                    ListWebhookDeliveriesRequest { webhook_id: self.webhook };
                webhook_id Replaces same => [&self.other_webhook];
                created_after Selects time => [middle];
                created_before Selects time => [middle];
                state Divides i32::from => [1, 2, 3];
                project_id Divides same => [&both[0], &both[1]];
            },
            list! { "UsageService/ListUsage" ListUsageRequest {};
                organization_id Replaces same => [&organization_ids[0]];
                project_id Divides same => [&both[0], &both[1]];
                destination_id Selects same => [&self.destination];
                start_time Selects start_of_hour => [1];
                end_time Selects start_of_hour => [1];
            },
            list! { "OrganizationService/ListOrganizations" ListOrganizationsRequest {}; },
            list! { "OrganizationService/ListMembers"
                    ListMembersRequest { organization_id: self.organization };
                organization_id Replaces same => [&organization_ids[1]];
            },
            list! { "OrganizationService/ListInvitations"
                    ListInvitationsRequest { organization_id: self.organization };
                organization_id Replaces same => [&organization_ids[1]];
            },
            list! { "OrganizationService/ListOrganizationAuditEvents"
                    ListOrganizationAuditEventsRequest { organization_id: self.organization };
                organization_id Replaces same => [&organization_ids[1]];
                created_after Selects time => [later];
                created_before Selects time => [later];
            },
        ]
    }

    /// Calls a list RPC with parts of a request.
    pub async fn page(
        &self,
        list: &List,
        parts: &[&[u8]],
        page_size: i32,
        page_token: &str,
    ) -> Result<Page, Status> {
        let token = match list.path.starts_with("/sluice.v1.OperatorService/") {
            true => &self.operator,
            false => &self.owner.tokens.access_token,
        };
        let page = (list.page)(page_size, page_token);
        let request = [&parts.concat(), &*page].concat();
        let answer = call(&self.server.channel, list.path, &[bearer(token)], request).await?;
        let page = ListPage::decode(answer.into_inner().as_slice()).unwrap();
        Ok((page.rows, page.next_page_token))
    }
}

/// What one round adds for a user: a project with a live stream at a node, and its relays.
struct Round {
    project: pb::Project,
    key: String,
    node: Client,
    node_id: &'static str,
    stream: pb::Stream,
    webhook: String,
}

impl Round {
    async fn create(server: &TestServer, owner: &User, node_id: &'static str) -> Self {
        calls::new_api_key(owner, calls::api_key_request(&["projects:read"])).await;
        let (project, key) = owner.project().await;
        let mut projects = owner.client.project.clone();
        for _ in 0..2 {
            let request = create_destination(project.id.clone(), String::new());
            projects.create_destination(request).await.unwrap();
        }
        let webhook = create_quiet(owner, &project.id, false).await.id;
        for (revision, state) in [(1, "delivered"), (2, "retrying")] {
            plant_delivery(&server.database, &webhook, &project.id, revision, state).await;
        }
        let scopes = [Scope::StreamsPublish, Scope::RelaysWork];
        let node = server.operator_of_node(node_id, &scopes).await;
        let mut round = Self {
            project,
            key,
            node,
            node_id,
            stream: pb::Stream::default(),
            webhook,
        };
        let ended = round.begin("earlier").await.unwrap().into_inner().stream;
        round.end(&ended.unwrap(), "earlier").await;
        let begun = round.begin("present").await.unwrap().into_inner().stream;
        round.stream = begun.unwrap();
        round.begin("refused").await.unwrap_err();
        round.relay_to_one_destination().await;
        round
    }

    fn publisher(&self, connection: &str) -> pb::Publisher {
        pb::Publisher {
            node_id: self.node_id.to_owned(),
            ..MediaServer::connection(connection)
        }
    }

    async fn begin(&self, connection: &str) -> Result<Response<pb::BeginPublishResponse>, Status> {
        let request = pb::BeginPublishRequest {
            stream_key: self.key.clone(),
            publisher: Some(self.publisher(connection)),
            media_flowing: true,
            play_url: String::new(),
        };
        self.node.stream.clone().begin_publish(request).await
    }

    async fn end(&self, stream: &pb::Stream, connection: &str) {
        let request = pb::EndPublishRequest {
            stream_id: stream.id.clone(),
            epoch: stream.epoch,
            publisher: Some(self.publisher(connection)),
        };
        let ended = self.node.stream.clone().end_publish(request).await;
        ended.unwrap();
    }

    /// The other relay waits.
    async fn relay_to_one_destination(&self) {
        let worker_id = format!("w-{}", self.node_id);
        let mut worker = Worker::claim(&self.node, &worker_id, self.node_id, 1).await;
        let assignment = worker.next_assignments(1).await.remove(0);
        let report = broadcasting_report(&assignment, 1);
        worker.expect_accepted(report).await;
    }
}

fn now() -> Timestamp {
    SystemTime::now().into()
}
