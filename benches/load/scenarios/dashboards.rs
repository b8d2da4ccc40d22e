//! Scenarios of dashboards.

use std::time::Duration;

use super::{Scenarios, Users};
use crate::{
    caller::{Load, User},
    comparison::{CPU, Comparison, P95, RATE, no_ceiling},
    figures::{Figures, median, print_goal},
    machine::resident,
    servers::Storage,
    users::Account,
};

impl Scenarios<'_> {
    /// A thousand users with nine reads per write.
    pub(super) async fn dashboards(&self, users: &Users) -> anyhow::Result<()> {
        let sluice = self.bench.sluice(&[])?;
        let dashboards = users.ours().iter();
        let dashboards: Vec<_> = dashboards.map(|user| user.dashboard(false)).collect();
        let load = Load::of(dashboards.len(), self.time);
        let mut rounds = vec![];
        for _ in 0..self.rounds {
            rounds.push(Figures::of(&sluice, load, &dashboards).await?);
        }
        let figures = median(rounds);
        figures.print("1000 users, 90 % reads, 1000 connections");
        let met = figures.p95 < 100.0 && figures.faults == "none";
        print_goal("p95 in ms, no faults", figures.p95, "100", met);
        Ok(())
    }

    /// The same with changes of destinations: without a pause, and once a second.
    pub(super) async fn destinations(&self, users: &Users) -> anyhow::Result<()> {
        let servers = self.bench.serve_all(Storage::Postgres, &[])?;
        let sides = servers.iter().zip(users.sides()).map(|(server, users)| {
            let dashboards = users.iter().map(|user| user.dashboard(true));
            (server, dashboards.collect::<Vec<_>>())
        });
        let sides: Vec<_> = sides.collect();
        let load = Load::of(users.ours().len(), self.time);
        let compared = Comparison::run(self.rounds, load, &sides, no_ceiling).await?;
        compared.print(
            "1000 users, UpdateDestination, no pause",
            &[RATE, P95.at_most(0.2), CPU],
        );
        let paced = Load {
            pace: Some(Duration::from_secs(1)),
            ..load
        };
        let compared = Comparison::run(self.rounds, paced, &sides, no_ceiling).await?;
        let ours = compared.print("the same, each once a second", &[P95, CPU]);
        print_goal("p95 in ms", ours.p95, "5", ours.p95 < 5.0);
        let memory: Vec<_> = servers
            .iter()
            .map(|server| resident(server.pid()))
            .collect();
        println!("  KiB of memory after that, then of the baseline: {memory:?}");
        if let [ours, baseline] = memory[..] {
            let ratio = ours as f64 / baseline as f64;
            print_goal("memory of the baseline's", ratio, "at most 1", ratio <= 1.0);
        }
        Ok(())
    }

    /// A project with all that belongs to it: in one call, and in a call for each part. A
    /// baseline, whose contract may be older, is always asked for each part.
    pub(super) async fn views(&self, users: &Users) -> anyhow::Result<()> {
        let servers = self.bench.serve_all(Storage::Postgres, &[])?;
        let media = self.media_servers("n3", &servers).await?;
        for ((server, media), users) in servers.iter().zip(&media).zip(users.sides()) {
            let keys = users[..64].iter().map(|user| &user.stream_keys[0]);
            media.begin(server, keys).await?;
        }
        let viewers = |users: &[Account], view: fn(&Account) -> User| {
            users[..64].iter().map(view).collect::<Vec<_>>()
        };
        let separate = |at: usize| {
            let users = viewers(&users.sides()[at], Account::separate_viewer);
            (&servers[at], users)
        };
        let mut sides = vec![(&servers[0], viewers(users.ours(), Account::viewer))];
        sides.push(separate(0));
        let load = Load::of(64, self.time);
        let compared = Comparison::run(self.rounds, load, &sides, no_ceiling).await?;
        println!("The baseline of these rows is four calls of the same program:");
        compared.print("GetProject with the view FULL, 64", &[RATE, CPU]);
        if servers.len() > 1 {
            sides[1] = separate(1);
            let compared = Comparison::run(self.rounds, load, &sides, no_ceiling).await?;
            println!("The baseline of these rows is four calls of the other program:");
            compared.print(
                "GetProject with the view FULL, 64",
                &[RATE.at_least(3.0), CPU],
            );
        }
        Ok(())
    }
}
