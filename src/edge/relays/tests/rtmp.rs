use std::time::Duration;

use tokio::time::sleep;

use super::{
    hooks::Hooks,
    rig::{KEY, Nginx, Worker, command_lines, eventually, free_port, publish},
};
use crate::{
    domain::UrlPolicy,
    proto::v1::{
        RelayAssignment,
        RelayErrorSeverity::{Fatal, Retryable},
        RelayState,
    },
};

#[tokio::test]
async fn a_server_is_told_the_application_and_the_stream_name_as_the_owner_gave_them() {
    // Not the key of other tests, whose recordings have its name.
    const SECRET: &str = "a-key-that-nobody-may-see";
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let _publisher = publish(&nginx.source());
    let worker = Worker::new();
    let server = format!("rtmp://127.0.0.1:{}", nginx.port);
    for (application, key, app, name) in [
        ("live", SECRET, "live", SECRET),
        ("live", "abc/def==", "live", "abc/def=="),
        ("app/inst?user=a&pass=b", "key", "app/inst", "key"),
    ] {
        let tc_url = format!("{server}/{application}");
        let relay = worker.relay_with_key(&nginx.source(), &tc_url, key);
        relay.has_sent(10_000).await;
        let asked = hooks.heard().pop().unwrap();
        let field = |name: &str| {
            let mut fields = url::form_urlencoded::parse(asked.as_bytes());
            fields.find_map(|(field, value)| (field == name).then(|| value.into_owned()))
        };
        assert_eq!(field("app").as_deref(), Some(app), "{asked}");
        assert_eq!(field("name").as_deref(), Some(name), "{asked}");
        assert_eq!(field("tcurl"), Some(tc_url), "{asked}");
        assert!(!command_lines().contains(SECRET));
        relay.end().await;
        eventually("the server is told of the end", async || {
            hooks
                .heard()
                .last()
                .is_some_and(|asked| asked.contains("call=publish_done"))
        })
        .await;
    }
}

#[tokio::test]
async fn a_key_that_a_server_turns_away_is_refused() {
    let hooks = Hooks::start(403).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let _publisher = publish(&nginx.source());
    let worker = Worker::new();
    let relay = worker.relay(
        &nginx.source(),
        &format!("rtmp://127.0.0.1:{}/live", nginx.port),
    );

    let failure = relay.failure().await;
    assert_eq!(failure.code, "DESTINATION_REFUSED");
    assert!(!failure.message.contains(KEY));
    assert_eq!(relay.now().bytes, 0);
}

#[tokio::test]
async fn a_second_publisher_of_a_name_is_refused_in_the_servers_words() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let _publisher = publish(&nginx.source());
    let worker = Worker::new();
    let server = format!("rtmp://127.0.0.1:{}/live", nginx.port);
    let first = worker.relay(&nginx.source(), &server);
    first.has_sent(1).await;

    let failure = worker.relay(&nginx.source(), &server).failure().await;
    assert_eq!(failure.code, "DESTINATION_REFUSED");
    let words = "NetStream.Publish.BadName";
    assert!(failure.message.contains(words), "{}", failure.message);
}

#[tokio::test]
async fn a_server_that_goes_right_after_it_accepted_has_closed_early() {
    let hooks = Hooks::start(200).await;
    let input = Nginx::start(&hooks.url()).await;
    let mut output = Nginx::start(&hooks.url()).await;
    let _publisher = publish(&input.source());
    let worker = Worker::new();
    let relay = worker.relay(
        &input.source(),
        &format!("rtmp://127.0.0.1:{}/live", output.port),
    );
    relay.has_sent(1).await;

    output.kill().await;
    let failure = relay.failure().await;
    // On a machine that is slow enough the first seconds are over.
    assert!(["DESTINATION_CLOSED_EARLY", "DESTINATION_LOST"].contains(&failure.code));
}

#[tokio::test]
async fn a_server_that_goes_after_the_first_seconds_is_lost() {
    let hooks = Hooks::start(200).await;
    let input = Nginx::start(&hooks.url()).await;
    let mut output = Nginx::start(&hooks.url()).await;
    let _publisher = publish(&input.source());
    let worker = Worker::new();
    let relay = worker.relay(
        &input.source(),
        &format!("rtmp://127.0.0.1:{}/live", output.port),
    );
    relay.has_sent(1).await;
    // A server that goes sooner may have refused the key.
    sleep(Duration::from_secs(6)).await;

    output.kill().await;
    let failure = relay.failure().await;
    assert_eq!(failure.code, "DESTINATION_LOST", "{}", failure.message);
}

#[tokio::test]
async fn where_nothing_listens_the_connection_is_refused() {
    let worker = Worker::new();
    let port = free_port().await;
    let relay = worker.relay(
        "rtmp://127.0.0.1:1/a/b",
        &format!("rtmp://127.0.0.1:{port}/live"),
    );
    let failure = relay.failure().await;
    assert_eq!(
        (failure.code, failure.severity),
        ("CONNECTION_REFUSED", Retryable)
    );
}

#[tokio::test]
async fn addresses_that_cannot_be_sent_to_are_known_before_anything_is_sent() {
    let open = || UrlPolicy {
        allow_private: true,
        ..UrlPolicy::default()
    };
    for (url, key, policy, code, severity) in [
        (
            "rtmp://127.0.0.1/live",
            "k",
            UrlPolicy::default(),
            "ADDRESS_FORBIDDEN",
            Fatal,
        ),
        (
            "srt://127.0.0.1:9000",
            "k",
            UrlPolicy::default(),
            "ADDRESS_FORBIDDEN",
            Fatal,
        ),
        (
            "rtmp://127.0.0.1/live",
            "",
            open(),
            "ADDRESS_INVALID",
            Fatal,
        ),
        (
            "http://127.0.0.1/live",
            "k",
            open(),
            "ADDRESS_INVALID",
            Fatal,
        ),
        (
            "rtmp://nobody.invalid/live",
            "k",
            open(),
            "HOST_NOT_FOUND",
            Retryable,
        ),
    ] {
        let relay = Worker::with(policy).relay_with_key("rtmp://127.0.0.1:1/a/b", url, key);
        let failure = relay.failure().await;
        assert_eq!((failure.code, failure.severity), (code, severity), "{url}");
    }
}

#[tokio::test]
async fn a_passphrase_is_for_srt_only() {
    let relay = Worker::new().assign(RelayAssignment {
        input_url: "rtmp://127.0.0.1:1/a/b".to_owned(),
        output_server_url: "rtmp://127.0.0.1:1/live".to_owned(),
        output_stream_key: KEY.to_owned(),
        srt_passphrase: "correct horse".to_owned(),
        ..Default::default()
    });
    let failure = relay.failure().await;
    assert_eq!(
        (failure.code, failure.severity),
        ("ENCRYPTION_UNSUPPORTED", Fatal)
    );
}

#[tokio::test]
async fn an_output_stays_connected_while_the_media_server_restarts() {
    let hooks = Hooks::start(200).await;
    let mut input = Nginx::start(&hooks.url()).await;
    let output = Nginx::start(&hooks.url()).await;
    let publisher = publish(&input.source());
    let worker = Worker::new();
    let relay = worker.relay(
        &input.source(),
        &format!("rtmp://127.0.0.1:{}/live", output.port),
    );
    relay.has_sent(10_000).await;

    input.kill().await;
    drop(publisher);
    input.start_again().await;
    let before = relay.now().bytes;
    let _publisher = publish(&input.source());
    relay.has_sent(before + 10_000).await;
    assert_eq!(relay.now().state, RelayState::Broadcasting);
    let connections = hooks
        .heard()
        .into_iter()
        .filter(|asked| asked.contains("call=publish&"));
    assert_eq!(connections.count(), 1);
    relay.end().await;
}
