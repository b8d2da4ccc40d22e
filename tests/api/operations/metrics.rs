use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::scrape::Scrape;
use crate::harness::{
    Client, Engine, MediaServer, Postgres, Process, Sqlite, TestDatabase, User, eventually,
    exchange,
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
pub async fn jobs_have_run(program: &Process) -> Scrape {
    eventually("the jobs have run", async || {
        let scrape = Scrape::of(program).await;
        let last = "sluice_job_last_success_timestamp_seconds";
        let all = [
            "account_deletion",
            "event_pruning",
            "mailer",
            "purge",
            "purge_deleted",
            "reaper",
            "relay_watch",
            "suspension",
            "trust",
        ];
        all.iter()
            .all(|job| scrape.value(last, &[&format!(r#"name="{job}""#)]) > Some(1e9))
            .then_some(scrape)
    })
    .await
}

#[tokio::test]
async fn every_call_is_counted_and_timed_by_its_method_and_code() {
    let database = TestDatabase::create(Sqlite).await;
    let program = Process::serve(&database, &[("SLUICE_BCRYPT_COST", "4")]);
    let channel = program.channel().await;
    let before = Scrape::of(&program).await;
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
    // A call is counted after its response was sent; its caller may see the response before.
    let after = eventually("the calls are counted", async || {
        let scrape = Scrape::of(&program).await;
        let handled = scrape.value("grpc_server_handled_total", &labels);
        (handled == Some(4.0)).then_some(scrape)
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
        let scrape = Scrape::of(&program).await;
        let handled = scrape.value("grpc_server_handled_total", &[unknown]);
        (handled == Some(20.0)).then_some(scrape)
    })
    .await;
    assert!(!after.text.contains("Guess"), "no path is a label");
    let is_handled =
        |name: &&&str| name.starts_with("grpc_server_handled_total") && name.contains(unknown);
    assert_eq!(after.series().keys().filter(is_handled).count(), 1);
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
    let open = Scrape::of(&program).await;
    assert_eq!(open.value("grpc_server_started_total", &labels), Some(1.0));
    assert_eq!(open.value("grpc_server_msg_sent_total", &labels), Some(1.0));
    assert_eq!(open.value("grpc_server_handled_total", &labels), None);
    drop(watch);

    let canceled = [labels[0], labels[1], r#"grpc_code="Canceled""#];
    eventually("the end of the stream is counted", async || {
        let scrape = Scrape::of(&program).await;
        let handled = scrape.value("grpc_server_handled_total", &canceled);
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
    let secret = Process::create_operator_key(&database).await;
    let program = Process::serve(&database, &[("SLUICE_BCRYPT_COST", "4")]);
    let channel = program.channel().await;
    let mut client = Client::anonymous(&channel);
    let signed_up = client.auth.sign_up(sign_up()).await.unwrap().into_inner();
    let mut ada = Client::with_token(&channel, &signed_up.tokens.unwrap().access_token);
    let request = pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
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

    let scrape = jobs_have_run(&program).await;
    let in_range = |name: &str, labels: &[&str], least: f64, most: f64| {
        let value = scrape.value(name, labels);
        let value = value.unwrap_or_else(|| panic!("{name} is missing:\n{}", scrape.text));
        assert!((least..=most).contains(&value), "{name} {labels:?} {value}");
    };
    in_range("process_resident_memory_bytes", &[], 1e6, 1e9);
    in_range("process_cpu_seconds_total", &[], 0.0, 100.0);
    in_range("process_threads", &[], 2.0, 100.0);
    in_range("process_open_fds", &[], 5.0, 500.0);
    in_range("process_max_fds", &[], 5.0, 1e12);
    in_range("process_start_time_seconds", &[], 1.7e9, 1e11);
    in_range("sluice_build_info", &[], 1.0, 1.0);
    in_range("sluice_database_up", &[], 1.0, 1.0);
    in_range("sluice_database_connections", &[], 1.0, 20.0);
    in_range("sluice_database_connections_limit", &[], 2.0, 200.0);
    in_range("sluice_password_hash_seconds_count", &[], 2.0, 2.0);
    in_range("sluice_password_queue_running", &[], 0.0, 0.0);
    in_range("sluice_password_queue_waiting", &[], 0.0, 0.0);
    in_range("sluice_publishes_begun_total", &[], 1.0, 1.0);
    let unknown = [r#"reason="STREAM_KEY_INVALID""#];
    in_range("sluice_publishes_refused_total", &unknown, 1.0, 1.0);
    in_range("sluice_changes_total", &[], 2.0, 9.0);
    in_range("sluice_revocations_age_seconds", &[], 0.0, 4.0);
    in_range("sluice_job_failures_total", &[], 0.0, 0.0);
    in_range("sluice_log_lines_total", &[r#"level="info""#], 1.0, 1e4);
    in_range("sluice_log_lines_dropped_total", &[], 0.0, 0.0);
    in_range("sluice_mail_attempts_total", &[], 0.0, 2.0);
    in_range("sluice_data_dir_size_bytes", &[], 1e6, 1e18);
    // Row counts are read from the database at most every ten seconds.
    eventually("the stream is counted", async || {
        let live = [r#"state="live""#];
        let scrape = Scrape::of(&program).await;
        (scrape.value("sluice_streams", &live) == Some(1.0)).then_some(())
    })
    .await;
}

#[rstest]
#[tokio::test]
async fn suspended_users_and_their_refused_publishers_are_counted(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let database = TestDatabase::create(engine).await;
    let scopes = ["streams:publish", "operator:read", "operator:write"];
    let secret = Process::create_operator_key_with(&database, &scopes).await;
    let program = Process::serve(&database, &[("SLUICE_BCRYPT_COST", "4")]);
    let channel = program.channel().await;
    let mut client = Client::anonymous(&channel);
    let signed_up = client.auth.sign_up(sign_up()).await.unwrap().into_inner();
    let mut ada = Client::with_token(&channel, &signed_up.tokens.unwrap().access_token);
    let request = pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        ..Default::default()
    };
    let made = ada.project.create_project(request).await.unwrap();
    let mut operator = MediaServer {
        client: Client::with_token(&channel, &exchange(&channel, &secret).await),
    };
    let refused = "sluice_publishes_refused_total";
    let suspended = [r#"reason="ACCOUNT_SUSPENDED""#];
    let before = Scrape::of(&program).await;
    assert_eq!(before.value("sluice_suspended_users", &[]), Some(0.0));
    assert_eq!(before.value(refused, &suspended), Some(0.0));

    let user_id = signed_up.user.unwrap().id;
    let request = pb::SuspendUserRequest {
        user_id: user_id.clone(),
    };
    let suspending = operator.client.operator.suspend_user(request);
    suspending.await.unwrap();
    let key = made.into_inner().stream_key;
    operator.begin(&key, "c1").await.unwrap_err();
    let count_is = async |count: f64| {
        eventually("the suspension is counted", async || {
            let scrape = Scrape::of(&program).await;
            (scrape.value("sluice_suspended_users", &[]) == Some(count)).then_some(scrape)
        })
        .await
    };
    assert_eq!(count_is(1.0).await.value(refused, &suspended), Some(1.0));

    let request = pb::ResumeUserRequest { user_id };
    operator.client.operator.resume_user(request).await.unwrap();
    count_is(0.0).await;
}

#[rstest]
#[tokio::test]
async fn statements_of_the_database_are_timed_by_their_kind(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let database = TestDatabase::create(engine).await;
    let program = Process::serve(&database, &[]);
    let mut client = Client::anonymous(&program.channel().await);
    let count = async |kind| {
        let scrape = Scrape::of(&program).await;
        let kind = format!(r#"kind="{kind}""#);
        let name = "sluice_database_statement_seconds_count";
        scrape.value(name, &[&kind]).unwrap()
    };
    let (queries, begins, commits) = (
        count("query").await,
        count("begin").await,
        count("commit").await,
    );
    assert!(count("other").await >= 0.0);

    client.auth.sign_up(sign_up()).await.unwrap();

    assert!(count("query").await > queries);
    assert!(count("begin").await > begins);
    assert!(count("commit").await > commits);
}

#[rstest]
#[tokio::test]
async fn relays_that_no_worker_takes_are_counted(#[values(Sqlite, Postgres)] engine: Engine) {
    let database = TestDatabase::create(engine).await;
    let secret = Process::create_operator_key(&database).await;
    let program = Process::serve(&database, &[("SLUICE_BCRYPT_COST", "4")]);
    let channel = program.channel().await;
    let owner = User::sign_up(&channel).await;
    let (project, key) = owner.project().await;
    for name in ["a", "b"] {
        let request = pb::CreateDestinationRequest {
            project_id: project.id.clone(),
            platform: pb::Platform::Custom.into(),
            display_name: name.to_owned(),
            url: "rtmp://live.example.com/app".to_owned(),
            stream_key: name.to_owned(),
            ..Default::default()
        };
        let mut projects = owner.client.project.clone();
        projects.create_destination(request).await.unwrap();
    }
    let token = exchange(&channel, &secret).await;
    let media = MediaServer {
        client: Client::with_token(&channel, &token),
    };
    media.live(&key, "c1").await;

    eventually("both relays are counted", async || {
        let scrape = Scrape::of(&program).await;
        let labels = [r#"code="no_capacity""#];
        (scrape.value("sluice_media_issues", &labels) == Some(2.0)).then_some(())
    })
    .await;
}
