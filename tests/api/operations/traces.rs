use opentelemetry_proto::tonic::{
    logs::v1::LogRecord,
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use rstest::rstest;
use serde_json::Value;
use sluice::proto::v1 as pb;
use tonic::Request;

use super::scrape::Scrape;
use crate::harness::{
    Client, Collector, Engine, Postgres, Process, Proxy, Signal, Sqlite, TestDatabase, attribute,
    eventually,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn with_traceparent<T>(message: T, traceparent: &str) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("traceparent", traceparent.parse().unwrap());
    request
}

fn sign_up(email: &str) -> pb::SignUpRequest {
    pb::SignUpRequest {
        email: email.to_owned(),
        password: "correct horse battery".to_owned(),
        display_name: "Ada".to_owned(),
        request_id: String::new(),
    }
}

async fn span(collector: &Collector, name: &str) -> Span {
    eventually("the span is exported", async || {
        collector.spans().into_iter().find(|span| span.name == name)
    })
    .await
}

#[rstest]
#[tokio::test]
async fn a_call_continues_its_callers_trace_with_spans_for_statements_and_hashing(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let database = TestDatabase::create(engine).await;
    let collector = Collector::start().await;
    let settings = [
        ("SLUICE_OTLP_ENDPOINT", &*collector.url),
        ("SLUICE_TRACE_RATIO", "0"),
    ];
    let mut program = Process::serve(&database, &settings);
    let mut client = Client::anonymous(&program.channel().await);

    // The ratio is 0 and neither has a sampled parent.
    client
        .auth
        .sign_up(sign_up("ada@example.com"))
        .await
        .unwrap();
    let not_sampled = with_traceparent(
        sign_up("ben@example.com"),
        &format!("00-{TRACE}-{PARENT}-00"),
    );
    client.auth.sign_up(not_sampled).await.unwrap();
    let sampled = with_traceparent(
        sign_up("cleo@example.com"),
        &format!("00-{TRACE}-{PARENT}-01"),
    );
    client.auth.sign_up(sampled).await.unwrap();

    let call = span(&collector, "sluice.v1.AuthService/SignUp").await;
    assert_eq!(hex(&call.trace_id), TRACE);
    assert_eq!(hex(&call.parent_span_id), PARENT);
    assert_eq!(call.kind(), SpanKind::Server);
    assert_eq!(
        call.status.clone().unwrap_or_default().code(),
        StatusCode::Unset
    );
    let of_call = |key| attribute(&call.attributes, key);
    assert_eq!(of_call("rpc.system"), "grpc");
    assert_eq!(of_call("rpc.service"), "sluice.v1.AuthService");
    assert_eq!(of_call("rpc.method"), "SignUp");
    assert_eq!(of_call("rpc.grpc.status_code"), "0");
    let resource = &collector.received()[0].resource_spans[0].resource;
    let resource = &resource.as_ref().unwrap().attributes;
    assert_eq!(attribute(resource, "service.name"), "sluice");

    program.signal(Signal::TERM);
    assert_eq!(program.wait_for_exit().await, Some(0));
    let spans = collector.spans();
    assert!(
        spans.iter().all(|span| hex(&span.trace_id) == TRACE),
        "{spans:?}"
    );
    let of = |name: &str| -> Vec<&Span> {
        // On SQLite, a savepoint may be made together with the first statement.
        let named = spans.iter().filter(|span| {
            let statement = span.name.rsplit(';').next().unwrap_or_default();
            statement.starts_with(name)
        });
        named.collect()
    };
    assert_eq!(of("sluice.v1").len(), 1, "only the sampled call");
    assert_ne!(of("insert into users"), [] as [&Span; 0], "{spans:?}");
    assert_ne!(of("password"), [] as [&Span; 0], "{spans:?}");
    let children = [of("password"), of("insert into users")].concat();
    for child in children {
        assert_eq!(child.parent_span_id, call.span_id, "{child:?}");
        assert!(child.start_time_unix_nano >= call.start_time_unix_nano - 1_000_000);
        assert!(child.end_time_unix_nano <= call.end_time_unix_nano + 1_000_000);
    }
    let all = format!("{:?}", collector.received());
    for secret in ["@example.com", "correct horse"] {
        assert!(!all.contains(secret), "a trace contains {secret}");
    }
}

#[tokio::test]
async fn without_a_valid_traceparent_the_sampling_ratio_decides() {
    let database = TestDatabase::create(Sqlite).await;
    let collector = Collector::start().await;
    let settings = [
        ("SLUICE_OTLP_ENDPOINT", &*collector.url),
        ("SLUICE_TRACE_RATIO", "1"),
    ];
    let program = Process::serve(&database, &settings);
    let mut client = Client::anonymous(&program.channel().await);

    let nonsense = with_traceparent(pb::GetMeRequest {}, &format!("00-{TRACE}-nonsense-01"));
    client.auth.get_me(nonsense).await.unwrap_err();

    let call = span(&collector, "sluice.v1.AuthService/GetMe").await;
    assert_ne!(hex(&call.trace_id), TRACE);
    assert!(call.parent_span_id.is_empty());
    assert_eq!(attribute(&call.attributes, "rpc.grpc.status_code"), "16");
    // An error of the caller is no error of the span.
    assert_eq!(call.status.unwrap_or_default().code(), StatusCode::Unset);
}

#[tokio::test]
async fn log_lines_of_a_sampled_call_have_the_ids_of_its_trace_and_span() {
    let database = TestDatabase::create(Sqlite).await;
    let collector = Collector::start().await;
    let settings = [
        ("SLUICE_OTLP_ENDPOINT", &*collector.url),
        ("SLUICE_TRACE_RATIO", "0"),
    ];
    let program = Process::serve(&database, &settings);
    let mut client = Client::anonymous(&program.channel().await);

    let sampled = with_traceparent(pb::GetMeRequest {}, &format!("00-{TRACE}-{PARENT}-01"));
    client.auth.get_me(sampled).await.unwrap_err();
    client.auth.get_jwks(pb::GetJwksRequest {}).await.unwrap();

    let call = span(&collector, "sluice.v1.AuthService/GetMe").await;
    let logged = async |method: &str| {
        eventually("the call is logged", async || {
            let lines = program.log().into_iter();
            let mut lines = lines.map(|line| serde_json::from_str::<Value>(&line).unwrap());
            lines.find(|line| line["span"]["method"] == method)
        })
        .await
    };
    let line = logged("sluice.v1.AuthService/GetMe").await;
    assert_eq!(line["span"]["trace_id"], TRACE);
    assert_eq!(line["span"]["span_id"], hex(&call.span_id));
    let line = logged("sluice.v1.AuthService/GetJwks").await;
    assert_eq!(line["span"].get("trace_id"), None, "it was not sampled");
}

#[tokio::test]
async fn the_log_is_sent_to_the_collector_with_the_fields_and_the_trace_of_each_call() {
    let database = TestDatabase::create(Sqlite).await;
    let collector = Collector::start().await;
    let settings = [
        ("SLUICE_OTLP_ENDPOINT", &*collector.url),
        ("SLUICE_OTLP_LOGS", "true"),
        ("SLUICE_TRACE_RATIO", "0"),
    ];
    let mut program = Process::serve(&database, &settings);
    let mut client = Client::anonymous(&program.channel().await);
    let sampled = with_traceparent(pb::GetMeRequest {}, &format!("00-{TRACE}-{PARENT}-01"));
    client.auth.get_me(sampled).await.unwrap_err();
    program.signal(Signal::TERM);
    assert_eq!(program.wait_for_exit().await, Some(0));

    let records = collector.log_records();
    let body = |record: &LogRecord| format!("{:?}", record.body);
    let is_call = |record: &&LogRecord| {
        attribute(&record.attributes, "method") == "sluice.v1.AuthService/GetMe"
    };
    let call = records.iter().find(is_call).unwrap();
    assert!(body(call).contains("call"), "{call:?}");
    assert_eq!(hex(&call.trace_id), TRACE);
    assert_eq!(attribute(&call.attributes, "code"), "Unauthenticated");
    assert_ne!(attribute(&call.attributes, "request_id"), "");
    assert_eq!(call.severity_text, "INFO");
    // Records of the shutdown are sent too, and lines on standard error stay.
    assert!(
        records
            .iter()
            .any(|record| body(record).contains("stopped"))
    );
    assert!(program.log().concat().contains("GetMe"));
}

#[tokio::test]
async fn without_the_setting_the_log_is_not_sent_to_the_collector() {
    let database = TestDatabase::create(Sqlite).await;
    let collector = Collector::start().await;
    let settings = [
        ("SLUICE_OTLP_ENDPOINT", &*collector.url),
        ("SLUICE_TRACE_RATIO", "1"),
    ];
    let program = Process::serve(&database, &settings);
    let mut client = Client::anonymous(&program.channel().await);
    client.auth.get_jwks(pb::GetJwksRequest {}).await.unwrap();
    span(&collector, "sluice.v1.AuthService/GetJwks").await;
    assert!(collector.log_records().is_empty());
}

#[tokio::test]
async fn the_resource_of_traces_follows_the_variables_of_opentelemetry() {
    for (variables, service, environment) in [
        (&[][..], "sluice", ""),
        (
            &[(
                "OTEL_RESOURCE_ATTRIBUTES",
                "service.name=eu,deployment.environment.name=a%2Cb",
            )],
            "eu",
            "a,b",
        ),
        (
            &[
                ("OTEL_SERVICE_NAME", "control"),
                ("OTEL_RESOURCE_ATTRIBUTES", "service.name=eu"),
            ],
            "control",
            "",
        ),
    ] {
        let database = TestDatabase::create(Sqlite).await;
        let collector = Collector::start().await;
        let mut settings = vec![
            ("SLUICE_OTLP_ENDPOINT", &*collector.url),
            ("SLUICE_TRACE_RATIO", "1"),
        ];
        settings.extend(variables);
        let program = Process::serve(&database, &settings);
        let mut client = Client::anonymous(&program.channel().await);
        client.auth.get_jwks(pb::GetJwksRequest {}).await.unwrap();

        span(&collector, "sluice.v1.AuthService/GetJwks").await;
        let received = collector.received();
        let resource = received[0].resource_spans[0].resource.clone().unwrap();
        let value = |key| attribute(&resource.attributes, key);
        assert_eq!(value("service.name"), service);
        assert_eq!(value("service.version"), env!("CARGO_PKG_VERSION"));
        assert_eq!(value("deployment.environment.name"), environment);
    }
}

#[tokio::test]
async fn a_server_side_failure_is_a_span_with_an_error_status() {
    let (database, mut proxy) = Proxy::to_database(TestDatabase::create(Postgres).await).await;
    let collector = Collector::start().await;
    let settings = [
        ("SLUICE_OTLP_ENDPOINT", &*collector.url),
        ("SLUICE_TRACE_RATIO", "1"),
        ("SLUICE_DB_ACQUIRE_TIMEOUT", "200ms"),
    ];
    let program = Process::serve(&database, &settings);
    let mut client = Client::anonymous(&program.channel().await);
    proxy.disconnect().await;

    client
        .auth
        .sign_up(sign_up("ada@example.com"))
        .await
        .unwrap_err();

    let call = span(&collector, "sluice.v1.AuthService/SignUp").await;
    assert_eq!(attribute(&call.attributes, "rpc.grpc.status_code"), "14");
    assert_eq!(call.status.unwrap().code(), StatusCode::Error);
}

#[tokio::test]
async fn an_unreachable_collector_delays_nothing_and_is_logged_once() {
    let database = TestDatabase::create(Sqlite).await;
    let settings = [
        ("SLUICE_OTLP_ENDPOINT", "http://127.0.0.1:1"),
        ("SLUICE_TRACE_RATIO", "1"),
    ];
    let mut program = Process::serve(&database, &settings);
    let mut client = Client::anonymous(&program.channel().await);

    let failed = [r#"outcome="failed""#];
    for expected in [1.0, 2.0] {
        client.auth.get_jwks(pb::GetJwksRequest {}).await.unwrap();
        eventually("the spans could not be sent", async || {
            let scrape = Scrape::of(&program).await;
            (scrape.value("sluice_trace_spans_total", &failed) >= Some(expected)).then_some(())
        })
        .await;
    }

    program.signal(Signal::TERM);
    assert_eq!(program.wait_for_exit().await, Some(0));
    let log = program.log();
    let logged = log
        .iter()
        .filter(|line| line.contains("cannot send traces"));
    assert_eq!(logged.count(), 1, "{log:?}");
}
