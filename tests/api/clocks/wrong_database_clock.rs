//! The clock of the database is wrong: all replicas agree with each other, and differ from it.

use super::fixture::{HOUR, SkewedReplica};
use crate::{
    harness::{Postgres, eventually},
    relay::fixture::Fixture,
};

/// Short times, so that everything that is due expires soon when the clocks agree.
const SETTINGS: [(&str, &str); 3] = [
    ("SLUICE_HEARTBEAT_INTERVAL", "1s"),
    ("SLUICE_HEARTBEAT_TIMEOUT", "5s"),
    ("SLUICE_RELAY_LEASE", "2s"),
];

/// Makes one row of each of four kinds due: a silent stream, the lease of a relay, a deleted
/// destination and an audit event.
const MAKE_DUE: [&str; 4] = [
    "update streams set last_seen_time = '2020-01-01T00:00:00+00:00'",
    "update relays set lease_expire_time = '2020-01-01T00:00:00+00:00'",
    "update destinations set delete_time = '2020-01-01T00:00:00+00:00' where name = 'deleted'",
    "update audit_events set create_time = '2020-01-01T00:00:00+00:00' where action = 'SignUp'",
];

/// Counts those rows.
const DUE_ROWS: &str = "select
    (select count(*) from streams where end_time is null)
    + (select count(*) from relays where lease_id is not null)
    + (select count(*) from destinations where delete_time is not null)
    + (select count(*) from audit_events where action = 'SignUp')";

/// The jobs that expire or delete something because of its time.
const JOBS: [&str; 5] = [
    "event_pruning",
    "purge",
    "purge_deleted",
    "reaper",
    "relay_watch",
];

#[tokio::test]
async fn no_replica_is_ready_and_nothing_expires_until_the_clocks_agree() {
    let fixture = Fixture::start(Postgres).await;
    fixture.claimed_relay().await;
    fixture.destination("deleted").await;
    let database = fixture.server.stop().await;
    for statement in MAKE_DUE {
        database.execute(statement).await;
    }
    assert_eq!(database.number(DUE_ROWS).await, 4);

    let replicas = [
        SkewedReplica::start(&database, HOUR, &SETTINGS).await,
        SkewedReplica::start(&database, HOUR, &SETTINGS).await,
    ];

    for replica in &replicas {
        replica.wait_until_skewed().await;
        // It runs each second, whatever the clocks show.
        eventually("there was time for other jobs", async || {
            (replica.runs("account_deletion").await >= 3.0).then_some(())
        })
        .await;
        for job in JOBS {
            assert_eq!(replica.runs(job).await, 0.0, "{job}");
        }
    }
    assert_eq!(database.number(DUE_ROWS).await, 4);

    for replica in &replicas {
        replica.clock.set(0);
    }
    eventually("everything that is due has expired", async || {
        (database.number(DUE_ROWS).await == 0).then_some(())
    })
    .await;
}
