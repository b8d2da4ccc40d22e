//! The latency of the edge's hooks while it runs relays.
//!
//! `tests/run bench --bench hooks` publishes two test pictures to nginx-rtmp and sends each
//! to ten destinations. Meanwhile it calls the hooks of the edge 200 times a second, each on
//! a new connection as nginx-rtmp does. Of 20 calls, 18 are updates of a real publisher, one
//! begins a publish and one ends it. It prints the latencies from the time at which a call
//! was due.

mod account;

mod caller;
#[path = "../../tests/media/mod.rs"]
mod media;

use std::{path::Path, time::Duration};

use account::Account;
use anyhow::{Context, ensure};
use caller::{Call, Caller};
use hdrhistogram::Histogram;
use media::{ControlPlane, Destination, Edge, HOOKS_SECRET, Nginx, Publisher, Sandbox};
use tempfile::TempDir;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

/// Hooks per second.
const HOOK_RATE: u32 = 200;

/// The duration of the measurement.
const MEASURE_TIME: Duration = Duration::from_secs(30);

/// Publishers with media, and the relays of each.
const PUBLISHERS: usize = 2;
const RELAYS: usize = 10;

/// Projects for publishers that only connect and disconnect.
const VISITORS: usize = 40;

/// The timeout until all relays send.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// The latencies of one kind of hook, in microseconds.
struct Latencies {
    call: Call,
    times: Histogram<u64>,
    wrong: u32,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let program = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let folder = TempDir::new()?;
    let sandbox = |name| Sandbox::new(folder.path(), name);
    let control = ControlPlane::start(program, sandbox("control")?).await?;
    let api_key = control.create_api_key().await?;
    let nginx = Nginx::start(sandbox("nginx")?, HOOKS_SECRET).await?;
    let mut edge = Edge::start(program, &nginx, &control, api_key).await?;
    let platform = Destination::start(sandbox("platform")?).await?;

    let account = Account::new(control.channel()?).await?;
    let mut publishers = Vec::new();
    // One after another: nginx-rtmp numbers them in this order.
    for number in 1..=PUBLISHERS {
        let key = account.project(&platform.url(), RELAYS).await?;
        publishers.push(Publisher::start(&format!("{}/{key}", nginx.ingest()))?);
        all_run(&account, number * RELAYS).await?;
    }
    let mut visitors = Vec::new();
    for _ in 0..VISITORS {
        visitors.push(account.project("", 0).await?);
    }

    let caller = Caller::new(&nginx, &account.keys(), visitors).await?;
    let before = platform.recorded();
    let times = measure(caller).await?;
    let sent = platform.recorded() - before;
    print(&times);
    println!(
        "relays that send before: all; afterwards: {} of {}; {} KiB received by destinations",
        account.broadcasting().await?,
        PUBLISHERS * RELAYS,
        sent / 1024,
    );
    drop(publishers);
    edge.end().await
}

/// Waits until this number of relays send.
async fn all_run(account: &Account, count: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + START_TIMEOUT;
    while account.broadcasting().await? < count {
        ensure!(Instant::now() < deadline, "not all relays run");
        sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// Calls at a steady rate, whatever the latencies.
async fn measure(mut caller: Caller) -> anyhow::Result<Vec<Latencies>> {
    let mut times = Vec::new();
    for call in [Call::Update, Call::Publish, Call::PublishDone] {
        times.push(Latencies::new(call)?);
    }
    let mut answers = JoinSet::new();
    let mut ticks = interval(Duration::from_secs(1) / HOOK_RATE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in 0..HOOK_RATE * u32::try_from(MEASURE_TIME.as_secs())? {
        let due = ticks.tick().await;
        let (call, hook) = caller.next(number);
        answers.spawn(async move {
            let is_right = hook.send().await;
            (call, is_right.unwrap_or(false), due.elapsed())
        });
    }
    while let Some(answer) = answers.join_next().await {
        let (call, is_right, time) = answer?;
        let kind = times.iter_mut().find(|kind| kind.call == call);
        let kind = kind.context("each call is of a kind")?;
        kind.times.record(u64::try_from(time.as_micros())?.max(1))?;
        kind.wrong += u32::from(!is_right);
    }
    Ok(times)
}

impl Latencies {
    fn new(call: Call) -> anyhow::Result<Self> {
        Ok(Self {
            call,
            times: Histogram::new(3)?,
            wrong: 0,
        })
    }

    fn print(&self, name: &str) {
        let Self { times, wrong, .. } = self;
        let millis = |micros: u64| Duration::from_micros(micros).as_secs_f64() * 1000.0;
        println!(
            "{name:<16} {:>7} {wrong:>6} {:>8.2} ms {:>8.2} ms {:>8.2} ms",
            times.len(),
            millis(times.value_at_quantile(0.5)),
            millis(times.value_at_quantile(0.99)),
            millis(times.max()),
        );
    }
}

fn print(kinds: &[Latencies]) {
    println!(
        "{HOOK_RATE} hooks a second for {MEASURE_TIME:?}, {PUBLISHERS} publishers with {RELAYS} relays each"
    );
    println!(
        "{:<16} {:>7} {:>6} {:>11} {:>11} {:>11}",
        "hook", "calls", "wrong", "p50", "p99", "max"
    );
    let Ok(mut all) = Latencies::new(Call::Update) else {
        return;
    };
    for kind in kinds {
        kind.print(kind.call.name());
        // Cannot fail: the histograms have the same bounds.
        let _ = all.times.add(&kind.times);
        all.wrong += kind.wrong;
    }
    all.print("all");
}
