use rstest::rstest;
use serde_json::Value;
use sluice::proto::v1 as pb;
use tonic::Request;

use crate::harness::{Client, Postgres, Process, Proxy, Signal, Sqlite, TestDatabase, eventually};

/// The log line of the call with this request id, once it is written.
async fn line_of(program: &Process, id: &str) -> Value {
    eventually("the call is logged", async || {
        let log = program.log();
        let lines = log
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .into_iter()
            .find(|line| line["message"] == "call" && line["span"]["request_id"] == id)
    })
    .await
}

fn with_request_id<T>(message: T, id: &str) -> Request<T> {
    let mut request = Request::new(message);
    let id = id.parse().unwrap();
    request.metadata_mut().insert("x-request-id", id);
    request
}

#[rstest]
#[case("production", false)]
#[case("development", true)]
#[tokio::test]
async fn successful_calls_are_logged_in_development_and_refused_ones_always(
    #[case] environment: &str,
    #[case] is_logged: bool,
) {
    let database = TestDatabase::create(Sqlite).await;
    let settings = [
        ("SLUICE_ENV", environment),
        ("SLUICE_BCRYPT_COST", "10"),
        ("SLUICE_JWT_SECRET", "c1f0a9e6b37d58422e6b1d07f98a3c54"),
        (
            "SLUICE_SEALING_KEYS",
            "S0ypXl2hVd1m6tFv0RwqO3eJ8nZbT4kUaG7cHs5yI9Q=",
        ),
    ];
    let program = Process::serve(&database, &settings);
    let mut client = Client::anonymous(&program.channel().await);

    let successful = with_request_id(pb::GetJwksRequest {}, "well");
    client.auth.get_jwks(successful).await.unwrap();
    let refused = with_request_id(pb::GetMeRequest {}, "refused");
    client.auth.get_me(refused).await.unwrap_err();

    let line = line_of(&program, "refused").await;
    assert_eq!(
        (&line["level"], &line["code"]),
        (&"INFO".into(), &"Unauthenticated".into())
    );
    let log = program.log();
    let is_there = log.iter().any(|line| line.contains(r#""well""#));
    assert_eq!(is_there, is_logged, "{log:?}");
    if is_logged {
        let line = line_of(&program, "well").await;
        assert_eq!(
            (&line["level"], &line["code"]),
            (&"DEBUG".into(), &"Ok".into())
        );
    }
}

#[tokio::test]
async fn a_slow_successful_call_is_logged_as_slow() {
    let database = TestDatabase::create(Sqlite).await;
    let settings = [
        ("SLUICE_LOG", "info"),
        ("SLUICE_SLOW_CALL", "1ms"),
        ("SLUICE_BCRYPT_COST", "8"),
    ];
    let program = Process::serve(&database, &settings);
    let mut client = Client::anonymous(&program.channel().await);

    let sign_up = pb::SignUpRequest {
        email: "ada@example.com".to_owned(),
        password: "correct horse battery".to_owned(),
        display_name: "Ada".to_owned(),
        request_id: String::new(),
    };
    client
        .auth
        .sign_up(with_request_id(sign_up, "slow"))
        .await
        .unwrap();

    let line = line_of(&program, "slow").await;
    assert_eq!(
        (&line["level"], &line["slow"]),
        (&"INFO".into(), &true.into())
    );
}

#[tokio::test]
async fn a_server_side_failure_is_logged_as_a_warning() {
    let (database, mut proxy) = Proxy::to_database(TestDatabase::create(Postgres).await).await;
    let settings = [
        ("SLUICE_LOG", "warn,sluice::commands=info"),
        ("SLUICE_DB_ACQUIRE_TIMEOUT", "200ms"),
    ];
    let program = Process::serve(&database, &settings);
    let mut client = Client::anonymous(&program.channel().await);

    proxy.disconnect().await;
    let sign_in = pb::SignInRequest {
        email: "ada@example.com".to_owned(),
        password: "correct horse battery".to_owned(),
        ..Default::default()
    };
    client
        .auth
        .sign_in(with_request_id(sign_in, "away"))
        .await
        .unwrap_err();

    let line = line_of(&program, "away").await;
    assert_eq!(
        (&line["level"], &line["code"]),
        (&"WARN".into(), &"Unavailable".into())
    );
    let log = program.log();
    let causes = log
        .iter()
        .filter(|line| line.contains("database unavailable"));
    let of_call = causes.filter(|line| line.contains(r#""request_id":"away""#));
    assert_eq!(
        of_call.count(),
        1,
        "a line logged within the call has its request id"
    );
}

#[tokio::test]
async fn every_line_is_one_json_object_whatever_the_caller_sends() {
    let database = TestDatabase::create(Sqlite).await;
    let mut program = Process::serve(&database, &[("SLUICE_LOG", "debug")]);
    let channel = program.channel().await;
    let mut client = Client::anonymous(&channel);
    for id in [r#"a"b"#, "a\\b", "a{b}", "plain"] {
        let jwks = with_request_id(pb::GetJwksRequest {}, id);
        client.auth.get_jwks(jwks).await.unwrap();
    }
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = r#"/sluice.v1.AuthService/","admin":"x"#.parse();
    let codec = tonic_prost::ProstCodec::<pb::GetMeRequest, pb::GetMeResponse>::default();
    let unknown = grpc.unary(Request::new(pb::GetMeRequest {}), path.unwrap(), codec);
    unknown.await.unwrap_err();

    line_of(&program, "plain").await;
    program.signal(Signal::TERM);
    program.wait_for_exit().await;
    for line in program.log() {
        let object: Value = serde_json::from_str(&line).expect(&line);
        assert!(object["level"].is_string(), "{line}");
        assert!(object["span"]["admin"].is_null(), "{line}");
    }
    let last = program.log().pop().unwrap();
    assert!(last.contains("stopped"), "the log is complete: {last}");
}
