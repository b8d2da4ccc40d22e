//! How much can be carried, and what it costs, beside what the machine gives at most.
//!
//! `tests/run bench --bench load` (or `make bench`) runs the real server on a new
//! database of a durable PostgreSQL, the callers and the ceilings all on this
//! machine: servers that do nothing but what they must, `pgbench` with the same SQL,
//! bcrypt by itself. Each comparison is made within one run, round by round, and the
//! round in the middle counts. What is named after `--` limits it to some scenarios;
//! `SLUICE_BENCH_SECONDS` is how long each is measured (5), `SLUICE_BENCH_ROUNDS` how
//! often (3).

mod attacks;
mod bare;
mod caller;
mod figures;
mod layered;
mod machine;
mod scenarios;
mod servers;
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

/// A socket is a file on both sides.
fn raise_file_limit() -> anyhow::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
