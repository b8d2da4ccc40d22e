//! What attackers who hold resources cost others.
//!
//! `tests/run bench --bench attacks` runs the real server with its default settings, on a new
//! SQLite and on a new PostgreSQL database. Fifty media servers send heartbeats and users
//! sign in, first alone and then during each attack. The users have addresses of their own
//! (127.0.1.1 and up), which no limit exempts, and connect again from time to time. The attackers are a process of their own
//! with the lowest priority, because they share the processor with the server and the
//! callers, and have addresses of their own (127.0.0.2 and up). It prints a line for each
//! attack: the calls that succeeded, the 99th percentile of their latency in the quiet time
//! and during the attack, the peak of the server's resident memory, and how long the
//! connections of the attackers stayed. Arguments after `--` select attacks by a part of
//! their name, and engines (`SQLite`, `PostgreSQL`).

mod attack;
mod attackers;
mod callers;
#[expect(dead_code, reason = "another benchmark uses more of it")]
mod server;

use std::{env, time::Duration};

use attack::{ATTACKS, Attack};
use callers::{Callers, Figures};
use server::Server;

const ENGINES: [&str; 2] = ["SQLite", "PostgreSQL"];

/// How long the callers are measured without an attack.
const QUIET: Duration = Duration::from_secs(15);

/// How long they are measured during one: longer than the attackers may stay.
const MEASURED: Duration = Duration::from_secs(25);

/// The goals.
const MAX_SLOWDOWN: f64 = 3.0;
const MAX_MEMORY_MIB: u64 = 256;
const MAX_STAY: Duration = Duration::from_secs(15);

fn main() -> anyhow::Result<()> {
    raise_file_limit()?;
    let names: Vec<_> = env::args()
        .skip(1)
        .filter(|name| !name.starts_with("--"))
        .collect();
    if names.iter().any(|name| name == attackers::ARGUMENT) {
        return attackers::run();
    }
    let (engines, attacks) = names
        .iter()
        .map(String::as_str)
        .partition(|name| ENGINES.contains(name));
    tokio::runtime::Runtime::new()?.block_on(measure_all(engines, attacks))
}

async fn measure_all(engines: Vec<&str>, attacks: Vec<&str>) -> anyhow::Result<()> {
    println!(
        "| engine | attack | heartbeats | p99 quiet, attacked | sign-ins | p99 quiet, attacked \
         | peak memory | last connection closed | goals |"
    );
    println!("|{}", "---|".repeat(9));
    for engine in ENGINES {
        if !engines.is_empty() && !engines.contains(&engine) {
            continue;
        }
        for attack in &ATTACKS {
            if attacks.is_empty() || attacks.iter().any(|name| attack.name.contains(name)) {
                measure(engine, attack).await?;
            }
        }
    }
    Ok(())
}

async fn measure(engine: &str, attack: &Attack) -> anyhow::Result<()> {
    let server = Server::start(engine, &[]).await?;
    let callers = Callers::start(&server).await?;
    let target = callers.target(&server).await?;
    let quiet = callers.measure(QUIET).await?;
    server.reset_peak_memory()?;
    let (during, stays) = tokio::join!(
        callers.measure(MEASURED),
        attackers::start(attack, &target, MEASURED)
    );
    let (during, stays) = (during?, stays?);
    let peak = server.peak_memory()?;

    let heartbeats = Compared::new(&quiet.heartbeats, &during.heartbeats);
    let sign_ins = Compared::new(&quiet.sign_ins, &during.sign_ins);
    let stayed = stays.iter().flatten().max().copied().unwrap_or_default();
    let open = stays.iter().filter(|stay| stay.is_none()).count();
    let goals = [
        ("heartbeats", heartbeats.is_met()),
        ("sign-ins", sign_ins.is_met()),
        ("memory", peak < MAX_MEMORY_MIB),
        ("closing", !attack.holds || stayed < MAX_STAY && open == 0),
    ];
    let missed: Vec<_> = goals
        .iter()
        .filter(|goal| !goal.1)
        .map(|goal| goal.0)
        .collect();
    let verdict = match missed.is_empty() {
        true => "met".to_owned(),
        false => format!("MISSED: {}", missed.join(", ")),
    };
    println!(
        "| {engine} | {} | {heartbeats} | {sign_ins} | {peak} MiB | {:.1} s, {open} of {} open | {verdict} |",
        attack.name,
        stayed.as_secs_f64(),
        stays.len(),
    );
    for (error, times) in during
        .heartbeats
        .failures
        .iter()
        .chain(&during.sign_ins.failures)
    {
        println!("{times} calls failed: {error}");
    }
    server.stop().await
}

/// The calls of one kind, in the quiet time and during an attack.
struct Compared {
    succeeded: usize,
    made: usize,
    quiet_p99: f64,
    p99: f64,
}

impl Compared {
    fn new(quiet: &Figures, during: &Figures) -> Self {
        let succeeded = during.times.len();
        Self {
            succeeded,
            made: succeeded + during.failures.values().sum::<usize>(),
            quiet_p99: quiet.p99(),
            p99: during.p99(),
        }
    }

    fn slowdown(&self) -> f64 {
        self.p99 / self.quiet_p99.max(0.001)
    }

    fn is_met(&self) -> bool {
        self.succeeded == self.made && self.slowdown() < MAX_SLOWDOWN
    }
}

impl std::fmt::Display for Compared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} of {} | {:.1} ms, {:.1} ms ({:.1} times)",
            self.succeeded,
            self.made,
            self.quiet_p99,
            self.p99,
            self.slowdown(),
        )
    }
}

/// Raises the limit of open files: an attack has thousands of connections.
fn raise_file_limit() -> anyhow::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
