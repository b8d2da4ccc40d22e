//! Every RPC that takes a `request_id` has one effect, however often it is called (AIP-155), and
//! refuses the id with another request.

use prost::Message;
use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};
use uuid::Uuid;

use super::{
    descriptors::request_fields,
    dump::settled_dump,
    id_fields::{
        create_destination, create_operator_key, create_project, create_webhook, invitation,
        sign_up,
    },
    raw_rpc::{bearer, call},
};
use crate::{
    auth::calls,
    harness::{Engine, Postgres, Sqlite, TestServer, User, exchange, refused},
    organization::fixture,
    webhooks::fixture::create_quiet,
};

/// An RPC with a `request_id`.
struct Change {
    path: &'static str,
    /// A request with this id.
    request: fn(&Targets, String) -> Vec<u8>,
    /// Another valid request with the same id.
    other: fn(&Targets, String) -> Vec<u8>,
    repetition: Repetition,
}

/// What a repetition does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repetition {
    /// It writes nothing, and has the response of the first call.
    SameResponse,
    /// It signs in again: the same account, with another session.
    AnotherSession,
}

/// What the changes change: two of each, the second for other requests.
struct Targets {
    projects: [String; 2],
    destinations: [String; 2],
    stream: String,
    sessions: [String; 2],
    api_keys: [String; 2],
    webhooks: [String; 2],
    organizations: [String; 2],
    /// A name that no other request has.
    name: String,
}

macro_rules! changes {
    ($($path:literal $repetition:ident, |$targets:ident, $id:ident| $request:expr,
       other $other:expr;)*) => {
        vec![$(Change {
            path: concat!("/sluice.v1.", $path),
            request: |$targets, $id| {
                let _ = $targets;
                Message::encode_to_vec(&$request)
            },
            other: |$targets, $id| {
                let _ = $targets;
                Message::encode_to_vec(&$other)
            },
            repetition: Repetition::$repetition,
        }),*]
    };
}

fn rename_project(id: &str, name: &str, request_id: String) -> pb::UpdateProjectRequest {
    pb::UpdateProjectRequest {
        project_id: id.to_owned(),
        display_name: Some(name.to_owned()),
        request_id,
        ..Default::default()
    }
}

fn rename_destination(id: &str, name: &str, request_id: String) -> pb::UpdateDestinationRequest {
    pb::UpdateDestinationRequest {
        destination_id: id.to_owned(),
        display_name: Some(name.to_owned()),
        request_id,
        ..Default::default()
    }
}

fn rename_me(name: &str, request_id: String) -> pb::UpdateMeRequest {
    pb::UpdateMeRequest {
        display_name: Some(name.to_owned()),
        request_id,
    }
}

fn api_key(name: &str, request_id: String) -> pb::CreateApiKeyRequest {
    pb::CreateApiKeyRequest {
        display_name: name.to_owned(),
        request_id,
        ..calls::api_key_request(&["projects:read"])
    }
}

fn delete_project(id: &str, request_id: String) -> pb::DeleteProjectRequest {
    pb::DeleteProjectRequest {
        project_id: id.to_owned(),
        force: true,
        request_id,
        ..Default::default()
    }
}

fn delete_destination(id: &str, request_id: String) -> pb::DeleteDestinationRequest {
    pb::DeleteDestinationRequest {
        destination_id: id.to_owned(),
        request_id,
        ..Default::default()
    }
}

fn rotate(id: &str, request_id: String) -> pb::RotateStreamKeyRequest {
    pb::RotateStreamKeyRequest {
        project_id: id.to_owned(),
        request_id,
        ..Default::default()
    }
}

fn stop(targets: &Targets, seconds: i64, request_id: String) -> pb::StopStreamRequest {
    pb::StopStreamRequest {
        stream_id: targets.stream.clone(),
        hold: Some(prost_types::Duration { seconds, nanos: 0 }),
        request_id,
    }
}

fn start_relay(targets: &Targets, index: usize, request_id: String) -> pb::StartRelayRequest {
    pb::StartRelayRequest {
        stream_id: targets.stream.clone(),
        destination_id: targets.destinations[index].clone(),
        request_id,
    }
}

fn stop_relay(targets: &Targets, index: usize, request_id: String) -> pb::StopRelayRequest {
    pb::StopRelayRequest {
        stream_id: targets.stream.clone(),
        destination_id: targets.destinations[index].clone(),
        request_id,
    }
}

fn describe_webhook(id: &str, text: &str, request_id: String) -> pb::UpdateWebhookRequest {
    pb::UpdateWebhookRequest {
        webhook_id: id.to_owned(),
        description: Some(text.to_owned()),
        request_id,
        ..Default::default()
    }
}

fn delete_webhook(id: &str, request_id: String) -> pb::DeleteWebhookRequest {
    pb::DeleteWebhookRequest {
        webhook_id: id.to_owned(),
        request_id,
        ..Default::default()
    }
}

fn rotate_secret(id: &str, request_id: String) -> pb::RotateWebhookSecretRequest {
    pb::RotateWebhookSecretRequest {
        webhook_id: id.to_owned(),
        request_id,
        ..Default::default()
    }
}

fn create_organization(name: &str, request_id: String) -> pb::CreateOrganizationRequest {
    pb::CreateOrganizationRequest {
        display_name: name.to_owned(),
        request_id,
    }
}

fn rename_organization(id: &str, name: &str, request_id: String) -> pb::UpdateOrganizationRequest {
    pb::UpdateOrganizationRequest {
        organization_id: id.to_owned(),
        display_name: Some(name.to_owned()),
        request_id,
        ..Default::default()
    }
}

fn delete_organization(id: &str, request_id: String) -> pb::DeleteOrganizationRequest {
    pb::DeleteOrganizationRequest {
        organization_id: id.to_owned(),
        request_id,
        ..Default::default()
    }
}

fn changes() -> Vec<Change> {
    changes! {
        "AuthService/SignUp" AnotherSession, |to, id| sign_up(&to.name, id),
            other sign_up(&format!("other-{}", to.name), id);
        "AuthService/UpdateMe" SameResponse, |to, id| rename_me("One", id),
            other rename_me("Other", id);
        "AuthService/RevokeSession" SameResponse, |to, id| pb::RevokeSessionRequest {
            session_id: to.sessions[0].clone(),
            request_id: id,
        }, other pb::RevokeSessionRequest {
            session_id: to.sessions[1].clone(),
            request_id: id,
        };
        "AuthService/CreateApiKey" SameResponse, |to, id| api_key("One", id),
            other api_key("Other", id);
        "AuthService/RevokeApiKey" SameResponse, |to, id| pb::RevokeApiKeyRequest {
            api_key_id: to.api_keys[0].clone(),
            request_id: id,
        }, other pb::RevokeApiKeyRequest {
            api_key_id: to.api_keys[1].clone(),
            request_id: id,
        };
        "ProjectService/CreateProject" SameResponse, |to, id| create_project(id),
            other pb::CreateProjectRequest {
                display_name: "Other".to_owned(),
                ..create_project(id)
            };
        "ProjectService/UpdateProject" SameResponse,
            |to, id| rename_project(&to.projects[0], "One", id),
            other rename_project(&to.projects[0], "Other", id);
        "ProjectService/DeleteProject" SameResponse,
            |to, id| delete_project(&to.projects[0], id),
            other delete_project(&to.projects[1], id);
        "ProjectService/RotateStreamKey" SameResponse, |to, id| rotate(&to.projects[0], id),
            other rotate(&to.projects[1], id);
        "ProjectService/CreateDestination" SameResponse,
            |to, id| create_destination(to.projects[0].clone(), id),
            other create_destination(to.projects[1].clone(), id);
        "ProjectService/UpdateDestination" SameResponse,
            |to, id| rename_destination(&to.destinations[0], "One", id),
            other rename_destination(&to.destinations[0], "Other", id);
        "ProjectService/DeleteDestination" SameResponse,
            |to, id| delete_destination(&to.destinations[0], id),
            other delete_destination(&to.destinations[1], id);
        "StreamService/StopStream" SameResponse, |to, id| stop(to, 60, id),
            other stop(to, 120, id);
        "StreamService/StartRelay" SameResponse, |to, id| start_relay(to, 1, id),
            other start_relay(to, 0, id);
        "StreamService/StopRelay" SameResponse, |to, id| stop_relay(to, 0, id),
            other stop_relay(to, 1, id);
        "OperatorService/CreateOperatorKey" SameResponse, |to, id| pb::CreateOperatorKeyRequest {
            request_id: id,
            ..create_operator_key()
        }, other pb::CreateOperatorKeyRequest {
            display_name: "Other".to_owned(),
            request_id: id,
            ..create_operator_key()
        };
        "WebhookService/CreateWebhook" SameResponse,
            |to, id| create_webhook(to.projects[0].clone(), id),
            other create_webhook(to.projects[1].clone(), id);
        "WebhookService/UpdateWebhook" SameResponse,
            |to, id| describe_webhook(&to.webhooks[0], "One", id),
            other describe_webhook(&to.webhooks[0], "Other", id);
        "WebhookService/DeleteWebhook" SameResponse,
            |to, id| delete_webhook(&to.webhooks[0], id),
            other delete_webhook(&to.webhooks[1], id);
        "WebhookService/RotateWebhookSecret" SameResponse,
            |to, id| rotate_secret(&to.webhooks[0], id),
            other rotate_secret(&to.webhooks[1], id);
        "OrganizationService/CreateOrganization" SameResponse,
            |to, id| create_organization("One", id),
            other create_organization("Other", id);
        "OrganizationService/UpdateOrganization" SameResponse,
            |to, id| rename_organization(&to.organizations[0], "One", id),
            other rename_organization(&to.organizations[0], "Other", id);
        "OrganizationService/DeleteOrganization" SameResponse,
            |to, id| delete_organization(&to.organizations[0], id),
            other delete_organization(&to.organizations[1], id);
        "OrganizationService/CreateInvitation" SameResponse,
            |to, id| invitation(to.organizations[0].clone(), id),
            other invitation(to.organizations[1].clone(), id);
    }
}

#[test]
fn every_rpc_with_a_request_id_is_tested_and_no_entry_is_stale() {
    let mut described = request_fields(|field| field.name() == "request_id");
    let entries = changes().into_iter();
    let mut entries: Vec<_> = entries
        .map(|change| format!("{} request_id", change.path))
        .collect();

    described.sort_unstable();
    entries.sort_unstable();
    assert_eq!(entries, described);
}

impl Targets {
    /// A live stream with two relays, of which the second is stopped, and two of all else.
    async fn create(server: &TestServer, user: &User) -> Self {
        let (project, stream_key) = user.project().await;
        let (other, _) = user.project().await;
        let (mut destinations, mut api_keys) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let request = create_destination(project.id.clone(), String::new());
            let mut projects = user.client.project.clone();
            let created = projects.create_destination(request).await;
            let created = created.unwrap().into_inner();
            destinations.push(created.destination.unwrap().id);
            let request = calls::api_key_request(&["projects:read"]);
            api_keys.push(calls::new_api_key(user, request).await.0.id);
            calls::new_session(server, user).await;
        }
        let mut webhooks = Vec::new();
        for _ in 0..2 {
            webhooks.push(create_quiet(user, &project.id, true).await.id);
        }
        fixture::verify(&server.database, user).await;
        let mut organizations = Vec::new();
        for _ in 0..2 {
            organizations.push(fixture::create(user).await.id);
        }
        let media = server.media_server().await;
        let stream = media.live(&stream_key, "c1").await;
        let sessions = pb::ListSessionsRequest::default();
        let sessions = user.client.auth.clone().list_sessions(sessions).await;
        let sessions = sessions.unwrap().into_inner().sessions.into_iter();
        let others = sessions.filter(|session| !session.current);
        let sessions: Vec<_> = others.map(|session| session.id).collect();
        let targets = Self {
            projects: [project.id, other.id],
            destinations: destinations.try_into().unwrap(),
            stream: stream.id,
            sessions: sessions.try_into().unwrap(),
            api_keys: api_keys.try_into().unwrap(),
            webhooks: webhooks.try_into().unwrap(),
            organizations: organizations.try_into().unwrap(),
            name: format!("n-{}", Uuid::now_v7().simple()),
        };
        let stop = stop_relay(&targets, 1, String::new());
        user.client.stream.clone().stop_relay(stop).await.unwrap();
        targets
    }
}

/// The rows of a dump that are no record of a request id.
fn without_request_ids(rows: &[String]) -> Vec<&String> {
    let rows = rows.iter();
    rows.filter(|row| !row.starts_with("idempotent_creates: "))
        .collect()
}

/// The id of the account in a response of SignUp.
fn account(response: &[u8]) -> String {
    let response = pb::SignUpResponse::decode(response).unwrap();
    response.user.unwrap().id
}

#[rstest]
#[tokio::test]
async fn a_repeated_request_has_one_effect_and_its_id_is_refused_with_another_request(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let flags = ["--heartbeat-timeout=1h", "--relay-lease=1h"];
    let server = TestServer::start_with(engine, &flags).await;
    let scopes = [Scope::OperatorRead, Scope::OperatorWrite];
    let (_, secret) = server.operator_key(&scopes, None, None).await;
    let operator = exchange(&server.channel, &secret).await;

    for change in changes() {
        let path = change.path;
        let user = server.user().await;
        let targets = Targets::create(&server, &user).await;
        let token = match path {
            "/sluice.v1.AuthService/SignUp" => None,
            _ if path.starts_with("/sluice.v1.OperatorService/") => Some(&operator),
            _ => Some(&user.tokens.access_token),
        };
        let token: Vec<_> = token.into_iter().map(|token| bearer(token)).collect();
        let send = async |message: Vec<u8>| call(&server.channel, path, &token, message).await;
        let request_id = Uuid::now_v7().to_string();
        let request = (change.request)(&targets, request_id.clone());
        let untouched = settled_dump(&server.database).await;

        let first = send(request.clone()).await.expect(path).into_inner();
        let once = settled_dump(&server.database).await;
        let second = send(request).await.expect(path).into_inner();
        let twice = settled_dump(&server.database).await;

        let changed = without_request_ids(&once);
        assert_ne!(changed, without_request_ids(&untouched), "{path}");
        match change.repetition {
            Repetition::SameResponse => {
                assert_eq!(second, first, "{path}");
                assert_eq!(twice, once, "{path}");
            }
            Repetition::AnotherSession => {
                assert_eq!(account(&second), account(&first), "{path}");
                let new = twice.iter().filter(|row| !once.contains(row));
                let new: Vec<_> = new.collect();
                let is_sign_in = |row: &&String| {
                    let tables = [
                        "sessions: ",
                        "audit_events: ",
                        "guesses: ",
                        "known_networks: ",
                    ];
                    tables.iter().any(|table| row.starts_with(table))
                };
                assert!(new.iter().all(is_sign_in), "{path}: {new:?}");
            }
        }

        let other = (change.other)(&targets, request_id);
        let refusal = refused(send(other).await);
        assert_eq!(refusal.fields(), ["request_id"], "{path}");
        assert_eq!(settled_dump(&server.database).await, twice, "{path}");
    }
}
