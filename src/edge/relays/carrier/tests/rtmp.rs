use tokio::{process::Command, time::timeout};

use super::{
    hooks::Hooks,
    rig::{
        Nginx, PATIENCE, command_lines, eventually, fault_of, free_port, joined, open_policy,
        publish, sending,
    },
};
use crate::{
    domain::{Secret, UrlPolicy},
    edge::relays::carrier::{Carrier, Output},
    proto::v1::RelayErrorSeverity,
};

const KEY: &str = "k3y-that-nobody-may-see";

#[tokio::test]
async fn what_ffmpeg_sends_comes_under_the_true_name_and_can_be_read_so() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let url = format!("rtmp://127.0.0.1:{}/live/{KEY}", nginx.port);
    let carrier = sending(&format!("{url}?s_bl=1&a=Ab%2f+")).await;
    let _ffmpeg = publish(&carrier);

    eventually("media flows", async || carrier.bytes() > 10_000).await;
    let asked = hooks.heard().remove(0);
    for field in [
        "app=live&".to_owned(),
        format!("tcurl=rtmp://127.0.0.1:{}/live&", nginx.port),
        format!("&name={KEY}&"),
        "&s_bl=1&a=Ab%2f+".to_owned(),
    ] {
        assert!(asked.contains(&field), "{field} in {asked}");
    }

    let reading = Carrier::reading(&Secret::new(url)).await.unwrap();
    let probe = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "stream=codec_name"])
        .args(["-f", reading.format(), reading.local_url()])
        .kill_on_drop(true)
        .output();
    let probed = timeout(PATIENCE, probe)
        .await
        .expect("ffprobe ends")
        .unwrap();
    assert!(String::from_utf8_lossy(&probed.stdout).contains("codec_name=flv1"));
    assert!(reading.bytes() > 0);
    assert!(!command_lines().contains(KEY));
}

#[tokio::test]
async fn a_server_is_told_the_application_and_the_stream_name_as_the_owner_gave_them() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let server = format!("rtmp://127.0.0.1:{}", nginx.port);
    for (application, key, app) in [
        ("live", "abc/def==", "live"),
        ("app/inst?user=a&pass=b", "key", "app/inst"),
    ] {
        let output = Output::Apart {
            server_url: Secret::new(format!("{server}/{application}")),
            stream_key: Secret::new(key),
        };
        let carrier = Carrier::sending(&output, &open_policy()).await.unwrap();
        let _ffmpeg = publish(&carrier);

        eventually("media flows", async || carrier.bytes() > 10_000).await;
        let asked = hooks.heard().pop().unwrap();
        let field = |name: &str| {
            let mut fields = url::form_urlencoded::parse(asked.as_bytes());
            fields.find_map(|(field, value)| (field == name).then(|| value.into_owned()))
        };
        assert_eq!(field("app").as_deref(), Some(app), "{asked}");
        assert_eq!(field("name").as_deref(), Some(key), "{asked}");
        assert_eq!(
            field("tcurl"),
            Some(format!("{server}/{application}")),
            "{asked}"
        );
    }
}

#[tokio::test]
async fn a_key_that_a_server_turns_away_is_refused() {
    let hooks = Hooks::start(403).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let carrier = sending(&format!("rtmp://127.0.0.1:{}/live/{KEY}", nginx.port)).await;
    let _ffmpeg = publish(&carrier);

    let fault = fault_of(&carrier).await;
    assert_eq!(fault.code, "DESTINATION_REFUSED");
    assert!(!fault.message.contains(KEY));
    assert_eq!(carrier.bytes(), 0);
}

#[tokio::test]
async fn a_second_publisher_of_a_name_is_refused_in_the_servers_words() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let url = format!("rtmp://127.0.0.1:{}/live/{KEY}", nginx.port);
    let first = sending(&url).await;
    let _ffmpeg = publish(&first);
    eventually("media flows", async || first.bytes() > 0).await;

    let second = sending(&url).await;
    let _other = publish(&second);
    let fault = fault_of(&second).await;
    assert_eq!(fault.code, "DESTINATION_REFUSED");
    assert!(
        fault.message.contains("NetStream.Publish.BadName"),
        "{}",
        fault.message
    );
}

#[tokio::test]
async fn a_server_that_goes_right_after_it_accepted_has_closed_early() {
    let hooks = Hooks::start(200).await;
    let mut nginx = Nginx::start(&hooks.url()).await;
    let carrier = sending(&format!("rtmp://127.0.0.1:{}/live/{KEY}", nginx.port)).await;
    let mut ffmpeg = publish(&carrier);

    eventually("media flows", async || carrier.bytes() > 0).await;
    nginx.kill().await;
    let fault = fault_of(&carrier).await;
    // On a machine that is slow enough the first seconds are over.
    assert!(["DESTINATION_CLOSED_EARLY", "DESTINATION_LOST"].contains(&fault.code));
    let ended = timeout(PATIENCE, ffmpeg.wait()).await.expect("ffmpeg ends");
    assert!(!ended.unwrap().success());
}

#[tokio::test]
async fn where_nothing_listens_the_connection_is_refused() {
    let url = format!("rtmp://127.0.0.1:{}/live/{KEY}", free_port().await);
    let carrier = sending(&url).await;
    let _ffmpeg = publish(&carrier);
    let fault = fault_of(&carrier).await;
    assert_eq!(fault.code, "CONNECTION_REFUSED");
    assert_eq!(fault.severity, RelayErrorSeverity::Retryable);
}

#[tokio::test]
async fn an_input_that_is_not_there_is_lost() {
    let url = Secret::new(format!("rtmp://127.0.0.1:{}/live/{KEY}", free_port().await));
    let carrier = Carrier::reading(&url).await.unwrap();
    let _probe = Command::new("ffprobe")
        .args(["-v", "quiet", carrier.local_url()])
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    assert_eq!(fault_of(&carrier).await.code, "INPUT_LOST");
}

#[tokio::test]
async fn addresses_that_cannot_be_sent_to_are_known_before_ffmpeg_is_started() {
    for (url, policy, code, severity) in [
        (
            "rtmp://127.0.0.1/live/k",
            UrlPolicy::default(),
            "ADDRESS_FORBIDDEN",
            RelayErrorSeverity::Fatal,
        ),
        (
            "srt://127.0.0.1:9000?streamid=k",
            UrlPolicy::default(),
            "ADDRESS_FORBIDDEN",
            RelayErrorSeverity::Fatal,
        ),
        (
            "rtmp://127.0.0.1/live",
            open_policy(),
            "ADDRESS_INVALID",
            RelayErrorSeverity::Fatal,
        ),
        (
            "http://127.0.0.1/live/k",
            open_policy(),
            "ADDRESS_INVALID",
            RelayErrorSeverity::Fatal,
        ),
        (
            "rtmp://nobody.invalid/live/k",
            open_policy(),
            "HOST_NOT_FOUND",
            RelayErrorSeverity::Retryable,
        ),
    ] {
        let fault = Carrier::sending(&joined(url), &policy).await.map(drop);
        let fault = fault.expect_err(url);
        assert_eq!((fault.code, fault.severity), (code, severity), "{url}");
    }
}
