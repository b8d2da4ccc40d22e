//! How fast does an edge answer hooks while it runs relays?
//!
//! `tests/run bench --bench hooks` publishes two test pictures to nginx-rtmp, sends each to
//! ten destinations, and calls the hooks of the edge 200 times a second beside that, each
//! on a connection of its own as nginx-rtmp does: of 20 calls 18 say that a real publisher
//! stands, one that somebody wants to publish and one that he has stopped. It prints how
//! long the answers took, from the moment at which a call was due.

mod account;

mod caller;
#[path = "../../tests/media/mod.rs"]
mod media;

use std::{path::Path, time::Duration};

use account::Account;
use anyhow::{Context, ensure};
use caller::{Call, Caller};
use hdrhistogram::Histogram;
use media::{ControlPlane, Destination, Edge, HOOKS_SECRET, Nginx, Picture, Place};
use tempfile::TempDir;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

/// Hooks a second.
const RATE: u32 = 200;

/// For how long.
const SPAN: Duration = Duration::from_secs(30);

/// Real publishers, and the relays of each.
const PUBLISHERS: usize = 2;
const RELAYS: usize = 10;

/// Projects whose publishers only come and go.
const VISITORS: usize = 40;

/// How long everything may take to run.
const READY: Duration = Duration::from_secs(120);

/// How long the answers to one kind of hook took, in microseconds.
struct Times {
    call: Call,
    times: Histogram<u64>,
    wrong: u32,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let program = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let folder = TempDir::new()?;
    let place = |name| Place::new(folder.path(), name);
    let control = ControlPlane::start(program, place("control")?).await?;
    let api_key = control.operators_key().await?;
    let nginx = Nginx::start(place("nginx")?, HOOKS_SECRET).await?;
    let mut edge = Edge::start(program, &nginx, &control, api_key).await?;
    let platform = Destination::start(place("platform")?).await?;

    let account = Account::new(control.channel()?).await?;
    let mut pictures = Vec::new();
    // One after the other: nginx-rtmp numbers them in this order.
    for number in 1..=PUBLISHERS {
        let key = account.project(&platform.url(), RELAYS).await?;
        pictures.push(Picture::publish(&format!("{}/{key}", nginx.ingest()))?);
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
        "relays that sent before: all; after it: {} of {}; {} KiB came to their destinations",
        account.broadcasting().await?,
        PUBLISHERS * RELAYS,
        sent / 1024,
    );
    drop(pictures);
    edge.end().await
}

/// Waits until so many relays send.
async fn all_run(account: &Account, count: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY;
    while account.broadcasting().await? < count {
        ensure!(Instant::now() < deadline, "not all relays run");
        sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// Calls at a steady rate, however long the answers take.
async fn measure(mut caller: Caller) -> anyhow::Result<Vec<Times>> {
    let mut times = Vec::new();
    for call in [Call::Update, Call::Publish, Call::PublishDone] {
        times.push(Times::new(call)?);
    }
    let mut answers = JoinSet::new();
    let mut ticks = interval(Duration::from_secs(1) / RATE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in 0..RATE * u32::try_from(SPAN.as_secs())? {
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

impl Times {
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

fn print(kinds: &[Times]) {
    println!(
        "{RATE} hooks a second for {SPAN:?}, {PUBLISHERS} publishers with {RELAYS} relays each"
    );
    println!(
        "{:<16} {:>7} {:>6} {:>11} {:>11} {:>11}",
        "hook", "calls", "wrong", "p50", "p99", "max"
    );
    let Ok(mut all) = Times::new(Call::Update) else {
        return;
    };
    for kind in kinds {
        kind.print(kind.call.name());
        // They are of one shape.
        let _ = all.times.add(&kind.times);
        all.wrong += kind.wrong;
    }
    all.print("all");
}
