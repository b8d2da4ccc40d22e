use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};
use tokio::task::JoinSet;
use tonic::{Code, Response, Status};

use crate::{
    harness::{
        Engine, OpenCall, Postgres, RawConnection, Refusal, Sqlite, TestServer, connect_from,
        refused,
    },
    transport::{
        http2_connection::Http2Connection,
        http2_frames::{END_HEADERS, HEADERS, client_preface, frame, headers},
    },
};

const JWKS: &str = "sluice.v1.AuthService/GetJwks";
const CREATE_PROJECT: &str = "sluice.v1.ProjectService/CreateProject";
const HEARTBEAT: &str = "sluice.v1.StreamService/HeartbeatPublish";
const OVERLOADED: (Code, &str) = (Code::ResourceExhausted, "OVERLOADED");

/// An address of this machine that no other caller has.
const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// 128 incomplete requests: 112 for everybody, 16 of each address.
const FEW: [&str; 2] = ["--max-calls=8", "--trusted-proxies=127.0.0.1"];

fn refusal_of(status: Status) -> Refusal {
    refused(Err::<Response<()>, _>(status))
}

/// The headers of a call from an address behind the proxy.
fn from(address: &str) -> [(&str, &str); 1] {
    [("x-forwarded-for", address)]
}

/// Begins the sixteen requests that an address may leave incomplete.
async fn use_share(raw: &mut RawConnection, address: &str) -> Vec<OpenCall> {
    let mut incomplete = Vec::new();
    for _ in 0..16 {
        incomplete.push(raw.begin(JWKS, &from(address)).await);
    }
    // The server has seen these once it answers a later call.
    let status = raw.call(JWKS, &[], &pb::GetJwksRequest {}).await;
    assert_eq!(status.code(), Code::Ok);
    incomplete
}

#[rstest]
#[case::unary(JWKS)]
#[case::watch("sluice.v1.StreamService/WatchProject")]
#[case::claim("sluice.v1.StreamService/ClaimRelays")]
#[case::health_watch("grpc.health.v1.Health/Watch")]
#[case::reflection("grpc.reflection.v1.ServerReflection/ServerReflectionInfo")]
#[tokio::test]
async fn a_request_of_any_rpc_must_arrive_within_ten_seconds(#[case] rpc: &str) {
    let server = TestServer::start_with(Sqlite, &["--reflection=true"]).await;
    let user = server.user().await;
    let token = match rpc.ends_with("ClaimRelays") {
        true => server.operator_token(&[Scope::RelaysWork]).await,
        false => user.tokens.access_token,
    };
    let mut raw = RawConnection::to(server.address).await;
    let begun = Instant::now();

    let headers = [("authorization", &*format!("Bearer {token}"))];
    let mut call = raw.begin(rpc, &headers).await;
    call.send(&[0, 0, 0], false);
    let refusal = refusal_of(call.status().await);

    assert_eq!(
        refusal.class(),
        (Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
    );
    let took = begun.elapsed().as_secs_f64();
    assert!((9.9..20.0).contains(&took), "{took} s");
}

/// Begins a hundred health watches from another address, and sends no message. Returns how
/// long the connection stayed.
async fn attack(address: SocketAddr) -> Duration {
    let begun = Instant::now();
    let stream = connect_from(ATTACKER, address).await;
    let mut raw = Http2Connection { stream };
    let call = |number: u32| {
        let path = headers("/grpc.health.v1.Health/Watch");
        frame(HEADERS, END_HEADERS, 2 * number + 1, &path)
    };
    let calls = (0..100).flat_map(call);
    let bytes: Vec<u8> = client_preface().into_iter().chain(calls).collect();
    raw.send(&bytes).await.unwrap();
    raw.closed().await;
    begun.elapsed()
}

#[rstest]
#[tokio::test]
async fn connections_with_incomplete_requests_are_closed_within_15_seconds_and_keep_nobody_out(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values("2048", "8")] max_calls: &str,
) {
    let flag = format!("--max-calls={max_calls}");
    let server = TestServer::start_with(engine, &[&flag]).await;
    let ada = server.user().await;
    let (project, stream_key) = ada.project().await;
    let media = server.media_server().await;
    let stream = media.live(&stream_key, "c1").await;

    let mut attackers = JoinSet::new();
    for _ in 0..5 {
        attackers.spawn(attack(server.address));
    }
    while !attackers.is_empty() {
        let request = pb::GetProjectRequest {
            project_id: project.id.clone(),
            ..Default::default()
        };
        ada.client
            .project
            .clone()
            .get_project(request)
            .await
            .unwrap();
        let sign_in = pb::SignInRequest {
            email: ada.email.clone(),
            password: ada.password.to_owned(),
            ..Default::default()
        };
        server.anonymous().auth.sign_in(sign_in).await.unwrap();
        let answer = media.heartbeat(&stream, "c1").await;
        assert_eq!(answer.action(), pb::PublishAction::Continue);
        tokio::time::sleep(Duration::from_millis(100)).await;
        while let Some(stayed) = attackers.try_join_next() {
            let stayed = stayed.unwrap();
            // On a quiet machine 15 seconds.
            assert!(stayed < Duration::from_secs(30), "{stayed:?}");
        }
    }
}

#[tokio::test]
async fn a_trusted_proxys_connection_stays_whatever_its_callers_leave_incomplete() {
    let server = TestServer::start_with(Sqlite, &["--trusted-proxies=127.0.0.1"]).await;
    let mut raw = RawConnection::to(server.address).await;

    let mut incomplete = Vec::new();
    for number in 0..40 {
        let address = format!("198.51.100.{number}");
        incomplete.push(raw.begin(JWKS, &from(&address)).await);
    }
    for call in incomplete {
        assert_eq!(call.status().await.code(), Code::DeadlineExceeded);
    }

    let status = raw.call(JWKS, &[], &pb::GetJwksRequest {}).await;
    assert_eq!(status.code(), Code::Ok);
}

#[tokio::test]
async fn one_address_leaves_at_most_an_eighth_of_all_requests_incomplete() {
    let server = TestServer::start_with(Sqlite, &FEW).await;
    let mut raw = RawConnection::to(server.address).await;

    let incomplete = use_share(&mut raw, "198.51.100.1").await;
    let refused = raw.begin(JWKS, &from("198.51.100.1")).await.status().await;
    assert_eq!(refusal_of(refused).class(), OVERLOADED);
    let other = raw.begin(JWKS, &from("198.51.100.2")).await;
    assert_eq!(other.finish(&pb::GetJwksRequest {}).await.code(), Code::Ok);
    // A request that arrives at once is not incomplete.
    let status = raw
        .call(JWKS, &from("198.51.100.1"), &pb::GetJwksRequest {})
        .await;
    assert_eq!(status.code(), Code::Ok);
    for call in incomplete {
        assert_eq!(call.finish(&pb::GetJwksRequest {}).await.code(), Code::Ok);
    }
}

#[tokio::test]
async fn incomplete_requests_use_at_most_the_memory_of_their_user() {
    // Eight MiB, two of each user.
    const SHARE: usize = 2 * 1024 * 1024;
    const PART: usize = 48 * 1024;
    const CALLS: usize = 60;
    let flags = ["--call-memory-mib=8", "--trusted-proxies=127.0.0.1"];
    let server = TestServer::start_with(Sqlite, &flags).await;
    let ada = server.user().await;
    let bearer = format!("Bearer {}", ada.tokens.access_token);
    let mut raw = RawConnection::to(server.address).await;
    // A message of which the last byte is missing.
    let mut part = vec![0; 5 + PART];
    part[1..5].copy_from_slice(&u32::try_from(PART + 1).unwrap().to_be_bytes());

    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let address = format!("198.51.100.{number}");
        let headers = [("authorization", &*bearer), ("x-forwarded-for", &*address)];
        let mut call = raw.begin(CREATE_PROJECT, &headers).await;
        call.send(&part, false);
        calls.spawn(call.status());
    }

    let refusals = calls.join_all().await.into_iter().map(refusal_of);
    let (refused, held): (Vec<_>, Vec<_>) = refusals.partition(|one| one.class() == OVERLOADED);
    for refusal in &held {
        let class = (Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
        assert_eq!(refusal.class(), class);
    }
    assert!((1..=SHARE / PART).contains(&held.len()), "{}", held.len());
    assert_eq!(refused.len(), CALLS - held.len());
}

#[tokio::test]
async fn the_last_eighth_is_only_for_verified_tokens_of_machines() {
    let server = TestServer::start_with(Sqlite, &FEW).await;
    let user = server.user().await.tokens.access_token;
    let machine = server.operator_token(&[Scope::StreamsPublish]).await;
    let mut raw = RawConnection::to(server.address).await;
    let mut incomplete = Vec::new();
    for number in 1..=7 {
        let address = format!("198.51.100.{number}");
        let mut raw = RawConnection::to(server.address).await;
        let calls = use_share(&mut raw, &address).await;
        incomplete.push((raw, calls));
    }

    for (token, class) in [
        (None, (Code::Unauthenticated, "ACCESS_TOKEN_MISSING")),
        (
            Some("forged"),
            (Code::Unauthenticated, "ACCESS_TOKEN_MALFORMED"),
        ),
        (Some(&*user), (Code::PermissionDenied, "SCOPE_MISSING")),
    ] {
        let mut headers = from("198.51.100.8").to_vec();
        let bearer = token.map(|token| format!("Bearer {token}"));
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        let status = raw.begin(HEARTBEAT, &headers).await.status().await;
        assert_eq!(refusal_of(status).class(), class);
    }
    let status = raw.begin(JWKS, &from("198.51.100.8")).await.status().await;
    assert_eq!(refusal_of(status).class(), OVERLOADED);

    let bearer = format!("Bearer {machine}");
    let mut machines = Vec::new();
    for _ in 0..16 {
        let headers = [("authorization", &*bearer)];
        machines.push(raw.begin(HEARTBEAT, &headers).await);
    }
    for call in machines {
        let status = call.finish(&pb::HeartbeatPublishRequest::default()).await;
        assert_eq!(refusal_of(status).reason, "FIELDS_INVALID");
    }
}
