//! Scenarios of media servers.

use super::{Scenarios, Users};
use crate::{
    caller::{Load, User},
    comparison::{CPU, Comparison, P50, RATE, no_ceiling},
    figures::print_goal,
    media_servers::{Changes, Counted, MediaServer},
    servers::{Program, Storage},
    statements::PublishScript,
};

/// The streams of a media server that reports all of them.
const SYNCED_STREAMS: usize = 1000;

impl Scenarios<'_> {
    /// BeginPublish and EndPublish, compared with pgbench with the same statements.
    pub(super) async fn publishes(&self, users: &Users) -> anyhow::Result<()> {
        let servers = self.bench.serve_all(Storage::Postgres, &[])?;
        let media = self.media_servers("n1", &servers).await?;
        let publishers = |counted, count: usize| {
            let sides = servers.iter().zip(&media).zip(users.sides());
            let sides = sides.map(|((server, media), users)| {
                let keys = users[..count].iter().map(|user| &user.stream_keys[1]);
                let publishers = keys.map(|key| media.publisher(key, counted));
                (server, publishers.collect::<Vec<User>>())
            });
            sides.collect::<Vec<_>>()
        };
        let script = PublishScript::read(self.bench, &users.ours()[64]).await?;
        let pgbench = async || script.rate(self.time).await.map(Some);

        let cycles = publishers(Counted::Cycle, 64);
        let load = Load::of(64, self.time);
        let compared = Comparison::run(self.rounds, load, &cycles, pgbench).await?;
        compared.print_ceiling("pgbench, the same statements, 16 clients");
        let of_pgbench = compared.of_ceiling();
        compared.print(
            "BeginPublish and EndPublish, cycles, 64",
            &[RATE.at_least(5.0), CPU],
        );
        print_goal("of pgbench", of_pgbench, "0.80", of_pgbench >= 0.8);

        let single = publishers(Counted::Begin, 1);
        let load = Load::of(1, self.time);
        let compared = Comparison::run(self.rounds, load, &single, no_ceiling).await?;
        compared.print("BeginPublish, 1", &[P50.at_most(0.45), CPU]);
        Ok(())
    }

    /// SyncNode of a media server with many streams.
    pub(super) async fn syncs(&self, users: &Users) -> anyhow::Result<()> {
        let servers = self.bench.serve_all(Storage::Postgres, &[])?;
        let media = self.media_servers("n2", &servers).await?;
        let mut streams = Vec::new();
        for ((server, media), users) in servers.iter().zip(&media).zip(users.sides()) {
            let keys = users.iter().map(|user| &user.stream_keys[2]);
            streams.push(media.begin(server, keys.take(SYNCED_STREAMS)).await?);
        }
        for (changes, name, goal) in [
            (
                Changes::Nothing,
                "SyncNode of 1000 streams, unchanged",
                15.0,
            ),
            (
                Changes::Everything,
                "SyncNode of 1000 streams, all changed",
                60.0,
            ),
        ] {
            let sides = servers.iter().zip(&media).zip(&streams);
            let sides = sides
                .map(|((server, media), streams)| (server, vec![media.reporter(streams, changes)]))
                .collect::<Vec<_>>();
            let load = Load::of(1, self.time);
            let compared = Comparison::run(self.rounds, load, &sides, no_ceiling).await?;
            let ours = compared.print(name, &[CPU]);
            let cpu = (ours.server + ours.database) / 1000.0;
            print_goal("CPU time in ms", cpu, &format!("{goal}"), cpu < goal);
        }
        Ok(())
    }

    /// A media server at each of these programs.
    pub(super) async fn media_servers(
        &self,
        node_id: &'static str,
        servers: &[Program],
    ) -> anyhow::Result<Vec<MediaServer>> {
        let mut media = Vec::new();
        for (side, server) in self.bench.sides.iter().zip(servers) {
            media.push(MediaServer::register(node_id, side, Storage::Postgres, server).await?);
        }
        Ok(media)
    }
}
