//! The scenarios.

mod hardship;

use std::{env, process::Command, thread, time::Duration};

use anyhow::Context;
use tokio::{task::spawn_blocking, time::sleep};

use crate::{
    caller::{Load, connect},
    figures::{Figures, median, middle, print_goal, print_head},
    machine::resident,
    servers::{Bench, Program},
    users::{Account, accounts},
};

/// The selected scenarios.
pub struct Scenarios<'a> {
    bench: &'a Bench,
    named: Vec<String>,
    time: Duration,
    rounds: usize,
}

/// The number of users.
const USER_COUNT: usize = 1000;

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
            time: Duration::from_secs(number("SLUICE_BENCH_SECONDS", 5)),
            rounds: number("SLUICE_BENCH_ROUNDS", 3) as usize,
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.named.is_empty() || self.named.iter().any(|named| named == name)
    }

    /// Runs the scenarios and prints the table.
    pub async fn run(self) -> anyhow::Result<()> {
        let seeding = self.bench.sluice(&[("SLUICE_BCRYPT_COST", "4")])?;
        let users = accounts(&seeding, "user", USER_COUNT).await?;
        drop(seeding);
        print_head();
        if self.wants("layers") {
            self.layers(&users).await?;
        }
        if self.wants("reads") {
            self.reads(&users).await?;
        }
        if self.wants("creates") {
            self.creates(&users).await?;
        }
        if self.wants("views") {
            self.views(&users).await?;
        }
        if self.wants("dashboards") {
            self.dashboards(&users).await?;
        }
        if self.wants("sign-ins") {
            self.sign_ins(&users).await?;
        }
        if self.wants("overload") {
            self.overload(&users).await?;
        }
        if self.wants("attacks") {
            self.attacks(&users).await?;
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
    async fn reads(&self, users: &[Account]) -> anyhow::Result<()> {
        let sluice = self.bench.sluice(&[])?;
        let pool_size = 2 * thread::available_parallelism()?.get() as u32 + 1;
        let select = self.bench.bare("select", pool_size)?;
        let echo = self.bench.bare("echo", pool_size)?;
        let users = &users[..64];
        let readers: Vec<_> = users.iter().map(Account::reader).collect();
        let bare: Vec<_> = users.iter().map(Account::bare_reader).collect();
        let load = Load::of(64, self.time);

        let (mut ours, mut selects, mut echoes, mut ratios) = (vec![], vec![], vec![], vec![]);
        for _ in 0..self.rounds {
            let select = Figures::of(&select, load, &bare).await?;
            let our = Figures::of(&sluice, load, &readers).await?;
            ratios.push(our.rate / select.rate);
            ours.push(our);
            selects.push(select);
            echoes.push(Figures::of(&echo, load, &readers).await?);
        }
        median(echoes).print("bare tonic, echo, 64 connections");
        median(selects).print("bare tonic and sqlx, one SELECT, 64");
        median(ours).print("GetProject, 64");
        let ratio = middle(ratios);
        print_goal("of bare tonic and sqlx", ratio, "0.80", ratio >= 0.8);
        Ok(())
    }

    /// CreateProject compared with pgbench with the same statements.
    async fn creates(&self, users: &[Account]) -> anyhow::Result<()> {
        let sluice = self.bench.sluice(&[])?;
        let creators: Vec<_> = users[..64].iter().map(Account::creator).collect();
        let (mut ours, mut ratios) = (vec![], vec![]);
        let mut theirs = vec![];
        for _ in 0..self.rounds {
            let (url, owner, time) = (self.bench.url.clone(), users[0].user_id.clone(), self.time);
            let pgbench = spawn_blocking(move || pgbench(&url, &owner, time)).await??;
            let our = Figures::of(&sluice, Load::of(64, self.time), &creators).await?;
            ratios.push(our.rate / pgbench);
            theirs.push(pgbench);
            ours.push(our);
        }
        println!(
            "{:<44} {:>9.0}",
            "pgbench, the same statements, 16 clients",
            middle(theirs)
        );
        median(ours).print("CreateProject, 64");
        let ratio = middle(ratios);
        print_goal("of pgbench", ratio, "0.80", ratio >= 0.8);
        Ok(())
    }

    /// A project with all that belongs to it: in one call, and in three.
    async fn views(&self, users: &[Account]) -> anyhow::Result<()> {
        let sluice = self.bench.sluice(&[])?;
        let users = &users[..64];
        let viewers: Vec<_> = users.iter().map(Account::viewer).collect();
        let separate: Vec<_> = users.iter().map(Account::separate_viewer).collect();
        let load = Load::of(64, self.time);
        let (mut ones, mut threes, mut ratios) = (vec![], vec![], vec![]);
        for _ in 0..self.rounds {
            let three = Figures::of(&sluice, load, &separate).await?;
            let one = Figures::of(&sluice, load, &viewers).await?;
            ratios.push(3.0 * one.rate / three.rate);
            ones.push(one);
            threes.push(three);
        }
        median(threes).print("three calls for each project, 64");
        median(ones).print("GetProject with the view FULL, 64");
        let ratio = middle(ratios);
        print_goal(
            "of the projects by three calls",
            ratio,
            "3.00",
            ratio >= 3.0,
        );
        Ok(())
    }

    /// A thousand users with nine reads per write.
    async fn dashboards(&self, users: &[Account]) -> anyhow::Result<()> {
        let sluice = self.bench.sluice(&[])?;
        let dashboards: Vec<_> = users.iter().map(Account::dashboard).collect();
        let mut rounds = vec![];
        for _ in 0..self.rounds {
            rounds.push(Figures::of(&sluice, Load::of(users.len(), self.time), &dashboards).await?);
        }
        let figures = median(rounds);
        figures.print("1000 users, 90 % reads, 1000 connections");
        let met = figures.p95 < 100.0 && figures.faults == "none";
        print_goal("p95 in ms, no faults", figures.p95, "100", met);
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
            storm?;
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
        let (ratio, slowdown) = (middle(ratios), middle(slowdowns));
        print_goal("of raw bcrypt", ratio, "0.90", ratio >= 0.9);
        print_goal(
            "p95 of GetProject in a storm",
            slowdown,
            "3.00 times",
            slowdown < 3.0,
        );
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

/// The transactions per second of pgbench.
fn pgbench(url: &str, owner: &str, time: Duration) -> anyhow::Result<f64> {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/benches/load/create_project.sql"
    );
    let output = Command::new("pgbench")
        .args(["-n", "-M", "prepared", "-c", "16", "-j", "2", "-f", script])
        .args(["-T", &time.as_secs().max(1).to_string()])
        .args(["-D", &format!("owner={owner}"), url])
        .output()
        .context("pgbench, which comes with PostgreSQL")?;
    let said = String::from_utf8(output.stdout)?;
    let line = said.lines().find(|line| line.starts_with("tps = "));
    let number = line.and_then(|line| line.split(' ').nth(2)?.parse().ok());
    number.with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
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
