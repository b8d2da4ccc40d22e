//! The leaders of jobs.

use std::time::{Duration, Instant};

use crate::harness::{Postgres, Process, Signal, TestDatabase, eventually};

/// A line of the log tells that a process leads a job.
fn leads(program: &Process, job: &str) -> bool {
    let job = format!("\"job\":\"{job}\"");
    let log = program.log();
    let mut lines = log.iter();
    lines.any(|line| line.contains("this replica leads the job") && line.contains(&job))
}

/// Two servers on one database: the leader of a job, and the other one.
async fn two_servers(database: &TestDatabase) -> (Process, Process) {
    let first = Process::serve(database, &[]);
    eventually("the first server leads", async || {
        leads(&first, "relay_watch").then_some(())
    })
    .await;
    let second = Process::serve(database, &[]);
    second.channel().await;
    assert!(!leads(&second, "relay_watch"));
    (first, second)
}

/// Waits until a server leads a job, which must take at most 10 seconds; as much again for a busy
/// machine.
async fn assert_takes_over(program: &Process, job: &str) {
    let begun = Instant::now();
    eventually("the other server leads", async || {
        leads(program, job).then_some(())
    })
    .await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(20), "it took {took:?}");
}

#[tokio::test]
async fn a_job_has_another_leader_after_its_leader_was_killed() {
    let database = TestDatabase::create(Postgres).await;
    let (mut leader, other) = two_servers(&database).await;

    leader.signal(Signal::KILL);
    leader.wait_for_exit().await;

    assert_takes_over(&other, "relay_watch").await;
    assert_takes_over(&other, "media_health").await;
}

#[tokio::test]
async fn a_job_has_another_leader_while_its_leader_hangs() {
    let database = TestDatabase::create(Postgres).await;
    let (leader, other) = two_servers(&database).await;

    leader.signal(Signal::STOP);
    assert_takes_over(&other, "relay_watch").await;
    leader.signal(Signal::CONT);
}

#[tokio::test]
async fn a_job_has_a_leader_again_after_its_session_was_ended() {
    let database = TestDatabase::create(Postgres).await;
    let (leader, other) = two_servers(&database).await;
    let terminated = "select count(pg_terminate_backend(pid))
                      from pg_stat_activity
                      where datname = current_database() and application_name = 'sluice-leader'";

    assert_eq!(database.number(terminated).await, 2);

    eventually("a server leads again", async || {
        let lines = leader.log().into_iter().chain(other.log());
        let elections = lines.filter(|line| line.contains("this replica leads the job"));
        let of_job = elections.filter(|line| line.contains("\"job\":\"relay_watch\""));
        (of_job.count() >= 2).then_some(())
    })
    .await;
}
