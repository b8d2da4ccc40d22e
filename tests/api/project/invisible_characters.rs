//! Characters that cannot be seen, in names, addresses and keys.

use sluice::proto::v1 as pb;

use super::fixtures::{create_destination, custom_destination, update_request};
use crate::harness::{Refusal, Sqlite, TestServer, refused};

/// A zero-width space, a byte order mark, a soft hyphen, marks of direction, a joiner, a filler, a
/// tag, line separators and control characters.
const INVISIBLE: [&str; 14] = [
    "\u{200b}",
    "\u{feff}",
    "\u{ad}",
    "\u{200e}",
    "\u{202e}",
    "\u{2066}",
    "\u{200d}",
    "\u{3164}",
    "\u{e0041}",
    "\u{2060}",
    "\u{61c}",
    "\u{34f}",
    "\u{7}",
    "\u{9f}",
];

/// Checks that a call was refused because of a field that contains a character.
fn assert_names(refusal: &Refusal, field: &str, character: &str) {
    let code_point = u32::from(character.chars().next().unwrap());
    let code_point = format!("U+{code_point:04X}");
    assert_eq!(refusal.fields(), [field], "{code_point}");
    let violations = &refusal.details.bad_request().unwrap().field_violations;
    let description = &violations[0].description;
    assert!(
        description.contains(&code_point),
        "{code_point}: {description}"
    );
}

#[tokio::test]
async fn invisible_characters_are_refused_with_their_field_and_code_point() {
    let server = TestServer::start(Sqlite).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let mut projects = user.client.project.clone();
    let good = custom_destination(&project, "rtmp://live.example.com/app");
    let made = create_destination(&user, good.clone()).await;

    for character in INVISIBLE {
        for text in [
            format!("ab{character}cd"),
            format!("ab{character}"),
            character.to_owned(),
        ] {
            let named = pb::CreateDestinationRequest {
                display_name: text.clone(),
                ..good.clone()
            };
            let refusal = refused(projects.create_destination(named).await);
            assert_names(&refusal, "display_name", character);
            let keyed = pb::CreateDestinationRequest {
                stream_key: text.clone(),
                ..good.clone()
            };
            let refusal = refused(projects.create_destination(keyed).await);
            assert_names(&refusal, "stream_key", character);
            let keyed = pb::UpdateDestinationRequest {
                stream_key: Some(text.clone()),
                ..update_request(&made)
            };
            let refusal = refused(projects.update_destination(keyed).await);
            assert_names(&refusal, "stream_key", character);
            let addressed = pb::CreateDestinationRequest {
                url: format!("rtmp://live.example.com/app{text}"),
                ..good.clone()
            };
            let refusal = refused(projects.create_destination(addressed).await);
            assert_names(&refusal, "url", character);
            let project = pb::CreateProjectRequest {
                display_name: text,
                ..Default::default()
            };
            let refusal = refused(projects.create_project(project).await);
            assert_names(&refusal, "display_name", character);
        }
    }
}

#[tokio::test]
async fn names_keep_what_emoji_and_scripts_need() {
    let server = TestServer::start(Sqlite).await;
    let user = server.user().await;
    let (project, _) = user.project().await;

    for name in [
        "👩\u{200d}👧 1\u{fe0f}\u{20e3} ❤\u{fe0f}",
        "می\u{200c}خواهم",
        "葛\u{e0100}城",
    ] {
        let request = pb::CreateDestinationRequest {
            display_name: name.to_owned(),
            ..custom_destination(&project, "rtmp://live.example.com/app")
        };
        assert_eq!(create_destination(&user, request).await.display_name, name);
    }
}

#[tokio::test]
async fn white_space_around_pasted_text_is_removed() {
    let server = TestServer::start(Sqlite).await;
    let user = server.user().await;
    let (project, _) = user.project().await;

    let request = pb::CreateDestinationRequest {
        display_name: " Main\u{a0}\n".to_owned(),
        url: "\t rtmp://live.example.com/app\r\n".to_owned(),
        stream_key: "\u{3000}abcdefghijkl\r\n".to_owned(),
        ..custom_destination(&project, "")
    };
    let made = create_destination(&user, request).await;

    assert_eq!(
        (&*made.display_name, &*made.url),
        ("Main", "rtmp://live.example.com/app")
    );
    assert_eq!(made.stream_key_hint, "ijkl");
}

#[tokio::test]
async fn a_whole_url_pasted_as_the_key_is_refused_with_a_hint() {
    let server = TestServer::start(Sqlite).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let mut projects = user.client.project.clone();

    for key in [
        "rtmp://live.example.com/app/abcd-efgh",
        " RTMPS://live.example.com/app/abcd-efgh",
        "srt://live.example.com:9000?streamid=abcd-efgh",
        "https://example.com/abcd-efgh",
    ] {
        let request = pb::CreateDestinationRequest {
            stream_key: key.to_owned(),
            ..custom_destination(&project, "rtmp://live.example.com/app")
        };
        let refusal = refused(projects.create_destination(request).await);
        assert_eq!(refusal.fields(), ["stream_key"], "{key}");
        let violations = &refusal.details.bad_request().unwrap().field_violations;
        assert!(
            violations[0].description.contains("belongs in url"),
            "{violations:?}"
        );
        assert!(!format!("{refusal:?}").contains("abcd-efgh"), "{refusal:?}");
    }
}
