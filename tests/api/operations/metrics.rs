use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::scrape::Sample;
use crate::harness::{
    Client, Engine, MediaServer, Postgres, Process, Sqlite, TestDatabase, eventually,
};

pub fn sign_up() -> pb::SignUpRequest {
    pb::SignUpRequest {
        email: "ada@example.com".to_owned(),
        password: "correct horse battery".to_owned(),
        display_name: "Ada".to_owned(),
        request_id: String::new(),
    }
}

/// The metrics once every job has run.
pub async fn jobs_have_run(program: &Process) -> Sample {
    eventually("the jobs have run", async || {
        let sample = Sample::of(program).await;
        let last = "sluice_job_last_success_timestamp_seconds";
        let all = [
            "event_pruning",
            "mailer",
            "purge",
            "reaper",
            "relay_watch",
            "trust",
        ];
        all.iter()
            .all(|job| sample.value(last, &[&format!(r#"name="{job}""#)]) > Some(1e9))
            .then_some(sample)
    })
    .await
}

#[tokio::test]
async fn every_call_is_counted_and_timed_by_its_method_and_code() {
    let database = TestDatabase::create(Sqlite).await;
    let program = Process::serve(&database, &[("SLUICE_BCRYPT_COST", "4")]);
    let channel = program.channel().await;
    let before = Sample::of(&program).await;
    let me = r#"grpc_method="GetMe""#;
    assert_eq!(before.value("grpc_server_started_total", &[me]), Some(0.0));

    let mut client = Client::anonymous(&channel);
    let signed_up = client.auth.sign_up(sign_up()).await.unwrap().into_inner();
    let mut ada = Client::with_token(&channel, &signed_up.tokens.unwrap().access_token);
    for _ in 0..3 {
        ada.auth.get_me(pb::GetMeRequest {}).await.unwrap();
    }
    client.auth.get_me(pb::GetMeRequest {}).await.unwrap_err();

    let labels = [
        r#"grpc_type="unary""#,
        r#"grpc_service="sluice.v1.AuthService""#,
        me,
    ];
    let with = |code: &'static str| [&labels[..], &[code]].concat();
    let (ok, refused) = (
        with(r#"grpc_code="OK""#),
        with(r#"grpc_code="Unauthenticated""#),
    );
    // A call is counted when its answer was sent, which its caller may see first.
    let after = eventually("the calls are counted", async || {
        let sample = Sample::of(&program).await;
        let handled = sample.value("grpc_server_handled_total", &labels);
        (handled == Some(4.0)).then_some(sample)
    })
    .await;
    assert_eq!(after.value("grpc_server_started_total", &labels), Some(4.0));
    assert_eq!(after.value("grpc_server_handled_total", &ok), Some(3.0));
    assert_eq!(
        after.value("grpc_server_handled_total", &refused),
        Some(1.0)
    );
    assert_eq!(
        after.value("grpc_server_msg_sent_total", &labels),
        Some(3.0)
    );
    let times = "grpc_server_handling_seconds";
    assert_eq!(after.value(&format!("{times}_count"), &labels), Some(4.0));
    let all = with(r#"le="+Inf""#);
    assert_eq!(after.value(&format!("{times}_bucket"), &all), Some(4.0));
}

#[tokio::test]
async fn unknown_methods_share_one_series() {
    let database = TestDatabase::create(Sqlite).await;
    let program = Process::serve(&database, &[]);
    let channel = program.channel().await;
    let series = Sample::of(&program).await.series().len();

    for number in 0..20 {
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let path = format!("/sluice.v1.AuthService/Guess{number}").parse();
        let codec = tonic_prost::ProstCodec::<pb::GetMeRequest, pb::GetMeResponse>::default();
        let request = tonic::Request::new(pb::GetMeRequest {});
        let refused = grpc.unary(request, path.unwrap(), codec).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
    }

    let unknown = r#"grpc_method="unknown""#;
    let after = eventually("the calls are counted", async || {
        let sample = Sample::of(&program).await;
        let handled = sample.value("grpc_server_handled_total", &[unknown]);
        (handled == Some(20.0)).then_some(sample)
    })
    .await;
    assert!(!after.text.contains("Guess"), "no path is a label");
    // One code and the times of one method; health checks may come in between.
    assert!(after.series().len() < series + 60, "{}", after.text);
}

#[tokio::test]
async fn a_server_stream_is_counted_when_it_ends_and_as_canceled_when_its_caller_leaves() {
    let database = TestDatabase::create(Sqlite).await;
    let program = Process::serve(&database, &[]);
    let mut health = HealthClient::new(program.channel().await);
    let labels = [r#"grpc_type="server_stream""#, r#"grpc_method="Watch""#];

    let mut watch = health
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    watch.message().await.unwrap().unwrap();
    let open = Sample::of(&program).await;
    assert_eq!(open.value("grpc_server_started_total", &labels), Some(1.0));
    assert_eq!(open.value("grpc_server_msg_sent_total", &labels), Some(1.0));
    assert_eq!(open.value("grpc_server_handled_total", &labels), None);
    drop(watch);

    let canceled = [labels[0], labels[1], r#"grpc_code="Canceled""#];
    eventually("the stream is over", async || {
        let sample = Sample::of(&program).await;
        let handled = sample.value("grpc_server_handled_total", &canceled);
        (handled == Some(1.0)).then_some(())
    })
    .await;
}

#[rstest]
#[tokio::test]
async fn metrics_of_process_pool_jobs_and_streams_are_exported(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let database = TestDatabase::create(engine).await;
    let secret = Process::operators_key(&database).await;
    let program = Process::serve(&database, &[("SLUICE_BCRYPT_COST", "4")]);
    let channel = program.channel().await;
    let mut client = Client::anonymous(&channel);
    let signed_up = client.auth.sign_up(sign_up()).await.unwrap().into_inner();
    let mut ada = Client::with_token(&channel, &signed_up.tokens.unwrap().access_token);
    let request = pb::CreateProjectRequest {
        name: "Show".to_owned(),
        ..Default::default()
    };
    let made = ada.project.create_project(request).await.unwrap();
    let request = pb::ExchangeApiKeyRequest { secret };
    let token = client.auth.exchange_api_key(request).await.unwrap();
    let media = MediaServer {
        client: Client::with_token(&channel, &token.into_inner().access_token),
    };
    media.live(&made.into_inner().stream_key, "c1").await;
    media.begin("unknown", "c2").await.unwrap_err();

    let sample = jobs_have_run(&program).await;
    let is = |name: &str, labels: &[&str], least: f64, most: f64| {
        let value = sample.value(name, labels);
        let value = value.unwrap_or_else(|| panic!("{name} is there:\n{}", sample.text));
        assert!((least..=most).contains(&value), "{name} {labels:?} {value}");
    };
    is("process_resident_memory_bytes", &[], 1e6, 1e9);
    is("process_cpu_seconds_total", &[], 0.0, 100.0);
    is("process_threads", &[], 2.0, 100.0);
    is("process_open_fds", &[], 5.0, 500.0);
    is("process_max_fds", &[], 5.0, 1e12);
    is("process_start_time_seconds", &[], 1.7e9, 1e11);
    is("sluice_build_info", &[], 1.0, 1.0);
    is("sluice_database_up", &[], 1.0, 1.0);
    is("sluice_database_connections", &[], 1.0, 20.0);
    is("sluice_database_connections_limit", &[], 2.0, 200.0);
    is("sluice_password_hash_seconds_count", &[], 2.0, 2.0);
    is("sluice_password_queue_running", &[], 0.0, 0.0);
    is("sluice_password_queue_waiting", &[], 0.0, 0.0);
    is("sluice_publishes_begun_total", &[], 1.0, 1.0);
    let unknown = [r#"reason="STREAM_KEY_INVALID""#];
    is("sluice_publishes_refused_total", &unknown, 1.0, 1.0);
    is("sluice_changes_total", &[], 2.0, 9.0);
    is("sluice_revocations_age_seconds", &[], 0.0, 4.0);
    is("sluice_job_failures_total", &[], 0.0, 0.0);
    is("sluice_log_lines_total", &[r#"level="info""#], 1.0, 1e4);
    is("sluice_log_lines_dropped_total", &[], 0.0, 0.0);
    is("sluice_mail_attempts_total", &[], 0.0, 2.0);
    is("sluice_data_dir_size_bytes", &[], 1e6, 1e18);
    // What the database counts is asked for at most every ten seconds.
    eventually("the stream is counted", async || {
        let live = [r#"status="live""#];
        let sample = Sample::of(&program).await;
        (sample.value("sluice_streams", &live) == Some(1.0)).then_some(())
    })
    .await;
}
