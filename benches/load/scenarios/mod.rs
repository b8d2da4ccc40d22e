//! The scenarios.

mod dashboards;
mod hardship;
mod publishing;
mod sqlite;

use std::{env, path::Path, thread, time::Duration};

use tokio::{task::spawn_blocking, time::sleep};

use crate::{
    caller::{Load, connect},
    comparison::{CPU, Comparison, RATE},
    figures::{Figures, median, middle, print_goal, print_head},
    machine::resident,
    servers::{Bench, Program, Storage},
    statements::pgbench,
    users::{Account, accounts},
};

/// The selected scenarios.
pub struct Scenarios<'a> {
    bench: &'a Bench,
    named: Vec<String>,
    time: Duration,
    rounds: usize,
}

/// The users of each side.
pub struct Users(Vec<Vec<Account>>);

impl Users {
    /// The users of this build.
    fn ours(&self) -> &[Account] {
        &self.0[0]
    }

    /// The users of each side.
    fn sides(&self) -> &[Vec<Account>] {
        &self.0
    }
}

/// The scenarios of many users.
const MANY_USERS: [&str; 4] = ["syncs", "dashboards", "destinations", "overload"];

/// The number of users of these scenarios, and of the others.
const USER_COUNT: usize = 1000;
const FEW_USER_COUNT: usize = 100;

/// The default cost of bcrypt.
const BCRYPT_COST: u32 = 10;

impl<'a> Scenarios<'a> {
    /// The scenarios with these names, or all.
    pub fn of(bench: &'a Bench, named: Vec<String>) -> Self {
        let number = |name, default| {
            let number = env::var(name).ok().and_then(|number| number.parse().ok());
            number.unwrap_or(default)
        };
        Self {
            bench,
            named,
            time: Duration::from_secs(number("SLUICE_BENCH_SECONDS", 3)),
            rounds: number("SLUICE_BENCH_ROUNDS", 5) as usize,
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.named.is_empty() || self.named.iter().any(|named| named == name)
    }

    /// Runs the scenarios and prints the table.
    pub async fn run(self) -> anyhow::Result<()> {
        print_head();
        if self.wants("sqlite") {
            self.sqlite().await?;
        }
        if self.named == ["sqlite"] {
            return Ok(());
        }
        let count = match MANY_USERS.iter().any(|name| self.wants(name)) {
            true => USER_COUNT,
            false => FEW_USER_COUNT,
        };
        let mut users = Users(Vec::new());
        for seeding in (self.bench).serve_all(Storage::Postgres, &[("SLUICE_BCRYPT_COST", "4")])? {
            users.0.push(accounts(&seeding, "user", count).await?);
        }
        if self.wants("layers") {
            self.layers(users.ours()).await?;
        }
        if self.wants("reads") {
            self.reads(&users).await?;
        }
        if self.wants("creates") {
            self.creates(&users).await?;
        }
        if self.wants("publishes") {
            self.publishes(&users).await?;
        }
        if self.wants("syncs") {
            self.syncs(&users).await?;
        }
        if self.wants("views") {
            self.views(&users).await?;
        }
        if self.wants("dashboards") {
            self.dashboards(&users).await?;
        }
        if self.wants("destinations") {
            self.destinations(&users).await?;
        }
        if self.wants("sign-ins") {
            self.sign_ins(users.ours()).await?;
        }
        if self.wants("overload") {
            self.overload(users.ours()).await?;
        }
        if self.wants("attacks") {
            self.attacks(users.ours()).await?;
        }
        if self.wants("connections") {
            self.connections().await?;
        }
        Ok(())
    }

    /// An echo server with and without the layers of the real server.
    async fn layers(&self, users: &[Account]) -> anyhow::Result<()> {
        let echo = self.bench.bare("echo", 1)?;
        let layered = self.bench.bare("layered", 1)?;
        let readers = users[..64].iter();
        let readers: Vec<_> = readers
            .map(|account| account.reader_with(&layered.token))
            .collect();
        // One connection shows the added latency, 64 connections the lost throughput.
        for (connections, name) in [(1, "bare tonic, echo, 1"), (64, "bare tonic, echo, 64")] {
            let load = Load::of(connections, self.time);
            let (mut bare, mut ours, mut costs) = (vec![], vec![], vec![]);
            for _ in 0..self.rounds {
                let without = Figures::of(&echo, load, &readers[..connections]).await?;
                let with = Figures::of(&layered, load, &readers[..connections]).await?;
                costs.push(without.rate / with.rate - 1.0);
                bare.push(without);
                ours.push(with);
            }
            median(bare).print(name);
            median(ours).print("the same with our layers and the token check");
            let cost = middle(costs);
            match connections {
                1 => print_goal("more time for each call", cost, "0.15", cost < 0.15),
                _ => println!("  more work for each call: {cost:.2}"),
            }
        }
        Ok(())
    }

    /// GetProject compared with a minimal server with the same statement, and an echo.
    async fn reads(&self, users: &Users) -> anyhow::Result<()> {
        let servers = self.bench.serve_all(Storage::Postgres, &[])?;
        let pool_size = 2 * thread::available_parallelism()?.get() as u32 + 1;
        let select = self.bench.bare("select", pool_size)?;
        let echo = self.bench.bare("echo", pool_size)?;
        let bare: Vec<_> = users.ours()[..64]
            .iter()
            .map(Account::bare_reader)
            .collect();
        let echoed = Figures::of(&echo, Load::of(64, self.time), &bare).await?;
        echoed.print("bare tonic, echo, 64 connections");
        for (connections, goal) in [(1, 0.95), (4, 0.95), (16, 0.95), (64, 1.2)] {
            let load = Load::of(connections, self.time);
            let ceiling = async || {
                let read = Figures::of(&select, load, &bare[..connections]).await?;
                Ok(Some(read.rate))
            };
            let sides = servers.iter().zip(users.sides()).map(|(server, users)| {
                let readers = users[..connections].iter().map(Account::reader);
                (server, readers.collect::<Vec<_>>())
            });
            let sides: Vec<_> = sides.collect();
            let compared = Comparison::run(self.rounds, load, &sides, ceiling).await?;
            compared.print_ceiling(&format!("bare tonic and sqlx, one SELECT, {connections}"));
            let ratio = compared.of_ceiling();
            compared.print(&format!("GetProject, {connections}"), &[RATE, CPU]);
            print_goal(
                "of bare tonic and sqlx",
                ratio,
                &goal.to_string(),
                ratio >= goal,
            );
        }
        Ok(())
    }

    /// CreateProject compared with pgbench with the same statements.
    async fn creates(&self, users: &Users) -> anyhow::Result<()> {
        let servers = self.bench.serve_all(Storage::Postgres, &[])?;
        let (url, owner) = (&self.bench.ours().url, &users.ours()[0].user_id);
        let ceiling = async || {
            let (url, owner, time) = (url.clone(), owner.clone(), self.time);
            let running = move || {
                let script = concat!(
                    env!("CARGO_MANIFEST_DIR"),
                    "/benches/load/create_project.sql"
                );
                pgbench(&url, Path::new(script), &[("owner", &owner)], time)
            };
            Ok(Some(spawn_blocking(running).await??))
        };
        let sides = servers.iter().zip(users.sides()).map(|(server, users)| {
            let creators = users[..64].iter().map(Account::creator);
            (server, creators.collect::<Vec<_>>())
        });
        let sides: Vec<_> = sides.collect();
        let load = Load::of(64, self.time);
        let compared = Comparison::run(self.rounds, load, &sides, ceiling).await?;
        compared.print_ceiling("pgbench, the same statements, 16 clients");
        let ratio = compared.of_ceiling();
        compared.print("CreateProject, 64", &[RATE, CPU]);
        print_goal("of pgbench", ratio, "0.80", ratio >= 0.8);
        Ok(())
    }

    /// SignIn compared with plain bcrypt, and GetProject during sign-ins.
    async fn sign_ins(&self, users: &[Account]) -> anyhow::Result<()> {
        let sluice = self.bench.sluice(&[])?;
        let visitors = accounts(&sluice, "visitor", 16).await?;
        let visitors: Vec<_> = {
            let visitors = visitors.iter().enumerate();
            visitors
                .map(|(number, account)| account.visitor(number))
                .collect()
        };
        let readers: Vec<_> = users[..64].iter().map(Account::reader).collect();
        let load = Load::of(16, self.time);
        let (mut ours, mut raw, mut ratios) = (vec![], vec![], vec![]);
        let (mut quiet, mut stormy, mut slowdowns) = (vec![], vec![], vec![]);
        let (mut storms, mut storm_ratios) = (vec![], vec![]);
        for _ in 0..self.rounds {
            let time = self.time;
            let hashes = spawn_blocking(move || raw_bcrypt(time)).await??;
            let our = Figures::of(&sluice, load, &visitors).await?;
            ratios.push(our.rate / hashes);
            raw.push(hashes);
            ours.push(our);

            let reads = Load::of(64, self.time);
            let before = Figures::of(&sluice, reads, &readers).await?;
            let (meanwhile, storm) = tokio::join!(
                Figures::of(&sluice, reads, &readers),
                load.run(sluice.address, &visitors),
            );
            let storm = Figures::from(&storm?);
            storm_ratios.push(storm.rate / hashes);
            storms.push(storm);
            let meanwhile = meanwhile?;
            slowdowns.push(meanwhile.p95 / before.p95);
            quiet.push(before);
            stormy.push(meanwhile);
        }
        println!(
            "{:<44} {:>9.1}",
            "bcrypt by itself, a thread a core",
            middle(raw)
        );
        median(ours).print("SignIn, 16 connections");
        median(quiet).print("GetProject, 64, quiet");
        median(stormy).print("GetProject, 64, while 16 sign in");
        median(storms).print("SignIn, 16, while 64 read");
        let (ratio, slowdown) = (middle(ratios), middle(slowdowns));
        print_goal("of raw bcrypt", ratio, "0.90", ratio >= 0.9);
        print_goal(
            "p95 of GetProject in a storm",
            slowdown,
            "1.30 times",
            slowdown < 1.3,
        );
        let storm = middle(storm_ratios);
        print_goal("of raw bcrypt in a storm", storm, "0.50", storm >= 0.5);
        Ok(())
    }

    /// The memory of an idle connection.
    async fn connections(&self) -> anyhow::Result<()> {
        const CONNECTION_COUNT: u32 = 5000;
        let sluice = self.bench.sluice(&[])?;
        let warm = hold(&sluice, 50).await?;
        let before = resident(sluice.pid());
        let held = hold(&sluice, CONNECTION_COUNT).await?;
        let each = (resident(sluice.pid()) - before) as f64 / f64::from(CONNECTION_COUNT);
        print_goal("KiB for each of 5000 connections", each, "50", each < 50.0);
        drop((warm, held));
        Ok(())
    }
}

async fn hold(
    server: &Program,
    count: u32,
) -> anyhow::Result<Vec<h2::client::SendRequest<bytes::Bytes>>> {
    let mut held = Vec::new();
    for _ in 0..count {
        held.push(connect(server.address).await?.ready().await?);
    }
    sleep(Duration::from_secs(2)).await;
    Ok(held)
}

/// bcrypt hashes per second with one thread per core.
fn raw_bcrypt(time: Duration) -> anyhow::Result<f64> {
    let begun = std::time::Instant::now();
    let counts = thread::scope(|scope| {
        let threads: Vec<_> = (0..thread::available_parallelism()?.get())
            .map(|_| {
                scope.spawn(|| {
                    let mut count = 0_u32;
                    while begun.elapsed() < time {
                        bcrypt::hash("correct horse battery staple", BCRYPT_COST)?;
                        count += 1;
                    }
                    anyhow::Ok(count)
                })
            })
            .collect();
        let counts = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        counts.sum::<anyhow::Result<u32>>()
    })?;
    Ok(f64::from(counts) / begun.elapsed().as_secs_f64())
}
