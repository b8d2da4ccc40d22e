//! ListStreamSamples.

use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::fixture::{Fixture, stats_with_bytes};
use crate::harness::{
    Client, Engine, MediaServer, Postgres, Sqlite, TestServer, eventually, refused,
};

/// Inserts samples of a stream at these times.
pub async fn add_samples(server: &TestServer, stream_id: &str, times: &[&str]) {
    let id = match server.database.url.starts_with("sqlite") {
        true => format!("x'{}'", stream_id.replace('-', "")),
        false => format!("'{stream_id}'"),
    };
    for (at, time) in times.iter().enumerate() {
        let insert = format!(
            "insert into stream_samples
                 (stream_id, sample_time, bytes_received, bitrate_bps, width, height, fps,
                  video_codec, audio_codec, media)
             values ({id}, '{time}', {at}, 1000, 1280, 720, 30, 'h264', 'aac',
                     '{{\"keyframe_interval_ms\":2000}}')"
        );
        server.database.execute(&insert).await;
    }
}

async fn list(
    client: &Client,
    request: pb::ListStreamSamplesRequest,
) -> pb::ListStreamSamplesResponse {
    let answer = client.stream.clone().list_stream_samples(request).await;
    answer.unwrap().into_inner()
}

fn of_stream(stream: &pb::Stream) -> pb::ListStreamSamplesRequest {
    pb::ListStreamSamplesRequest {
        stream_id: stream.id.clone(),
        ..Default::default()
    }
}

/// The byte counts of samples, which tell them apart.
fn bytes(answer: &pb::ListStreamSamplesResponse) -> Vec<i64> {
    let stats = answer
        .samples
        .iter()
        .map(|sample| sample.stats.clone().unwrap());
    stats.map(|stats| stats.bytes_received).collect()
}

fn at(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

/// 2100-01-01: no purge deletes these samples.
const START: i64 = 4_102_444_800;
const TIMES: [&str; 4] = [
    "2100-01-01T00:00:00+00:00",
    "2100-01-01T00:00:10+00:00",
    "2100-01-01T00:00:20+00:00",
    "2100-01-01T00:00:30+00:00",
];

#[rstest]
#[tokio::test]
async fn a_live_stream_with_statistics_is_sampled_at_multiples_of_ten_seconds(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let stream = fixture.begin_live_stream("c1").await;
    let publisher = MediaServer::connection("c1");
    let stats = pb::StreamStats {
        bytes_received: 700,
        bitrate_bps: 6_000_000,
        keyframe_interval: Some(prost_types::Duration {
            seconds: 2,
            nanos: 0,
        }),
        audio_channels: 2,
        audio_sample_rate: 48_000,
        has_audio: Some(true),
        ..Default::default()
    };
    fixture
        .heartbeat_from(&stream, publisher, Some(stats.clone()))
        .await;

    let sample = eventually("a sample is taken", async || {
        let answer = list(&fixture.owner.client, of_stream(&stream)).await;
        answer
            .samples
            .into_iter()
            .find(|sample| sample.stats.as_ref() == Some(&stats))
    })
    .await;
    let time = sample.sample_time.unwrap();
    assert_eq!((time.seconds % 10, time.nanos), (0, 0));
    // Several checks within ten seconds take one sample.
    let answer = list(&fixture.owner.client, of_stream(&stream)).await;
    let mut times: Vec<_> = answer
        .samples
        .iter()
        .map(|sample| sample.sample_time.unwrap().seconds)
        .collect();
    assert!(
        times.is_sorted_by(|newer, older| newer > older),
        "{times:?}"
    );
    times.dedup();
    assert_eq!(times.len(), answer.samples.len());
}

#[rstest]
#[tokio::test]
async fn samples_are_listed_newest_first_in_pages_and_by_time(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let stream = fixture.begin_live_stream("c1").await;
    add_samples(&fixture.server, &stream.id, &TIMES).await;
    let owner = &fixture.owner.client;

    let all = list(owner, of_stream(&stream)).await;
    assert_eq!(bytes(&all), [3, 2, 1, 0]);
    assert_eq!(all.next_page_token, "");
    let first = all.samples.last().unwrap();
    assert_eq!(first.sample_time, Some(at(START)));
    let stats = first.stats.clone().unwrap();
    assert_eq!(
        (stats.width, &*stats.video_codec, stats.fps),
        (1280, "h264", 30.0)
    );
    assert_eq!(stats.keyframe_interval.unwrap().seconds, 2);

    let mut request = pb::ListStreamSamplesRequest {
        page_size: 3,
        ..of_stream(&stream)
    };
    let page = list(owner, request.clone()).await;
    assert_eq!(bytes(&page), [3, 2, 1]);
    request.page_token = page.next_page_token;
    let page = list(owner, request).await;
    assert_eq!((bytes(&page), &*page.next_page_token), (vec![0], ""));

    let between = pb::ListStreamSamplesRequest {
        sampled_after: Some(at(START)),
        sampled_before: Some(at(START + 30)),
        ..of_stream(&stream)
    };
    assert_eq!(bytes(&list(owner, between).await), [2, 1]);
}

#[rstest]
#[tokio::test]
async fn samples_are_visible_to_the_owner_only_and_outlive_the_stream(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let stream = fixture.begin_live_stream("c1").await;
    add_samples(&fixture.server, &stream.id, &TIMES).await;
    fixture.stop(&stream, 0).await;
    assert_eq!(
        list(&fixture.owner.client, of_stream(&stream))
            .await
            .samples
            .len(),
        4
    );

    let stranger = fixture.server.user().await;
    let mut streams = stranger.client.stream.clone();
    let refusal = refused(streams.list_stream_samples(of_stream(&stream)).await);
    assert_eq!(refusal.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
}

#[rstest]
#[tokio::test]
async fn samples_of_the_last_day_survive_a_purge_and_a_deleted_project_loses_its_samples(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let stream = fixture.begin_live_stream("c1").await;
    let old = TIMES.map(|time| time.replace("2100", "2020"));
    add_samples(
        &fixture.server,
        &stream.id,
        &old.each_ref().map(|time| &**time),
    )
    .await;
    let publisher = MediaServer::connection("c1");
    fixture
        .heartbeat_from(&stream, publisher, stats_with_bytes(77))
        .await;
    eventually("a sample is taken", async || {
        let answer = list(&fixture.owner.client, of_stream(&stream)).await;
        bytes(&answer).contains(&77).then_some(())
    })
    .await;

    // The purge runs when the server starts.
    let fixture = fixture.restart().await;
    eventually("old samples are purged", async || {
        let answer = list(&fixture.owner.client, of_stream(&stream)).await;
        let is_new = |bytes: &i64| *bytes == 77;
        let bytes = bytes(&answer);
        (!bytes.is_empty() && bytes.iter().all(is_new)).then_some(())
    })
    .await;

    fixture.delete().await;
    let old = "update projects set delete_time = '2020-01-01T00:00:00+00:00'";
    fixture.server.database.execute(old).await;
    let fixture = fixture.restart().await;
    eventually("the samples are deleted", async || {
        let query = "select count(*) from stream_samples";
        (fixture.server.database.number(query).await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_invalid_field_is_named() {
    let fixture = Fixture::start(Sqlite).await;
    let wrong = pb::ListStreamSamplesRequest {
        stream_id: "x".to_owned(),
        page_size: -1,
        page_token: "x".to_owned(),
        sampled_after: Some(prost_types::Timestamp {
            seconds: 0,
            nanos: -1,
        }),
        sampled_before: Some(at(i64::MAX)),
    };
    let mut streams = fixture.owner.client.stream.clone();
    let refusal = refused(streams.list_stream_samples(wrong).await);
    let expected = [
        "page_size",
        "page_token",
        "sampled_after",
        "sampled_before",
        "stream_id",
    ];
    assert_eq!(refusal.fields(), expected);
}
