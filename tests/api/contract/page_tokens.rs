//! In every list RPC, a page token works only for the caller who received it.

use prost::Message;
use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;
use tonic_types::StatusExt;

use super::{
    descriptors::request_fields,
    id_fields::create_destination,
    raw_rpc::{ObservableError, bearer, call},
};
use crate::{
    auth::{calls, passkey_calls, second_factor_calls},
    harness::{Engine, Postgres, Sqlite, TestServer, User},
    organization::fixture,
    stream::list_stream_samples::add_samples,
    usage::fixture::{HOURS, plant_record},
    webhooks::fixture::{create_quiet, plant_delivery},
};

/// A list RPC, with a request for the page of one row after a token.
struct List {
    path: &'static str,
    page: fn(ids: &Ids, page_token: &str) -> Vec<u8>,
}

/// The resources whose lists are read.
struct Ids {
    project_id: String,
    stream_id: String,
    webhook_id: String,
    organization_id: String,
}

impl Ids {
    fn organization(&self) -> String {
        self.organization_id.clone()
    }

    fn project(&self) -> String {
        self.project_id.clone()
    }

    fn webhook(&self) -> String {
        self.webhook_id.clone()
    }

    fn stream(&self) -> String {
        self.stream_id.clone()
    }
}

/// Field 2 of every list response.
#[derive(Clone, PartialEq, Message)]
struct NextPage {
    #[prost(string, tag = "2")]
    next_page_token: String,
}

macro_rules! lists {
    ($($path:literal $request:ident { $($field:ident: $value:expr),* };)*) => {
        [$(List {
            path: concat!("/sluice.v1.", $path),
            page: |ids, page_token| {
                let _ = ids;
                pb::$request {
                    page_size: 1,
                    page_token: page_token.to_owned(),
                    $($field: $value(ids),)*
                    ..Default::default()
                }
                .encode_to_vec()
            },
        }),*]
    };
}

#[expect(clippy::needless_update, reason = "not every request has more fields")]
fn lists() -> [List; 19] {
    lists! {
        "AuthService/ListSessions" ListSessionsRequest {};
        "AuthService/ListApiKeys" ListApiKeysRequest {};
        "AuthService/ListAuditEvents" ListAuditEventsRequest {};
        "AuthService/ListSecondFactors" ListSecondFactorsRequest {};
        "AuthService/ListPasskeys" ListPasskeysRequest {};
        "ProjectService/ListProjects" ListProjectsRequest {};
        "ProjectService/ListDestinations" ListDestinationsRequest { project_id: Ids::project };
        "ProjectService/ListPlatforms" ListPlatformsRequest {};
        "StreamService/ListStreams" ListStreamsRequest { project_id: Ids::project };
        "StreamService/ListRefusals" ListRefusalsRequest { project_id: Ids::project };
        "StreamService/ListRelays" ListRelaysRequest { stream_id: Ids::stream };
        "StreamService/ListStreamSamples" ListStreamSamplesRequest { stream_id: Ids::stream };
        "WebhookService/ListWebhooks" ListWebhooksRequest {};
        "WebhookService/ListWebhookDeliveries"
            ListWebhookDeliveriesRequest { webhook_id: Ids::webhook };
        "UsageService/ListUsage" ListUsageRequest {};
        "OrganizationService/ListOrganizations" ListOrganizationsRequest {};
        "OrganizationService/ListMembers" ListMembersRequest { organization_id: Ids::organization };
        "OrganizationService/ListInvitations"
            ListInvitationsRequest { organization_id: Ids::organization };
        "OrganizationService/ListOrganizationAuditEvents"
            ListOrganizationAuditEventsRequest { organization_id: Ids::organization };
    }
}

#[test]
fn every_list_rpc_is_tested_and_no_entry_is_stale() {
    // Those of operators have tests of their own: `operator::page_tokens`.
    let mut described = request_fields(|field| field.name() == "page_token");
    described.retain(|name| !name.starts_with("/sluice.v1.OperatorService/"));
    let mut entries = lists().map(|list| format!("{} page_token", list.path));

    entries.sort_unstable();
    assert_eq!(described, entries);
}

/// A user with two rows in every list, and the resources of these rows.
async fn user_with_lists(server: &TestServer) -> (User, Ids) {
    let user = server.user().await;
    user.project().await;
    let (project, stream_key) = user.project().await;
    let media = server.media_server().await;
    let mut stream_id = String::new();
    for connection in ["c1", "c2"] {
        let request = create_destination(project.id.clone(), String::new());
        let mut projects = user.client.project.clone();
        projects.create_destination(request).await.unwrap();
        let stream = media.live(&stream_key, connection).await;
        media.begin(&stream_key, "refused").await.unwrap_err();
        media.end(&stream, connection).await;
        stream_id = stream.id;
        calls::new_api_key(&user, calls::api_key_request(&["projects:read"])).await;
    }
    calls::new_session(server, &user).await;
    add_samples(
        server,
        &stream_id,
        &["2100-01-01T00:00:00+00:00", "2100-01-01T00:00:10+00:00"],
    )
    .await;
    let (_, codes) = second_factor_calls::enrol(&user).await;
    second_factor_calls::enrol_another(&user, &codes[0]).await;
    for code in &codes[1..3] {
        passkey_calls::register_another(&user, code).await;
    }
    let project_id = project.id;
    create_quiet(&user, &project_id, true).await;
    let webhook_id = create_quiet(&user, &project_id, true).await.id;
    for revision in 1..=2 {
        let database = &server.database;
        plant_delivery(database, &webhook_id, &project_id, revision, "delivered").await;
    }
    for hour in HOURS {
        plant_record(&server.database, &user.user.id, &project_id, None, hour).await;
    }
    fixture::verify(&server.database, &user).await;
    let organization_id = fixture::create(&user).await.id;
    let role = pb::OrganizationRole::Viewer;
    fixture::join(server, &user, &organization_id, role).await;
    for email in ["one@example.com", "two@example.com"] {
        let invited = fixture::invite(&user, &organization_id, email, role).await;
        invited.unwrap();
    }
    let ids = Ids {
        project_id,
        stream_id,
        webhook_id,
        organization_id,
    };
    (user, ids)
}

#[rstest]
#[tokio::test]
async fn no_list_accepts_the_page_token_of_another_caller(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (owner, theirs) = user_with_lists(&server).await;
    let (stranger, ours) = user_with_lists(&server).await;

    for list in lists() {
        let page = |user: &User, ids: &Ids, page_token: &str| {
            let request = (list.page)(ids, page_token);
            let token = user.tokens.access_token.clone();
            let server = &server;
            async move { call(&server.channel, list.path, &[bearer(&token)], request).await }
        };
        let first = page(&owner, &theirs, "").await.expect(list.path);
        let next = NextPage::decode(first.into_inner().as_slice()).unwrap();
        let next = next.next_page_token;
        assert_ne!(next, "", "{}", list.path);
        page(&owner, &theirs, &next).await.expect(list.path);

        let anothers = page(&stranger, &ours, &next).await.expect_err(list.path);
        let made_up = "A".repeat(next.len());
        let made_up = page(&stranger, &ours, &made_up).await.expect_err(list.path);

        assert_eq!(anothers.code(), Code::InvalidArgument, "{}", list.path);
        assert_eq!(
            ObservableError::of(&anothers),
            ObservableError::of(&made_up),
            "{}",
            list.path
        );
        let details = anothers.get_error_details();
        let violations = &details.bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "page_token", "{}", list.path);
    }
}
