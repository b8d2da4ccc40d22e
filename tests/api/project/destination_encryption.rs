//! The passphrase of an SRT destination.

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::fixtures::{
    RpcResult, create_destination, custom_destination, get_destination, update_request,
};
use crate::harness::{Engine, Pooled, Postgres, Sqlite, TestServer, User, Watcher, refused};

const PASSPHRASE: &str = "correct horse battery";
const SRT: &str = "srt://live.example.com:9000";

/// A CreateDestination request for an SRT server, with a passphrase.
fn encrypted_destination(project: &pb::Project) -> pb::CreateDestinationRequest {
    pb::CreateDestinationRequest {
        srt_passphrase: PASSPHRASE.to_owned(),
        ..custom_destination(project, SRT)
    }
}

async fn create(
    user: &User,
    request: pb::CreateDestinationRequest,
) -> RpcResult<pb::CreateDestinationResponse> {
    let mut projects = user.client.project.clone();
    projects.create_destination(request).await
}

async fn update(
    user: &User,
    request: pb::UpdateDestinationRequest,
) -> RpcResult<pb::UpdateDestinationResponse> {
    let mut projects = user.client.project.clone();
    projects.update_destination(request).await
}

async fn updated(user: &User, request: pb::UpdateDestinationRequest) -> pb::Destination {
    let answer = update(user, request).await.unwrap();
    answer.into_inner().destination.unwrap()
}

#[rstest]
#[tokio::test]
async fn an_srt_destination_may_have_a_passphrase_that_no_response_contains(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let (_, mut watcher) = Watcher::start_synced(&user.client, &project.id).await;

    let request = pb::CreateDestinationRequest {
        srt_pbkeylen: 32,
        ..encrypted_destination(&project)
    };
    let answer = create(&user, request).await.unwrap().into_inner();
    let made = answer.destination.clone().unwrap();

    assert!(made.has_srt_passphrase);
    assert_eq!(made.srt_pbkeylen, 32);
    assert_eq!(get_destination(&user, &made).await, made);
    let plain = create_destination(&user, custom_destination(&project, SRT)).await;
    assert_eq!((plain.has_srt_passphrase, plain.srt_pbkeylen), (false, 0));
    let event = watcher.next().await;
    for text in [format!("{answer:?}"), format!("{event:?}")] {
        assert!(text.contains(&made.id), "{text}");
        assert!(!text.contains(PASSPHRASE), "{text}");
    }
    for table in ["events", "audit_events"] {
        let query = match engine {
            Postgres | Pooled => {
                format!("select count(*) from {table} t where t::text like '%{PASSPHRASE}%'")
            }
            Sqlite if table == "events" => {
                format!("select count(*) from events where change like '%{PASSPHRASE}%'")
            }
            Sqlite => continue,
        };
        assert_eq!(server.database.number(&query).await, 0, "{table}");
    }
}

#[tokio::test]
async fn a_passphrase_has_10_to_79_bytes_and_a_key_16_24_or_32() {
    let server = TestServer::start(Sqlite).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let with = |passphrase: &str, pbkeylen| pb::CreateDestinationRequest {
        srt_passphrase: passphrase.to_owned(),
        srt_pbkeylen: pbkeylen,
        ..custom_destination(&project, SRT)
    };

    let longest = "x".repeat(79);
    for (passphrase, pbkeylen) in [
        ("0123456789", 0),
        (" 0123456789\r\n", 16),
        (&longest, 24),
        (PASSPHRASE, 32),
    ] {
        let made = create_destination(&user, with(passphrase, pbkeylen)).await;
        assert!(made.has_srt_passphrase);
        assert_eq!(made.srt_pbkeylen, pbkeylen);
    }
    for (passphrase, pbkeylen, field) in [
        ("012345678", 0, "srt_passphrase"),
        (&"x".repeat(80), 0, "srt_passphrase"),
        (&"é".repeat(40), 0, "srt_passphrase"),
        ("0123456789\u{200b}", 0, "srt_passphrase"),
        ("01234\n56789", 0, "srt_passphrase"),
        (PASSPHRASE, 1, "srt_pbkeylen"),
        (PASSPHRASE, -16, "srt_pbkeylen"),
        (PASSPHRASE, 128, "srt_pbkeylen"),
        ("", 16, "srt_pbkeylen"),
    ] {
        let refusal = refused(create(&user, with(passphrase, pbkeylen)).await);
        assert_eq!(refusal.fields(), [field], "{passphrase} {pbkeylen}");
    }
}

#[tokio::test]
async fn only_srt_destinations_may_have_a_passphrase() {
    let server = TestServer::start(Sqlite).await;
    let user = server.user().await;
    let (project, _) = user.project().await;

    for url in [
        "rtmp://live.example.com/app",
        "rtmps://live.example.com/app",
    ] {
        let request = pb::CreateDestinationRequest {
            url: url.to_owned(),
            ..encrypted_destination(&project)
        };
        let refusal = refused(create(&user, request).await);
        assert_eq!(refusal.fields(), ["srt_passphrase"], "{url}");

        let made = create_destination(&user, custom_destination(&project, url)).await;
        let request = pb::UpdateDestinationRequest {
            srt_passphrase: Some(PASSPHRASE.to_owned()),
            ..update_request(&made)
        };
        let refusal = refused(update(&user, request).await);
        assert_eq!(refusal.fields(), ["srt_passphrase"], "{url}");
    }
}

#[tokio::test]
async fn a_passphrase_in_the_url_or_behind_the_key_is_refused_with_the_field_to_use() {
    let server = TestServer::start(Sqlite).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let at = |url: &str| custom_destination(&project, url);
    let with_key = |key: &str| pb::CreateDestinationRequest {
        stream_key: key.to_owned(),
        ..custom_destination(&project, SRT)
    };

    for (request, field, hint) in [
        (
            at("srt://a.com:9000?passphrase=0123456789"),
            "url",
            "srt_passphrase",
        ),
        (
            at("srt://a.com:9000?latency=2&PassPhrase=0123456789"),
            "url",
            "srt_passphrase",
        ),
        (at("srt://a.com:9000?pbkeylen=16"), "url", "srt_pbkeylen"),
        (at("srt://a.com:9000?streamid=abc"), "url", "stream_key"),
        (at("srt://a.com:9000?mode=listener"), "url", "caller"),
        (at("srt://a.com:9000?mode=rendezvous"), "url", "caller"),
        (
            with_key("abc&passphrase=0123456789"),
            "stream_key",
            "srt_passphrase",
        ),
        (
            with_key("abc?pass%70hrase=0123456789&x"),
            "stream_key",
            "srt_passphrase",
        ),
        (with_key("abc&pbkeylen=32"), "stream_key", "srt_pbkeylen"),
    ] {
        let case = format!("{request:?} {}", request.stream_key);
        let refusal = refused(create(&user, request).await);
        assert_eq!(refusal.fields(), [field], "{case}");
        let violations = &refusal.details.bad_request().unwrap().field_violations;
        assert!(
            violations[0].description.contains(hint),
            "{case}: {violations:?}"
        );
        assert!(!format!("{refusal:?}").contains("0123456789"), "{case}");
    }
    // To an RTMP server it is a part of the key like any other.
    let request = pb::CreateDestinationRequest {
        stream_key: "abc?passphrase=0123456789".to_owned(),
        ..custom_destination(&project, "rtmp://live.example.com/app")
    };
    create_destination(&user, request).await;
    create_destination(&user, at("srt://a.com:9000?mode=caller")).await;
}

/// The row remains for a while.
#[rstest]
#[tokio::test]
async fn the_passphrases_of_a_deleted_project_are_erased_at_once(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    create_destination(&user, encrypted_destination(&project)).await;
    let sealed = "select count(*) from destinations where srt_passphrase_sealed is not null";
    assert_eq!(server.database.number(sealed).await, 1);

    let request = pb::DeleteProjectRequest {
        project_id: project.id,
        force: false,
        ..Default::default()
    };
    let mut projects = user.client.project.clone();
    projects.delete_project(request).await.unwrap();

    assert_eq!(server.database.number(sealed).await, 0);
}

#[rstest]
#[tokio::test]
async fn a_passphrase_is_kept_replaced_and_removed(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let made = create_destination(&user, encrypted_destination(&project)).await;
    let sealed = async || {
        let text = match engine {
            Sqlite => "hex(srt_passphrase_sealed)",
            Postgres | Pooled => "encode(srt_passphrase_sealed, 'hex')",
        };
        let digits = format!("select coalesce(sum(length({text})), 0) from destinations");
        server.database.number(&digits).await
    };
    let before = sealed().await;

    let renamed = pb::UpdateDestinationRequest {
        display_name: Some("Renamed".to_owned()),
        url: Some("srt://live.example.com:9000?latency=200".to_owned()),
        ..update_request(&made)
    };
    let renamed = updated(&user, renamed).await;
    assert!(renamed.has_srt_passphrase);
    assert_eq!(sealed().await, before);

    let longer = pb::UpdateDestinationRequest {
        srt_passphrase: Some(format!("{PASSPHRASE}!")),
        srt_pbkeylen: Some(24),
        ..update_request(&made)
    };
    let longer = updated(&user, longer).await;
    assert_eq!((longer.has_srt_passphrase, longer.srt_pbkeylen), (true, 24));
    assert_eq!(sealed().await, before + 2);

    let removed = pb::UpdateDestinationRequest {
        srt_passphrase: Some(String::new()),
        ..update_request(&made)
    };
    let removed = updated(&user, removed).await;
    assert_eq!(
        (removed.has_srt_passphrase, removed.srt_pbkeylen),
        (false, 0)
    );
    assert_eq!(sealed().await, 0);
}

/// Otherwise a caller that may update a destination could make workers use its write-only
/// passphrase with another server.
#[tokio::test]
async fn another_server_requires_the_passphrase_again() {
    let server = TestServer::start(Sqlite).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let moved = |made: &pb::Destination, url: &str, passphrase: Option<&str>| {
        pb::UpdateDestinationRequest {
            url: Some(url.to_owned()),
            stream_key: Some("another-key".to_owned()),
            srt_passphrase: passphrase.map(str::to_owned),
            ..update_request(made)
        }
    };
    let made = create_destination(&user, encrypted_destination(&project)).await;
    let other = "srt://other.example.com:9000";

    let refusal = refused(update(&user, moved(&made, other, None)).await);
    assert_eq!(refusal.fields(), ["srt_passphrase"]);
    assert_eq!(get_destination(&user, &made).await, made);

    let with_another = updated(&user, moved(&made, other, Some("another passphrase"))).await;
    assert!(with_another.has_srt_passphrase);
    let without = updated(&user, moved(&made, SRT, Some(""))).await;
    assert!(!without.has_srt_passphrase);

    let made = create_destination(&user, encrypted_destination(&project)).await;
    let to_rtmp = updated(&user, moved(&made, "rtmp://other.example.com/app", None)).await;
    assert!(!to_rtmp.has_srt_passphrase, "RTMP has none");
}
