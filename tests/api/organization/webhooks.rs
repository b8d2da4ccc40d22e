use rstest::rstest;
use sluice::proto::v1::{self as pb, OrganizationRole as Role};
use tonic::{Code, Status};

use super::fixture::{create, create_project, join, refused, verified_user};
use crate::harness::{Engine, Postgres, Sqlite, TestServer, User};

async fn create_webhook(
    user: &User,
    organization_id: &str,
    project_id: &str,
) -> Result<pb::Webhook, Status> {
    let request = pb::CreateWebhookRequest {
        organization_id: organization_id.to_owned(),
        project_id: project_id.to_owned(),
        url: "https://hooks.invalid.example.com/".to_owned(),
        disabled: true,
        ..Default::default()
    };
    let created = user.client.webhook.clone().create_webhook(request).await?;
    Ok(created.into_inner().webhook.unwrap())
}

async fn list(user: &User, organization_id: &str, project_id: &str) -> Vec<String> {
    let request = pb::ListWebhooksRequest {
        organization_id: organization_id.to_owned(),
        project_id: project_id.to_owned(),
        ..Default::default()
    };
    let listed = user.client.webhook.clone().list_webhooks(request).await;
    let webhooks = listed.unwrap().into_inner().webhooks.into_iter();
    webhooks.map(|webhook| webhook.id).collect()
}

#[rstest]
#[tokio::test]
async fn admins_make_the_webhooks_of_an_organization_which_members_see(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let owner = verified_user(&server).await;
    let id = create(&owner).await.id;
    let (project, _) = create_project(&owner, &id).await.unwrap();
    let producer = join(&server, &owner, &id, Role::Producer).await;

    let of_all = create_webhook(&owner, &id, "").await.unwrap();
    // A project says which organization it is.
    let of_project = create_webhook(&owner, "", &project.id).await.unwrap();
    for webhook in [&of_all, &of_project] {
        assert_eq!(webhook.organization_id, id);
    }
    for (organization, project_id) in [(&*id, ""), ("", &*project.id)] {
        let refusal = refused(create_webhook(&producer, organization, project_id).await);
        let class = (Code::PermissionDenied, "ROLE_INSUFFICIENT");
        assert_eq!(refusal.class(), class);
    }
    for member in [&owner, &producer] {
        assert_eq!(list(member, &id, "").await, [&*of_project.id, &*of_all.id]);
        assert_eq!(list(member, "", &project.id).await, [&*of_project.id]);
        assert!(list(member, "", "").await.is_empty());
        let get = pb::GetWebhookRequest {
            webhook_id: of_all.id.clone(),
        };
        member
            .client
            .webhook
            .clone()
            .get_webhook(get)
            .await
            .unwrap();
    }
    let delete = pb::DeleteWebhookRequest {
        webhook_id: of_all.id.clone(),
        ..Default::default()
    };
    let deleted = producer.client.webhook.clone().delete_webhook(delete).await;
    let class = (Code::PermissionDenied, "ROLE_INSUFFICIENT");
    assert_eq!(refused(deleted).class(), class);
    let stranger = server.user().await;
    let refusal = refused(create_webhook(&stranger, &id, "").await);
    assert_eq!(refusal.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
}
