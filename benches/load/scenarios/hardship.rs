//! Scenarios of overload and attacks.

use std::time::Duration;

use tokio::time::sleep;

use super::Scenarios;
use crate::{
    attacks::ATTACKS,
    caller::Load,
    figures::{Figures, median, middle, print_goal},
    machine::resident,
    users::Account,
};

impl Scenarios<'_> {
    /// Three times the server's capacity for a minute. The calls change destinations: of
    /// cheaper calls, the callers on this machine could not make enough.
    pub(super) async fn overload(&self, users: &[Account]) -> anyhow::Result<()> {
        let sluice = self.bench.sluice(&[("SLUICE_MAX_CALLS", "256")])?;
        let editors: Vec<_> = users.iter().map(Account::editor).collect();
        let (mut before, mut floods, mut after) = (vec![], vec![], vec![]);
        let (mut asked, mut goodputs, mut refused) = (vec![], vec![], vec![]);
        // Long enough for the database to write to its tables, too.
        let load = Load::of(64, self.time.max(Duration::from_secs(10)));
        let mut capacity = Figures::of(&sluice, load, &editors[..192]).await?;
        for _ in 0..self.rounds {
            // All users call equally often, also after a refusal.
            let pace = |times: f64| {
                let seconds = editors.len() as f64 / (capacity.rate * times);
                Some(Duration::from_secs_f64(seconds))
            };
            let flood = Load {
                time: Duration::from_secs(60),
                pace: pace(3.2),
                respects_retry_delay: false,
                ..load
            };
            let flooded = flood.run(sluice.address, &editors).await?;
            sleep(Duration::from_secs(5)).await;
            let half = Load {
                pace: pace(0.5),
                ..load
            };
            after.push(Figures::of(&sluice, half, &editors).await?);
            // The speed of the machine varies.
            let again = Figures::of(&sluice, load, &editors[..192]).await?;
            let carried = f64::midpoint(capacity.rate, again.rate);

            let calls: u64 = flooded.codes.values().sum();
            asked.push(calls as f64 / flooded.elapsed.as_secs_f64() / carried);
            goodputs.push(flooded.rate() / carried);
            refused.push(flooded.refusals.value_at_quantile(0.95) as f64 / 1e3);
            floods.push(Figures::from(&flooded));
            before.push(std::mem::replace(&mut capacity, again));
        }
        let (before, after) = (median(before), median(after));
        before.print("capacity: 192 users, half of it changes");
        median(floods).print("three times that, for 60 s");
        after.print("half of it, 5 s later");
        let (asked, goodput, refused) = (middle(asked), middle(goodputs), middle(refused));
        print_goal("calls asked for, of capacity", asked, "3.00", asked >= 2.9);
        print_goal("goodput of capacity", goodput, "0.80", goodput >= 0.8);
        print_goal("p95 of refusals in ms", refused, "50", refused < 50.0);
        let met = after.faults == "none" && after.p95 < before.p95.max(50.0);
        print_goal(
            "p95 afterwards in ms, no faults",
            after.p95,
            "as before",
            met,
        );
        Ok(())
    }

    /// Normal calls during attacks.
    pub(super) async fn attacks(&self, users: &[Account]) -> anyhow::Result<()> {
        let sluice = self.bench.sluice(&[("SLUICE_HANDSHAKE_TIMEOUT", "1s")])?;
        let readers: Vec<_> = users[..64].iter().map(Account::reader).collect();
        let load = Load {
            pace: Some(Duration::from_millis(32)),
            ..Load::of(64, self.time)
        };
        let warm = Figures::of(&sluice, load, &readers).await?;
        warm.print("GetProject, 64, 2000 a second");
        for attack in &ATTACKS {
            let (mut besieged, mut slowdowns, mut open) = (vec![], vec![], 0);
            let before = resident(sluice.pid());
            for _ in 0..self.rounds {
                let quiet = Figures::of(&sluice, load, &readers).await?;
                let (figures, left_open) = tokio::join!(
                    Figures::of(&sluice, load, &readers),
                    attack.run(sluice.address, load.warm_up + load.time),
                );
                let figures = figures?;
                slowdowns.push(figures.p99 / quiet.p99);
                besieged.push(figures);
                open += left_open;
            }
            let cost = resident(sluice.pid()).saturating_sub(before);
            median(besieged).print(attack.name);
            let slowdown = middle(slowdowns);
            print_goal("p99 of GetProject", slowdown, "2.00 times", slowdown < 2.0);
            println!("  {cost} KiB of memory, {open} connections not closed in time");
        }
        Ok(())
    }
}
