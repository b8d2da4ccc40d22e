//! How fast relays start, resume and end, and what they cost.
//!
//! `tests/run bench --bench relays` runs the real `sluice serve` and `sluice edge` with
//! nginx-rtmp and ffmpeg. A publisher with 6 Mbit/s and a keyframe every 2 seconds is sent to
//! a destination behind a proxy, and at last to 50 destinations. Each time is the median of 5,
//! from the time stamps of the server or seen with an error of 10 ms. It prints a line for
//! each goal: met, or MISSED. With `--profile dev` before `--bench` it needs no release build.
//! An argument after `--` is the path of another `sluice` to measure.

mod figures;
#[path = "../../tests/media/mod.rs"]
mod media;
mod owner;
mod source;

use std::{env, fs, path::Path, time::Duration};

use anyhow::{Context, ensure};
use figures::Figure;
use media::{ControlPlane, Destination, Edge, HOOKS_SECRET, Nginx, Proxy, Publisher, Sandbox};
use owner::{Owner, wait_for};
use sluice::proto::v1::{
    self as pb,
    RelayState::{Broadcasting, Retrying, Stalled, Starting},
};
use source::Source;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

const ROUNDS: usize = 5;

/// The age from which on a lost connection is replaced, with a margin. nginx-rtmp names
/// recordings by the second.
const PROVEN_AGE: Duration = Duration::from_secs(12);

/// The destinations of the last measurement, and how long it takes.
const DESTINATIONS: usize = 50;
const LOAD_TIME: Duration = Duration::from_secs(30);

/// A tick of the kernel's CPU accounting, in seconds.
const TICK: f64 = 0.01;

/// The programs, and an owner with a project.
struct Scene {
    owner: Owner,
    source: Source,
    nginx: Nginx,
    edge: Edge,
    platform: Destination,
    proxy: Proxy,
    _control: ControlPlane,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let mut scene = Scene::start(folder.path()).await?;
    Figure::print_head();
    let destination = scene
        .owner
        .destination(&scene.proxy.url(), "behind-the-proxy")
        .await?;
    scene.starts_and_stops().await?;
    scene.republishes().await?;
    scene.drops().await?;
    let stalled = "back to BROADCASTING after the network was cut: STALLED";
    scene
        .recovers(stalled, |relay| relay.state() == Stalled)
        .await?;
    let retried = "back to BROADCASTING after the network was cut: retried";
    scene
        .recovers(retried, |relay| {
            // RETRYING lasts only until the next try.
            relay.attempt > 0 && matches!(relay.state(), Retrying | Starting)
        })
        .await?;
    scene.ends(&destination).await?;
    scene.owner.delete_destination(&destination).await?;
    scene.load().await?;
    scene.edge.end().await
}

impl Scene {
    async fn start(folder: &Path) -> anyhow::Result<Self> {
        let mut arguments = env::args().skip(1);
        let program = arguments.find(|argument| !argument.starts_with("--"));
        let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_sluice").to_owned());
        let program = Path::new(&program);
        let sandbox = |name| Sandbox::new(folder, name);
        let control = ControlPlane::start(program, sandbox("control")?).await?;
        let api_key = control.create_api_key().await?;
        let nginx = Nginx::start(sandbox("nginx")?, HOOKS_SECRET).await?;
        let edge = Edge::start(program, &nginx, &control, api_key).await?;
        let platform = Destination::start(sandbox("platform")?).await?;
        let proxy = Proxy::start(&sandbox("proxy")?, &platform.sandbox).await?;
        Ok(Self {
            owner: Owner::new(control.channel()?).await?,
            source: Source::encode(folder).await?,
            nginx,
            edge,
            platform,
            proxy,
            _control: control,
        })
    }

    fn publish(&self) -> anyhow::Result<Publisher> {
        let url = format!("{}/{}", self.nginx.ingest(), self.owner.key);
        self.source.publish(&url)
    }

    /// Publishes, and waits until the relay broadcasts.
    async fn broadcast(&self) -> anyhow::Result<(Publisher, pb::Stream, pb::Relay)> {
        let publisher = self.publish()?;
        let stream = self.owner.live(1).await?;
        let mut relays = self.owner.relays_are(&stream, Broadcasting, 1).await?;
        Ok((publisher, stream, relays.remove(0)))
    }

    /// Stops a stream, and waits until nothing of it runs.
    async fn stop(&self, publisher: &mut Publisher, stream: &pb::Stream) -> anyhow::Result<()> {
        self.owner.stop_stream(stream).await?;
        wait_for("nothing is connected", async || {
            let is_over = publisher.ended().is_some() && self.proxy.open() == 0;
            Ok(is_over.then_some(()))
        })
        .await
    }

    async fn starts_and_stops(&self) -> anyhow::Result<()> {
        let mut starts = Figure::new("LIVE to BROADCASTING", 1.0, "s");
        let mut stops = Figure::new("StopStream to disconnect", 2.0, "s");
        for _ in 0..ROUNDS {
            let (mut publisher, stream, relay) = self.broadcast().await?;
            starts.add(seconds(relay.update_time)? - seconds(stream.live_time)?);
            sleep(Duration::from_secs(2)).await;
            let begin = Instant::now();
            self.stop(&mut publisher, &stream).await?;
            stops.add(begin.elapsed().as_secs_f64());
            self.owner.ended().await?;
        }
        starts.print();
        stops.print();
        Ok(())
    }

    async fn republishes(&self) -> anyhow::Result<()> {
        let mut figure = Figure::new("LIVE to BROADCASTING after a republish", 1.0, "s");
        let (mut publisher, stream, _) = self.broadcast().await?;
        for epoch in 2..=1 + i64::try_from(ROUNDS)? {
            sleep(Duration::from_secs(3)).await;
            publisher.kill().await?;
            publisher = self.publish()?;
            self.owner.live(epoch).await?;
            let begin = Instant::now();
            self.owner.relays_are(&stream, Broadcasting, 1).await?;
            figure.add(begin.elapsed().as_secs_f64());
        }
        self.stop(&mut publisher, &stream).await?;
        self.owner.ended().await?;
        figure.print();
        Ok(())
    }

    async fn drops(&self) -> anyhow::Result<()> {
        let mut figure = Figure::new("media lost when the destination drops", 1.0, "s");
        let (mut publisher, stream, _) = self.broadcast().await?;
        for _ in 0..ROUNDS {
            let begun = self.platform.publishes() + 1;
            sleep(PROVEN_AGE).await;
            let before = self.platform.recordings();
            let before = before.last().context("a recording")?.clone();
            self.proxy.reset();
            wait_for("it is published again", async || {
                Ok((self.platform.publishes() == begun).then_some(()))
            })
            .await?;
            sleep(Duration::from_secs(3)).await;
            let after = self.platform.recordings();
            let after = after.last().context("a recording")?;
            figure.add(self.source.missing(&before, after).await?);
        }
        self.stop(&mut publisher, &stream).await?;
        self.owner.ended().await?;
        figure.print();
        Ok(())
    }

    /// Cuts the connection without a close, and carries new ones when the relay is so far.
    async fn recovers(
        &self,
        name: &'static str,
        is_so_far: impl Fn(&pb::Relay) -> bool,
    ) -> anyhow::Result<()> {
        let mut figure = Figure::new(name, 1.0, "s");
        let (mut publisher, stream, _) = self.broadcast().await?;
        for round in 0..ROUNDS {
            sleep(PROVEN_AGE).await;
            self.proxy.cut()?;
            self.owner.relays_match(&stream, &is_so_far, 1).await?;
            // At different times after the last attempt.
            sleep(Duration::from_millis(300 * round as u64)).await;
            self.proxy.restore()?;
            let begin = Instant::now();
            self.owner.relays_are(&stream, Broadcasting, 1).await?;
            figure.add(begin.elapsed().as_secs_f64());
        }
        self.stop(&mut publisher, &stream).await?;
        self.owner.ended().await?;
        figure.print();
        Ok(())
    }

    /// Ends the relay with `deleteStream`.
    async fn ends(&self, destination: &str) -> anyhow::Result<()> {
        let mut figure = Figure::new("StopRelay to deleteStream and close", 1.0, "s");
        for _ in 0..ROUNDS {
            let (mut publisher, stream, _) = self.broadcast().await?;
            sleep(Duration::from_secs(2)).await;
            let (begin, deletes) = (Instant::now(), self.proxy.deletes());
            self.owner.stop_relay(&stream, destination).await?;
            wait_for("it is closed", async || {
                Ok((self.proxy.open() == 0).then_some(()))
            })
            .await?;
            figure.add(begin.elapsed().as_secs_f64());
            ensure!(self.proxy.deletes() == deletes + 1, "no deleteStream");
            self.stop(&mut publisher, &stream).await?;
            self.owner.ended().await?;
        }
        figure.print();
        Ok(())
    }

    /// All destinations at once.
    async fn load(&self) -> anyhow::Result<()> {
        let mut cpu = Figure::new("50 destinations: CPU of the edge", 10.0, "% of a core");
        let mut memory = Figure::new("50 destinations: memory of the edge", 60.0, "MB");
        for number in 0..DESTINATIONS {
            let key = format!("destination-{number}");
            self.owner
                .destination(&self.platform.unrecorded_url(), &key)
                .await?;
        }
        let mut publisher = self.publish()?;
        let stream = self.owner.live(1).await?;
        let sends = async || {
            let relays = self.owner.relays_are(&stream, Broadcasting, DESTINATIONS);
            anyhow::Ok(
                relays
                    .await?
                    .iter()
                    .map(|relay| relay.bytes_sent)
                    .sum::<i64>(),
            )
        };
        sends().await?;
        // Buffers fill.
        sleep(Duration::from_secs(5)).await;
        let edge = self.edge.id().context("the edge runs")?;
        let (begin, used, before) = (Instant::now(), cpu_seconds(edge)?, sends().await?);
        sleep(LOAD_TIME).await;
        let elapsed = begin.elapsed().as_secs_f64();
        cpu.add((cpu_seconds(edge)? - used) / elapsed * 100.0);
        memory.add(resident_bytes(edge)? / 1e6);
        let sent = (sends().await? - before) as f64 * 8.0 / elapsed / 1e6;
        self.stop(&mut publisher, &stream).await?;
        cpu.print();
        memory.print();
        println!("\nThe {DESTINATIONS} destinations acknowledged {sent:.0} Mbit/s.");
        Ok(())
    }
}

fn seconds(time: Option<prost_types::Timestamp>) -> anyhow::Result<f64> {
    let time = time.context("a time is absent")?;
    Ok(time.seconds as f64 + f64::from(time.nanos) / 1e9)
}

/// The CPU time of a process.
fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("no name")?;
    let ticks = fields.split(' ').skip(11).take(2);
    let ticks: u32 = ticks.filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
    Ok(f64::from(ticks) * TICK)
}

fn resident_bytes(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.context("no memory")?.parse::<f64>()? * 1024.0)
}
