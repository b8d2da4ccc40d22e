use sluice::proto::v1 as pb;
use tonic::Code;
use uuid::Uuid;

use super::{caller::Caller, writer::Writer};

/// Number of destinations of one project.
const PROJECT_SIZE: usize = 50;

/// Creates, changes and deletes destinations.
pub struct Destinations {
    owner: Caller,
    project_id: String,
    destinations: Vec<Destination>,
}

/// The acknowledged state of a destination.
struct Destination {
    destination: pb::Destination,
    is_deleted: bool,
}

impl Destinations {
    pub fn new(owner: &Caller) -> Self {
        Self {
            owner: owner.clone(),
            project_id: String::new(),
            destinations: Vec::new(),
        }
    }

    async fn assert_exists(&self, destination: &pb::Destination) {
        let request = pb::GetDestinationRequest {
            destination_id: destination.id.clone(),
        };
        let answer = self
            .owner
            .read("GetDestination", async |mut client| {
                client.project.get_destination(request.clone()).await
            })
            .await;
        assert_eq!(answer.destination.as_ref(), Some(destination));
    }

    async fn update(&self, destination: &pb::Destination) -> pb::Destination {
        let request = pb::UpdateDestinationRequest {
            destination_id: destination.id.clone(),
            display_name: Some(format!("{} changed", destination.display_name)),
            stream_key: Some("another-key-0002".to_owned()),
            disabled: Some(false),
            ..Default::default()
        };
        let answer = self
            .owner
            .write("UpdateDestination", async |mut client| {
                client.project.update_destination(request.clone()).await
            })
            .await;
        let updated = answer.destination.unwrap();
        assert_eq!(updated.stream_key_hint, "0002");
        updated
    }

    async fn delete(&self, destination: &pb::Destination) {
        let request = pb::DeleteDestinationRequest {
            destination_id: destination.id.clone(),
            ..Default::default()
        };
        self.owner
            .write_once(
                "DeleteDestination",
                &["RESOURCE_NOT_FOUND"],
                async |mut client| client.project.delete_destination(request.clone()).await,
            )
            .await;
    }
}

impl Writer for Destinations {
    async fn write(&mut self, number: usize) {
        if number.is_multiple_of(PROJECT_SIZE) {
            let created = self.owner.create_project("Destinations").await;
            self.project_id = created.project.unwrap().id;
        }
        let name = format!("Destination {number}");
        let mut destination = create_destination(&self.owner, &self.project_id, &name).await;
        if !number.is_multiple_of(3) {
            self.assert_exists(&destination).await;
            destination = self.update(&destination).await;
        }
        let is_deleted = number % 3 == 2;
        if is_deleted {
            self.assert_exists(&destination).await;
            self.delete(&destination).await;
        }
        self.destinations.push(Destination {
            destination,
            is_deleted,
        });
    }

    async fn check(&self) {
        for known in &self.destinations {
            let destination = &known.destination;
            if !known.is_deleted {
                self.assert_exists(destination).await;
                continue;
            }
            let request = pb::GetDestinationRequest {
                destination_id: destination.id.clone(),
            };
            let refusal = self
                .owner
                .refusal("GetDestination", async |mut client| {
                    client.project.get_destination(request.clone()).await
                })
                .await;
            assert_eq!(refusal.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
        }
    }
}

/// Creates a destination that is disabled: no relay starts by itself.
pub async fn create_destination(owner: &Caller, project_id: &str, name: &str) -> pb::Destination {
    let request = pb::CreateDestinationRequest {
        project_id: project_id.to_owned(),
        platform: pb::Platform::Custom.into(),
        display_name: name.to_owned(),
        url: "rtmp://live.example.com/app".to_owned(),
        stream_key: Uuid::now_v7().to_string(),
        disabled: true,
        request_id: Uuid::now_v7().to_string(),
        ..Default::default()
    };
    let answer = owner
        .write("CreateDestination", async |mut client| {
            client.project.create_destination(request.clone()).await
        })
        .await;
    answer.destination.unwrap()
}
