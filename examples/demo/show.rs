use std::time::Duration;

use anyhow::ensure;
use sluice::proto::v1 as pb;
use tokio::time::Instant;

use crate::{
    board::Board,
    stage::{Platform, Stage},
    watching::{Seen, Watch},
};

/// How long each step may take.
const STEP: Duration = Duration::from_secs(60);

/// For how long is published, at least.
const SHOW: Duration = Duration::from_secs(12);

/// Seconds of video that each destination must have.
const ENOUGH: f64 = 5.0;

/// Starts everything, shows it, and ends it.
pub async fn run() -> anyhow::Result<()> {
    println!("starting a control plane, nginx-rtmp, an edge and two destinations");
    let stage = Stage::start().await?;
    for line in stage.addresses() {
        println!("  {line}");
    }
    if let Err(fault) = play(&stage).await {
        eprintln!("{}", stage.last_words().join("\n"));
        return Err(fault);
    }
    stage.end().await?;
    println!("everything has ended as it should");
    Ok(())
}

async fn play(stage: &Stage) -> anyhow::Result<()> {
    let Stage {
        account, platforms, ..
    } = stage;
    let names = platforms.iter();
    let names = names.map(|platform| (platform.destination_id.clone(), platform.name));
    let mut board = Board::new(names.collect());
    let mut watch = Watch::of(account).await?;

    board.say("publishing a test picture");
    let (mut picture, begun) = (stage.publish()?, Instant::now());
    let live = async |seen: &Seen| {
        ensure!(picture.ended().is_none(), "the publisher was refused");
        Ok(is_sent_everywhere(seen, platforms))
    };
    let what = "the stream is live, and sent to both destinations";
    watch.until(what, STEP, account, &mut board, live).await?;

    let enough = async |_: &Seen| Ok(begun.elapsed() > SHOW && all_have(platforms, ENOUGH).await?);
    let what = "both destinations have 5 s of video";
    watch.until(what, STEP, account, &mut board, enough).await?;

    board.say("ending the publisher");
    picture.end().await?;
    let ended = async |seen: &Seen| Ok(seen.status() == pb::StreamStatus::Ended);
    let what = "the stream has ended";
    watch.until(what, STEP, account, &mut board, ended).await?;
    let reason = watch
        .seen
        .stream
        .map_or(pb::EndReason::Unspecified, |stream| stream.end_reason());
    let reason = reason.as_str_name();
    ensure!(
        reason == "END_REASON_PUBLISHER_ENDED",
        "it ended otherwise: {reason}"
    );

    judge(platforms).await
}

fn is_sent_everywhere(seen: &Seen, platforms: &[Platform]) -> bool {
    let is_sent = |platform: &Platform| {
        seen.relay_state(&platform.destination_id) == pb::RelayState::Broadcasting
    };
    seen.status() == pb::StreamStatus::Live && platforms.iter().all(is_sent)
}

async fn all_have(platforms: &[Platform], seconds: f64) -> anyhow::Result<bool> {
    for platform in platforms {
        // What is being written may not be readable yet.
        if platform.destination.seconds().await.unwrap_or(0.0) < seconds {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Says what the destinations have recorded.
async fn judge(platforms: &[Platform]) -> anyhow::Result<()> {
    for platform in platforms {
        let (name, seconds) = (platform.name, platform.destination.seconds().await?);
        println!("  {name} has recorded {seconds:.1} s of video");
        ensure!(seconds >= ENOUGH, "{name} has less than {ENOUGH} s");
    }
    Ok(())
}
