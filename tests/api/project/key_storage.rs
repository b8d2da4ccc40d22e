use std::{fmt::Write, fs};

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::fixtures::{
    create_destination, custom_destination, duration, reveal_stream_key, update_request,
    youtube_destination,
};
use crate::harness::{Engine, Pooled, Postgres, Sqlite, TestServer};

/// Whether the engine stores a text anywhere.
async fn is_stored(server: &TestServer, engine: Engine, text: &str) -> bool {
    match engine {
        Sqlite => {
            let files = fs::read_dir(server.database.directory.path()).unwrap();
            let mut databases = 0;
            let mut found = false;
            for file in files {
                let file = file.unwrap();
                if file.file_type().unwrap().is_dir() {
                    continue;
                }
                databases += usize::from(file.file_name().to_string_lossy().contains(".db"));
                let bytes = fs::read(file.path()).unwrap();
                found |= bytes
                    .windows(text.len())
                    .any(|window| window == text.as_bytes());
            }
            assert!(databases >= 2, "the database and its log");
            found
        }
        Postgres | Pooled => {
            // In the text of a row, bytea columns are hexadecimal.
            let hex = text.bytes().fold(String::new(), |mut hex, byte| {
                write!(hex, "{byte:02x}").unwrap();
                hex
            });
            let query = format!(
                "select count(*) from (
                     select t::text as columns from projects t
                     union all select t::text from destinations t
                     union all select t::text from idempotent_creates t
                     union all select t::text from streams t) as rows
                 where position('{text}' in columns) + position('{hex}' in columns) > 0"
            );
            server.database.number(&query).await > 0
        }
    }
}

/// Predecessor's defect G16: keys were stored in plain text.
#[rstest]
#[tokio::test]
async fn no_stream_key_is_stored_in_plain_text(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let media = server.media_server().await;
    let request = pb::CreateProjectRequest {
        display_name: "The name is kept in clear".to_owned(),
        request_id: uuid::Uuid::now_v7().to_string(),
        ..Default::default()
    };
    let (project, first_key) = user.project_with(request).await;
    let rotation = pb::RotateStreamKeyRequest {
        project_id: project.id.clone(),
        grace: duration(3600, 0),
        ..Default::default()
    };
    let rotated = user.client.project.rotate_stream_key(rotation).await;
    let second_key = rotated.unwrap().into_inner().stream_key;
    let first_destination_key = youtube_destination(&project).stream_key;
    let passphrase = "a-passphrase-of-srt";
    let target = pb::CreateDestinationRequest {
        request_id: uuid::Uuid::now_v7().to_string(),
        srt_passphrase: passphrase.to_owned(),
        ..custom_destination(&project, "srt://example.com:9000")
    };
    let target = create_destination(&user, target).await;
    let second_destination_key = "another-key-for-the-same-server";
    let change = pb::UpdateDestinationRequest {
        stream_key: Some(second_destination_key.to_owned()),
        ..update_request(&target)
    };
    let changed = user.client.project.update_destination(change).await;
    changed.unwrap();
    media.live(&second_key, "c1").await;

    assert!(is_stored(&server, engine, &project.display_name).await);
    for key in [
        &first_key[3..],
        &second_key[3..],
        &first_destination_key,
        second_destination_key,
        passphrase,
    ] {
        assert!(!is_stored(&server, engine, key).await, "{key}");
    }
    assert_eq!(reveal_stream_key(&user, &project).await, second_key);
}
