use sluice::proto::v1 as pb;

use super::{Fixture, wait_for};

use pb::{DestinationCheckOutcome as Outcome, DestinationCheckStep as Step, MediaIssueCode};

fn codes(issues: &[pb::MediaIssue]) -> Vec<MediaIssueCode> {
    issues.iter().map(pb::MediaIssue::code).collect()
}

#[tokio::test]
async fn a_publisher_with_rare_keyframes_and_no_audio_has_issues_at_the_platform_with_limits() {
    let fixture = Fixture::start().await;
    let (platform, without_limits) = fixture.destination("platform").await;
    // The region of the address is not known, so that it may be anywhere.
    let castr = pb::Platform::Castr;
    let (url, key) = (platform.url(), "key-of-castr");
    let with_limits = fixture.owner.destination_of(castr, &url, key).await;
    let _publisher = fixture.publish_with(&["-g", "250", "-an"]);

    let relay = wait_for("the keyframe interval is an issue", async || {
        let relay = fixture.owner.relay(&with_limits).await?;
        (!relay.issues.is_empty()).then_some(relay)
    })
    .await;
    assert_eq!(
        codes(&relay.issues),
        [MediaIssueCode::KeyframeIntervalTooLong]
    );
    assert!(
        relay.issues[0].detail.contains("Castr recommends 2 s"),
        "{relay:?}"
    );
    let stream = wait_for("missing audio is an issue", async || {
        let stream = fixture.owner.stream().await?;
        (!stream.issues.is_empty()).then_some(stream)
    })
    .await;
    assert_eq!(codes(&stream.issues), [MediaIssueCode::NoAudio]);
    let stats = stream.stats.unwrap();
    assert_eq!(
        (stats.has_audio, stats.width, stats.height),
        (Some(false), 160, 90)
    );
    let unlimited = fixture.owner.relay(&without_limits).await.unwrap();
    assert_eq!(codes(&unlimited.issues), []);
    fixture.end().await;
}

#[tokio::test]
async fn the_edge_checks_a_destination() {
    let fixture = Fixture::start().await;
    let (platform, destination) = fixture.destination("platform").await;
    let refused = format!("rtmp://{}:1936/app", platform.sandbox.host);
    let refused = fixture.destination_at(&refused).await;
    let check = async |destination: &pb::Destination| {
        let request = pb::CheckDestinationRequest {
            destination_id: destination.id.clone(),
        };
        let client = &fixture.owner.client.project;
        // The edge may not have connected yet.
        wait_for("the destination is checked", async || {
            let answer = client.clone().check_destination(request.clone()).await;
            answer.ok().map(tonic::Response::into_inner)
        })
        .await
    };
    let answer = check(&destination).await;
    assert!(answer.is_reachable, "{answer:?}");
    let steps: Vec<_> = answer.results.iter().map(|result| result.step()).collect();
    assert_eq!(
        steps,
        [
            Step::Name,
            Step::Address,
            Step::Tcp,
            Step::Rtmp,
            Step::Application
        ]
    );
    assert_eq!(platform.publishes(), 0);

    let answer = check(&refused).await;
    assert!(!answer.is_reachable, "{answer:?}");
    let last = answer.results.last().unwrap();
    assert_eq!((last.step(), last.outcome()), (Step::Tcp, Outcome::Failed));
    assert!(
        !format!("{answer:?}").contains(&platform.sandbox.host),
        "{answer:?}"
    );
    fixture.end().await;
}
