use std::fs;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use sluice::proto::v1 as pb;

use super::{http2_connection::Http2Connection, http2_frames::client_preface};
use crate::harness::{Client, Process, Sqlite, TestDatabase, eventually};

/// Sets the soft limit of open files of a process; `None` sets it to the hard limit.
fn set_file_limit(program: &Process, soft: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(program.id()).unwrap());
    let own = rustix::process::getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: soft.or(own.maximum),
        maximum: own.maximum,
    };
    prlimit(pid, Resource::Nofile, limit).unwrap();
}

#[tokio::test]
async fn accepting_continues_after_file_descriptors_were_exhausted() {
    let database = TestDatabase::create(Sqlite).await;
    let program = Process::serve(&database, &[]);
    let channel = program.channel().await;
    let files = fs::read_dir(format!("/proc/{}/fd", program.id())).unwrap();
    // Descriptor numbers may have gaps, so the limit leaves a few.
    set_file_limit(&program, Some(files.count() as u64 + 3));

    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut raw = Http2Connection::connect(program.address().await).await;
        raw.send(&client_preface()).await.unwrap();
        waiting.push(raw);
    }
    eventually("the failure to accept is logged", async || {
        let log = program.log();
        let logged = |line: &&String| line.contains("cannot accept connections");
        log.iter().find(logged).cloned()
    })
    .await;
    let answer = Client::anonymous(&channel)
        .auth
        .get_jwks(pb::GetJwksRequest {})
        .await;
    answer.unwrap();
    set_file_limit(&program, None);

    for mut raw in waiting {
        raw.next().await.expect("the connection is served");
    }
    let log = program.log();
    let logged = log
        .iter()
        .filter(|line| line.contains("cannot accept connections"));
    assert!(logged.count() < 20, "{log:?}");
}

#[tokio::test]
async fn the_server_raises_its_file_limit_and_uses_half_of_it_for_connections() {
    let database = TestDatabase::create(Sqlite).await;
    let program = Process::serve(&database, &[("SLUICE_MAX_CONNECTIONS", "1000000")]);
    program.channel().await;
    let own = rustix::process::getrlimit(Resource::Nofile)
        .maximum
        .unwrap();

    let limits = program.log().into_iter().find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(&line).ok()?;
        (line["message"] == "limits").then_some(line)
    });

    let limits = limits.expect("the limits are logged");
    assert_eq!(limits["files"], own);
    assert_eq!(limits["connections"], (own / 2).min(1_000_000));
}
