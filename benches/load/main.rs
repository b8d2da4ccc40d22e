//! Throughput and cost per call, compared with the limits of the machine.
//!
//! `tests/run bench --bench load` (or `make bench`) runs the real server on a new database
//! of a durable PostgreSQL, and its callers on the same machine. It compares the server
//! with minimal servers, `pgbench` with the same SQL, and plain bcrypt. Each comparison
//! interleaves its rounds within one run and prints the median round. Arguments after `--`
//! select scenarios. `SLUICE_BENCH_SECONDS` is the duration of a round (3), and
//! `SLUICE_BENCH_ROUNDS` the number of rounds (5).
//!
//! `SLUICE_BENCH_BASELINE` names another `sluice` to compare with, for example of an earlier
//! commit. Its rounds alternate with those of this build, on a database of its own, and the medians
//! of the ratios are printed.

mod attacks;
mod bare;
mod caller;
mod comparison;
mod figures;
mod layered;
mod machine;
mod media_servers;
mod scenarios;
mod servers;
mod statements;
mod users;

use std::env;

use scenarios::Scenarios;
use servers::Bench;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new()?;
    if let [bare, kind] = &*arguments
        && bare == "--bare"
    {
        return match &**kind {
            "layered" => runtime.block_on(layered::serve()),
            kind => runtime.block_on(bare::serve(kind)),
        };
    }
    raise_file_limit()?;
    let named = arguments.into_iter().filter(|name| !name.starts_with("--"));
    runtime.block_on(async {
        let bench = Bench::begin().await?;
        let measured = Scenarios::of(&bench, named.collect()).run().await;
        bench.end().await?;
        measured
    })
}

/// Raises the limit of open files: each connection has two sockets here.
fn raise_file_limit() -> anyhow::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
