//! What attackers who hold resources cost others.
//!
//! `tests/run bench --bench attacks` runs the real server with its default settings, on a new
//! SQLite and on a new PostgreSQL database. Fifty media servers send heartbeats and users
//! sign in, first alone and then during each attack. The attackers have addresses of their
//! own (127.0.0.2 and up). It prints the successful calls, the 99th percentile compared with
//! the quiet time, the peak of the resident memory, and how long the connections of the
//! attackers stayed. Arguments after `--` select attacks by a part of their name.

mod attack;
mod callers;
mod server;

use std::{env, time::Duration};

use attack::{ATTACKS, Attack};
use callers::{Callers, Figures};
use server::Server;

/// How long the callers are measured: longer than the attackers may stay.
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
    let is_selected =
        |attack: &&Attack| names.is_empty() || names.iter().any(|name| attack.name.contains(name));
    tokio::runtime::Runtime::new()?.block_on(async {
        for engine in ["SQLite", "PostgreSQL"] {
            for attack in ATTACKS.iter().filter(is_selected) {
                measure(engine, attack).await?;
            }
        }
        Ok(())
    })
}

async fn measure(engine: &str, attack: &Attack) -> anyhow::Result<()> {
    let server = Server::start(engine).await?;
    let callers = Callers::start(&server).await?;
    let target = callers.target(&server).await?;
    let quiet = callers.measure(Duration::from_secs(10)).await?;
    let memory = server.watch_memory();
    let (during, stays) = tokio::join!(callers.measure(MEASURED), attack.run(&target, MEASURED));
    let (during, peak) = (during?, memory.await?);

    println!("\n{engine}, {}", attack.name);
    for (name, quiet, during) in [
        ("heartbeats", &quiet.heartbeats, &during.heartbeats),
        ("sign-ins", &quiet.sign_ins, &during.sign_ins),
    ] {
        print_calls(name, quiet, during);
    }
    let stayed = stays.iter().flatten().max().copied().unwrap_or_default();
    let open = stays.iter().filter(|stay| stay.is_none()).count();
    let verdict = |is_met| if is_met { "met" } else { "MISSED" };
    println!(
        "  peak memory {peak} MiB (goal {MAX_MEMORY_MIB}: {})",
        verdict(peak < MAX_MEMORY_MIB)
    );
    println!(
        "  {} connections, {open} still open, the others closed after at most {:.1} s",
        stays.len(),
        stayed.as_secs_f64(),
    );
    if attack.holds {
        let is_met = stayed < MAX_STAY && open == 0;
        println!(
            "  all closed within {} s: {}",
            MAX_STAY.as_secs(),
            verdict(is_met)
        );
    }
    server.stop().await
}

fn print_calls(name: &str, quiet: &Figures, during: &Figures) {
    let slowdown = during.p99() / quiet.p99().max(0.001);
    let is_met = during.failed == 0 && slowdown < MAX_SLOWDOWN;
    println!(
        "  {name:<10} {} of {} succeeded, p99 {:.1} ms, {slowdown:.1} times quiet (goal {MAX_SLOWDOWN}: {})",
        during.times.len(),
        during.times.len() + during.failed,
        during.p99(),
        if is_met { "met" } else { "MISSED" },
    );
}

/// Raises the limit of open files: an attack has thousands of connections.
fn raise_file_limit() -> anyhow::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
