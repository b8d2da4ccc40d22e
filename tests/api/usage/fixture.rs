use sluice::{domain::UsageRecordId, proto::v1 as pb};
use uuid::Uuid;

use crate::{
    harness::{Client, Engine, TestDatabase, eventually},
    relay::fixture::Fixture,
};

/// Records usage often.
pub const FLAGS: [&str; 1] = ["--usage-interval=20ms"];

/// A server that records usage often, with an owner, a project and a media server.
pub async fn start(engine: Engine) -> Fixture {
    Fixture::start_with(engine, &FLAGS, 0).await
}

/// Hours of planted records.
pub const HOURS: [&str; 2] = ["2100-01-01T00:00:00+00:00", "2100-01-01T01:00:00+00:00"];

/// Adds a record of usage; without a destination it is one of streams.
pub async fn plant_record(
    database: &TestDatabase,
    organization_id: &str,
    project_id: &str,
    destination_id: Option<&str>,
    hour: &str,
) {
    let id = UsageRecordId::generate().to_string();
    let nil = Uuid::nil().to_string();
    let ids = [
        &*id,
        organization_id,
        project_id,
        destination_id.unwrap_or(&nil),
    ];
    let [id, owner, project, destination] =
        ids.map(|id| match database.url.starts_with("sqlite:") {
            true => format!("unhex('{}')", id.replace('-', "")),
            false => format!("'{id}'"),
        });
    let insert = format!(
        "insert into usage_records
             (id, owner_id, project_id, destination_id, hour_time, stream_us, bytes_received,
              bytes_delivered)
         values ({id}, {owner}, {project}, {destination}, '{hour}', 1, 1, 1)"
    );
    database.execute(&insert).await;
}

/// The usage of all projects, without a limit of time.
pub async fn total(client: &Client) -> pb::Usage {
    let request = pb::GetUsageRequest {
        start_time: Some(prost_types::Timestamp::default()),
        ..Default::default()
    };
    let answer = client.usage.clone().get_usage(request).await.unwrap();
    answer.into_inner().usage.unwrap()
}

/// Waits until this number of bytes is recorded as delivered.
pub async fn wait_for_delivered(client: &Client, bytes: i64) {
    eventually("the bytes are recorded", async || {
        (total(client).await.bytes_delivered == bytes).then_some(())
    })
    .await;
}

/// Waits until all streams that have begun are read at least once more.
pub async fn wait_for_reading(fixture: &Fixture) {
    let recorded = async || fixture.server.database.number(LAST_READING).await;
    let before = recorded().await;
    eventually("the meters are read", async || {
        (recorded().await > before).then_some(())
    })
    .await;
}

/// The time that the meters of live streams have come to: it grows with each reading.
const LAST_READING: &str = "select cast(coalesce(sum(stream_us), 0) as bigint) from usage_records";

/// A report of a media server with a number of received bytes.
pub async fn receive(fixture: &Fixture, stream: &pb::Stream, connection: &str, bytes: i64) {
    let request = pb::HeartbeatPublishRequest {
        stream_id: stream.id.clone(),
        epoch: stream.epoch,
        publisher: Some(crate::harness::MediaServer::connection(connection)),
        stats: Some(pb::StreamStats {
            bytes_received: bytes,
            ..Default::default()
        }),
    };
    let mut streams = fixture.node.client.stream.clone();
    streams.heartbeat_publish(request).await.unwrap();
}

/// Lists records of usage.
pub async fn list(client: &Client, request: pb::ListUsageRequest) -> pb::ListUsageResponse {
    let answer = client.usage.clone().list_usage(request).await;
    answer.unwrap().into_inner()
}
