//! Every RPC that takes an `etag` refuses an outdated one, and then changes nothing.

use prost::Message;
use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::{
    descriptors::request_fields,
    dump::{dump, settled_dump},
    id_fields::create_destination,
    raw_rpc::{bearer, call},
};
use crate::{
    harness::{Engine, Postgres, Sqlite, TestServer, User, refused},
    organization::fixture,
    webhooks::fixture::{create_quiet, update},
};

/// An RPC with an `etag`, and the type of its resource.
struct Change {
    path: &'static str,
    resource: Resource,
    /// A request that is valid with the current etag.
    request: fn(id: String, etag: String) -> Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Resource {
    Project,
    Destination,
    Webhook,
    Organization,
}

macro_rules! changes {
    ($($path:literal $resource:ident, ($id:ident, $etag:ident) => $request:expr;)*) => {
        vec![$(Change {
            path: concat!("/sluice.v1.", $path),
            resource: Resource::$resource,
            request: |$id, $etag| Message::encode_to_vec(&$request),
        }),*]
    };
}

fn changes() -> Vec<Change> {
    changes! {
        "ProjectService/UpdateProject" Project, (id, etag) => pb::UpdateProjectRequest {
            project_id: id,
            display_name: Some("From an old copy".to_owned()),
            etag,
            ..Default::default()
        };
        "ProjectService/DeleteProject" Project, (id, etag) => pb::DeleteProjectRequest {
            project_id: id,
            etag,
            ..Default::default()
        };
        "ProjectService/UpdateDestination" Destination, (id, etag) => pb::UpdateDestinationRequest {
            destination_id: id,
            display_name: Some("From an old copy".to_owned()),
            etag,
            ..Default::default()
        };
        "ProjectService/DeleteDestination" Destination, (id, etag) => pb::DeleteDestinationRequest {
            destination_id: id,
            etag,
            ..Default::default()
        };
        "WebhookService/UpdateWebhook" Webhook, (id, etag) => pb::UpdateWebhookRequest {
            webhook_id: id,
            description: Some("From an old copy".to_owned()),
            etag,
            ..Default::default()
        };
        "WebhookService/DeleteWebhook" Webhook, (id, etag) => pb::DeleteWebhookRequest {
            webhook_id: id,
            etag,
            ..Default::default()
        };
        "OrganizationService/UpdateOrganization" Organization, (id, etag) =>
            pb::UpdateOrganizationRequest {
                organization_id: id,
                display_name: Some("From an old copy".to_owned()),
                etag,
                ..Default::default()
            };
        "OrganizationService/DeleteOrganization" Organization, (id, etag) =>
            pb::DeleteOrganizationRequest {
                organization_id: id,
                etag,
                ..Default::default()
            };
    }
}

#[test]
fn every_rpc_with_an_etag_is_tested_and_no_entry_is_stale() {
    let mut described = request_fields(|field| field.name() == "etag");
    let entries = changes().into_iter();
    let mut entries: Vec<_> = entries
        .map(|change| format!("{} etag", change.path))
        .collect();

    described.sort_unstable();
    entries.sort_unstable();
    assert_eq!(entries, described);
}

/// A new resource: its id and its etag.
async fn create(server: &TestServer, user: &User, resource: Resource) -> (String, String) {
    let (project, _) = user.project().await;
    let request = create_destination(project.id.clone(), String::new());
    let mut projects = user.client.project.clone();
    let created = projects.create_destination(request).await;
    let destination = created.unwrap().into_inner().destination.unwrap();
    match resource {
        // The destination has changed its project.
        Resource::Project => {
            let get = pb::GetProjectRequest {
                project_id: project.id,
                ..Default::default()
            };
            let project = user.client.project.clone().get_project(get).await;
            let project = project.unwrap().into_inner().project.unwrap();
            (project.id, project.etag)
        }
        Resource::Destination => (destination.id, destination.etag),
        Resource::Webhook => {
            let webhook = create_quiet(user, &project.id, true).await;
            (webhook.id, webhook.etag)
        }
        Resource::Organization => {
            fixture::verify(&server.database, user).await;
            let organization = fixture::create(user).await;
            (organization.id, organization.etag)
        }
    }
}

/// Another caller's change; returns the new etag.
async fn change(user: &User, resource: Resource, id: &str) -> String {
    let mut projects = user.client.project.clone();
    match resource {
        Resource::Project => {
            let request = pb::UpdateProjectRequest {
                project_id: id.to_owned(),
                display_name: Some("Newer".to_owned()),
                ..Default::default()
            };
            let changed = projects.update_project(request).await.unwrap();
            changed.into_inner().project.unwrap().etag
        }
        Resource::Destination => {
            let request = pb::UpdateDestinationRequest {
                destination_id: id.to_owned(),
                display_name: Some("Newer".to_owned()),
                ..Default::default()
            };
            let changed = projects.update_destination(request).await.unwrap();
            changed.into_inner().destination.unwrap().etag
        }
        Resource::Webhook => {
            let request = pb::UpdateWebhookRequest {
                webhook_id: id.to_owned(),
                description: Some("Newer".to_owned()),
                ..Default::default()
            };
            update(user, request).await.etag
        }
        Resource::Organization => {
            let request = pb::UpdateOrganizationRequest {
                organization_id: id.to_owned(),
                display_name: Some("Newer".to_owned()),
                ..Default::default()
            };
            let mut organizations = user.client.organization.clone();
            let changed = organizations.update_organization(request).await;
            changed.unwrap().into_inner().organization.unwrap().etag
        }
    }
}

#[rstest]
#[tokio::test]
async fn an_outdated_etag_is_refused_and_nothing_changes(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    for Change {
        path,
        resource,
        request,
    } in changes()
    {
        let user = server.user().await;
        let (id, outdated) = create(&server, &user, resource).await;
        let current = change(&user, resource, &id).await;
        assert_ne!(current, outdated, "{path}");
        let send = async |etag: &str| {
            let token = [bearer(&user.tokens.access_token)];
            let request = request(id.clone(), etag.to_owned());
            call(&server.channel, path, &token, request).await
        };
        let before = settled_dump(&server.database).await;

        for etag in [&*outdated, "made up"] {
            let refusal = refused(send(etag).await);
            let class = (Code::Aborted, "ETAG_MISMATCH");
            assert_eq!(refusal.class(), class, "{path} with {etag}");
        }
        assert_eq!(dump(&server.database).await, before, "{path}");

        send(&current).await.expect(path);
        assert_ne!(dump(&server.database).await, before, "{path}");
    }
}
