use super::{
    hooks::Hooks,
    rig::{Nginx, Worker},
};
use crate::{
    domain::UrlPolicy,
    proto::v1::{
        DestinationCheck, DestinationCheckOutcome as Outcome, DestinationCheckResult,
        DestinationCheckStep as Step,
    },
};

async fn check(worker: &Worker, server_url: &str) -> Vec<(Step, Outcome, String)> {
    let check = DestinationCheck {
        check_id: "1".to_owned(),
        server_url: server_url.to_owned(),
        timeout: None,
    };
    let report = worker.check(check).await;
    assert_eq!(report.check_id, "1");
    let result = |result: DestinationCheckResult| {
        assert!(!result.detail.contains("127.0.0.1"), "{result:?}");
        (result.step(), result.outcome(), result.detail)
    };
    report.results.into_iter().map(result).collect()
}

fn steps(results: &[(Step, Outcome, String)]) -> Vec<Step> {
    results.iter().map(|(step, ..)| *step).collect()
}

/// The step that has failed, and why; all before have passed.
fn failure(results: &[(Step, Outcome, String)]) -> (Step, &str) {
    let ((step, outcome, why), before) = results.split_last().unwrap();
    assert_eq!(*outcome, Outcome::Failed, "{results:?}");
    assert!(
        before
            .iter()
            .all(|(_, outcome, _)| *outcome == Outcome::Passed),
        "{results:?}"
    );
    (*step, why)
}

#[tokio::test]
async fn a_real_server_that_has_the_application_passes_all_steps() {
    let (worker, hooks) = (Worker::new(), Hooks::start(200).await);
    let nginx = Nginx::start(&hooks.url()).await;
    let results = check(&worker, &format!("rtmp://127.0.0.1:{}/live", nginx.port)).await;
    assert_eq!(
        steps(&results),
        [
            Step::Name,
            Step::Address,
            Step::Tcp,
            Step::Rtmp,
            Step::Application
        ]
    );
    assert!(
        results
            .iter()
            .all(|(_, outcome, _)| *outcome == Outcome::Passed),
        "{results:?}"
    );
    // Nothing was published.
    assert_eq!(hooks.heard(), [""; 0]);
}

#[tokio::test]
async fn the_application_that_a_real_server_does_not_have_fails() {
    let (worker, hooks) = (Worker::new(), Hooks::start(200).await);
    let nginx = Nginx::start(&hooks.url()).await;
    let url = format!("rtmp://127.0.0.1:{}/no-such-application", nginx.port);
    let results = check(&worker, &url).await;
    assert_eq!(failure(&results).0, Step::Application, "{results:?}");
}

#[tokio::test]
async fn the_step_that_fails_is_the_last_one_and_says_why() {
    let worker = Worker::new();
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = unused.local_addr().unwrap().port();
    drop(unused);
    for (url, step, why) in [
        (
            "rtmp://nobody.invalid/app",
            Step::Name,
            "cannot be resolved",
        ),
        ("rtmp://127.0.0.1", Step::Name, "must name an application"),
        (
            &format!("rtmp://127.0.0.1:{port}/app"),
            Step::Tcp,
            "nothing listens",
        ),
        (
            &format!("srt://127.0.0.1:{port}"),
            Step::Srt,
            "nothing listens",
        ),
    ] {
        let results = check(&worker, url).await;
        let (failed, told) = failure(&results);
        assert_eq!(failed, step, "{url}");
        assert!(told.contains(why), "{url}: {told}");
    }
}

#[tokio::test]
async fn a_server_without_rtmp_or_tls_fails_at_that_step() {
    let worker = Worker::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let _server = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut client, &[b'x'; 4096]).await;
        }
    }));
    for (scheme, step) in [("rtmp", Step::Rtmp), ("rtmps", Step::Tls)] {
        let results = check(&worker, &format!("{scheme}://127.0.0.1:{port}/app")).await;
        assert_eq!(failure(&results).0, step, "{results:?}");
    }
}

#[tokio::test]
async fn a_private_address_is_not_connected_to() {
    let worker = Worker::with(UrlPolicy::default());
    for url in [
        "rtmp://127.0.0.1:1/app",
        "rtmp://localhost:1/app",
        "srt://10.1.2.3:9000",
    ] {
        let results = check(&worker, url).await;
        assert_eq!(failure(&results).0, Step::Address, "{url}");
    }
}
