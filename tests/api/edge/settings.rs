use rstest::rstest;

use crate::{harness::Process, lifecycle::startup::outcome};

/// The required settings of an edge.
const REQUIRED: [(&str, &str); 3] = [
    ("SLUICE_API_KEY", "slk_x"),
    ("SLUICE_HOOKS_SECRET", "0123456789abcdef"),
    ("SLUICE_HOOKS_LISTEN", "127.0.0.1:0"),
];

#[rstest]
#[case("SLUICE_CONTROL_PLANE", "127.0.0.1:50051")]
#[case("SLUICE_CONTROL_PLANE", "https://sluice.example.com/api")]
#[case("SLUICE_CONTROL_PLANE_CA", "ca.pem")]
#[case("SLUICE_API_KEY", " ")]
#[case("SLUICE_NODE_ID", "my server")]
#[case("SLUICE_NODE_ID", "sörver")]
#[case("SLUICE_MEDIA_SERVER", "wowza")]
#[case("SLUICE_MEDIA_SERVER_API", "https://127.0.0.1:8080")]
#[case("SLUICE_MEDIA_SERVER_RTMP", "rtmp://127.0.0.1/live")]
#[case("SLUICE_HOOKS_LISTEN", "everywhere")]
#[case("SLUICE_EDGE_OPERATIONS_LISTEN", "everywhere")]
#[case("SLUICE_HOOKS_SECRET", "too short")]
#[case("SLUICE_HOOKS_SECRET", "0123456789abcdef/")]
#[case("SLUICE_OUTAGE_GRACE", "2days")]
#[case("SLUICE_RELAY_CAPACITY", "1001")]
#[case("SLUICE_RELAY_PROGRESS_TIMEOUT", "0s")]
#[case("SLUICE_ALLOW_PRIVATE_DESTINATIONS", "maybe")]
#[case("SLUICE_INGEST_HOSTS", "rtmp://ingest.example.com/live")]
#[case("SLUICE_LOG", "sluice=loud")]
#[case("SLUICE_LOG_FORMAT", "xml")]
#[tokio::test]
async fn an_invalid_setting_stops_the_edge_with_a_message_that_names_it(
    #[case] variable: &str,
    #[case] value: &str,
) {
    let settings: Vec<_> = REQUIRED.into_iter().chain([(variable, value)]).collect();
    assert_stops_naming(&settings, variable).await;
}

#[tokio::test]
async fn the_api_key_may_be_set_only_once() {
    let both = [("SLUICE_API_KEY_FILE", "key")];
    let settings: Vec<_> = REQUIRED.into_iter().chain(both).collect();
    assert_stops_naming(&settings, "SLUICE_API_KEY").await;
}

#[rstest]
#[case("SLUICE_API_KEY")]
#[case("SLUICE_HOOKS_SECRET")]
#[tokio::test]
async fn an_edge_requires_an_api_key_and_a_hooks_secret(#[case] variable: &str) {
    let without = |(name, _): &(&str, &str)| *name != variable;
    let settings: Vec<_> = REQUIRED.into_iter().filter(without).collect();
    assert_stops_naming(&settings, variable).await;
}

#[rstest]
#[case::missing(None)]
#[case::no_certificate(Some("hello"))]
#[tokio::test]
async fn the_ca_of_the_control_plane_must_be_a_certificate(#[case] text: Option<&str>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    if let Some(text) = text {
        std::fs::write(&file, text).unwrap();
    }
    let own = [
        ("SLUICE_CONTROL_PLANE", "https://localhost:1"),
        ("SLUICE_CONTROL_PLANE_CA", file.to_str().unwrap()),
    ];
    let settings: Vec<_> = REQUIRED.into_iter().chain(own).collect();
    assert_stops_naming(&settings, "SLUICE_CONTROL_PLANE_CA").await;
}

#[rstest]
#[case::missing(None)]
#[case::no_certificate(Some("hello"))]
#[tokio::test]
async fn the_authorities_of_destinations_must_be_certificates(#[case] text: Option<&str>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    if let Some(text) = text {
        std::fs::write(&file, text).unwrap();
    }
    let own = [("SLUICE_RELAY_CA_FILE", file.to_str().unwrap())];
    let settings: Vec<_> = REQUIRED.into_iter().chain(own).collect();
    assert_stops_naming(&settings, "SLUICE_RELAY_CA_FILE").await;
}

#[tokio::test]
async fn the_help_text_of_an_edge_shows_no_secret() {
    let secret = "0123456789abcdef-secret";
    let settings = [("SLUICE_API_KEY", secret), ("SLUICE_HOOKS_SECRET", secret)];
    let output = Process::run(Process::command(&["edge", "--help"], &settings)).await;

    assert_eq!(output.exit_code, Some(0));
    assert!(output.stdout.contains("SLUICE_HOOKS_SECRET"));
    assert!(!output.stdout.contains(secret));
}

#[tokio::test]
async fn all_invalid_and_missing_settings_of_an_edge_are_named_at_once() {
    let settings = [
        ("SLUICE_NODE_ID", "my server"),
        ("SLUICE_MEDIA_SERVER", "wowza"),
    ];
    let (code, stderr) = outcome(&["edge"], &settings).await;

    assert_eq!(code, Some(2), "{stderr}");
    let named = [
        "SLUICE_NODE_ID (--node-id) must",
        "SLUICE_MEDIA_SERVER (--media-server) must",
        "SLUICE_API_KEY or SLUICE_API_KEY_FILE must be set",
        "SLUICE_HOOKS_SECRET must be set",
    ];
    for sentence in named {
        assert!(stderr.contains(sentence), "{sentence}: {stderr}");
    }
    assert_eq!(stderr.lines().count(), named.len(), "{stderr}");
}

async fn assert_stops_naming(settings: &[(&str, &str)], variable: &str) {
    let (code, output) = outcome(&["edge"], settings).await;

    let last = output.lines().last().unwrap_or_default();
    assert_eq!(code, Some(2), "{output}");
    assert!(last.starts_with(&format!("sluice: {variable}")), "{output}");
}
