use std::time::Duration;

use anyhow::ensure;
use sluice::proto::v1 as pb;
use tokio::time::Instant;

use crate::{
    board::Board,
    project_watch::{Observed, ProjectWatch},
    stage::{Platform, Stage},
};

/// The timeout of each step.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// The shortest time of publishing.
const MIN_PUBLISH_TIME: Duration = Duration::from_secs(12);

/// The video that each destination must record, in seconds.
const MIN_RECORDED_SECONDS: f64 = 5.0;

/// Starts everything, publishes, and ends everything.
pub async fn run() -> anyhow::Result<()> {
    println!("starting a control plane, nginx-rtmp, an edge and two destinations");
    let stage = Stage::start().await?;
    for line in stage.addresses() {
        println!("  {line}");
    }
    if let Err(error) = play(&stage).await {
        eprintln!("{}", stage.last_log_lines().join("\n"));
        return Err(error);
    }
    stage.end().await?;
    println!("everything ended as expected");
    Ok(())
}

async fn play(stage: &Stage) -> anyhow::Result<()> {
    let Stage {
        account, platforms, ..
    } = stage;
    let names = platforms.iter();
    let names = names.map(|platform| (platform.destination_id.clone(), platform.name));
    let mut board = Board::new(names.collect());
    let mut watch = ProjectWatch::start(account).await?;

    board.print("publishing a test picture");
    let (mut publisher, begun) = (stage.publish()?, Instant::now());
    let live = async |observed: &Observed| {
        ensure!(publisher.ended().is_none(), "the publisher was refused");
        Ok(is_sent_everywhere(observed, platforms))
    };
    let what = "the stream is live, and sent to both destinations";
    watch
        .until(what, STEP_TIMEOUT, account, &mut board, live)
        .await?;

    let enough = async |_: &Observed| {
        Ok(begun.elapsed() > MIN_PUBLISH_TIME && all_have(platforms, MIN_RECORDED_SECONDS).await?)
    };
    let what = "both destinations have 5 s of video";
    watch
        .until(what, STEP_TIMEOUT, account, &mut board, enough)
        .await?;

    board.print("ending the publisher");
    publisher.end().await?;
    let ended = async |observed: &Observed| Ok(observed.state() == pb::StreamState::Ended);
    let what = "the stream has ended";
    watch
        .until(what, STEP_TIMEOUT, account, &mut board, ended)
        .await?;
    let reason = watch
        .observed
        .stream
        .map_or(pb::EndReason::Unspecified, |stream| stream.end_reason());
    let reason = reason.as_str_name();
    ensure!(
        reason == "END_REASON_PUBLISHER_ENDED",
        "another end reason: {reason}"
    );

    check_recordings(platforms).await
}

fn is_sent_everywhere(observed: &Observed, platforms: &[Platform]) -> bool {
    let is_sent = |platform: &Platform| {
        observed.relay_state(&platform.destination_id) == pb::RelayState::Broadcasting
    };
    observed.state() == pb::StreamState::Live && platforms.iter().all(is_sent)
}

async fn all_have(platforms: &[Platform], seconds: f64) -> anyhow::Result<bool> {
    for platform in platforms {
        // A recording may not be readable yet.
        if platform.destination.seconds().await.unwrap_or(0.0) < seconds {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Prints and checks the length of the recordings.
async fn check_recordings(platforms: &[Platform]) -> anyhow::Result<()> {
    for platform in platforms {
        let (name, seconds) = (platform.name, platform.destination.seconds().await?);
        println!("  {name} has recorded {seconds:.1} s of video");
        ensure!(
            seconds >= MIN_RECORDED_SECONDS,
            "{name} has less than {MIN_RECORDED_SECONDS} s"
        );
    }
    Ok(())
}
