use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::{Code, Response, Status};

use super::calls::{get_me, refreshed, sign_in};
use crate::harness::{Client, Engine, Postgres, Sqlite, TestServer, refused};

fn ada() -> pb::SignUpRequest {
    pb::SignUpRequest {
        email: "Ada@Example.com".to_owned(),
        password: "correct horse battery staple".to_owned(),
        display_name: "Ada Lovelace".to_owned(),
        request_id: String::new(),
    }
}

async fn sign_up(
    server: &TestServer,
    request: pb::SignUpRequest,
) -> Result<Response<pb::SignUpResponse>, Status> {
    server.anonymous().auth.sign_up(request).await
}

#[rstest]
#[tokio::test]
async fn sign_up_creates_an_account_and_a_session(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;

    let answer = sign_up(&server, ada()).await.unwrap().into_inner();

    let user = answer.user.unwrap();
    assert_eq!(user.email, "Ada@Example.com");
    assert_eq!(user.display_name, "Ada Lovelace");
    assert!(!user.email_verified);
    assert!(user.create_time.is_some());
    assert_eq!(user.create_time, user.update_time);
    let tokens = answer.tokens.unwrap();
    assert_eq!(tokens.token_type, "Bearer");
    let ada = Client::with_token(&server.channel, &tokens.access_token);
    let me = get_me(&ada).await.unwrap().into_inner().user.unwrap();
    assert_eq!(me, user);
}

/// Predecessor's defect G13: looked up as typed, stored in lower case, answered 500.
#[rstest]
#[tokio::test]
async fn a_taken_address_is_refused_in_any_case(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    sign_up(&server, ada()).await.unwrap();

    for email in ["Ada@Example.com", "aDA@example.COM", " ada@example.com "] {
        let again = pb::SignUpRequest {
            email: email.to_owned(),
            ..ada()
        };
        let refusal = refused(sign_up(&server, again).await);
        assert_eq!(refusal.class(), (Code::AlreadyExists, "EMAIL_TAKEN"));
    }
}

/// Predecessor's defect G14: every letter outside ASCII was deleted from names.
#[rstest]
#[tokio::test]
async fn a_name_in_any_script_is_trimmed_and_normalized(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;

    let request = pb::SignUpRequest {
        display_name: "  Zoe\u{308} 日本語 🎮 O'Brien <select>  ".to_owned(),
        ..ada()
    };
    let answer = sign_up(&server, request).await.unwrap().into_inner();

    let name = answer.user.unwrap().display_name;
    assert_eq!(name, "Zo\u{eb} 日本語 🎮 O'Brien <select>");
}

#[tokio::test]
async fn every_invalid_field_is_named() {
    let server = TestServer::start(Sqlite).await;
    let invalid = async |field: &str, change: &dyn Fn(&mut pb::SignUpRequest)| {
        let mut request = ada();
        change(&mut request);
        let refusal = refused(sign_up(&server, request.clone()).await);
        assert_eq!(refusal.fields(), [field], "{request:?}");
    };

    let too_long = format!("{}@example.com", "a".repeat(243));
    for email in [
        "",
        "ada",
        "@example.com",
        "ada@",
        "ada@localhost",
        "a b@example.com",
        "a\0@example.com",
        "Ada <ada@example.com>",
        "ada@[127.0.0.1]",
        &too_long,
    ] {
        invalid("email", &|request| request.email = email.to_owned()).await;
    }
    // G12: bcrypt reads 72 bytes, and a NUL makes it read some twice.
    let too_long = ["x".repeat(72), "é".repeat(36), "x".repeat(10_000)];
    let passwords = ["", "1234567", "password\0password", "password\n"];
    for password in passwords.into_iter().chain(too_long.iter().map(|s| &**s)) {
        invalid("password", &|request| {
            request.password = password.to_owned()
        })
        .await;
    }
    for name in ["", "   ", "Ada\0", "Ada\nLovelace", &"é".repeat(101)] {
        invalid("display_name", &|request| {
            request.display_name = name.to_owned()
        })
        .await;
    }
    for id in ["1", "00000000-0000-0000-0000-000000000000", " "] {
        invalid("request_id", &|request| request.request_id = id.to_owned()).await;
    }
}

/// Two accounts must not look as if they had the same address.
#[tokio::test]
async fn invisible_characters_in_an_address_are_named_and_around_it_removed() {
    let server = TestServer::start(Sqlite).await;

    for c in ['\u{3164}', '\u{115f}', '\u{ffa0}', '\u{200b}', '\u{202e}'] {
        let request = pb::SignUpRequest {
            email: format!("ada{c}@example.com"),
            ..ada()
        };
        let refusal = refused(sign_up(&server, request).await);
        assert_eq!(refusal.fields(), ["email"]);
        let code_point = format!("U+{:04X}", u32::from(c));
        assert!(refusal.message.contains(&code_point), "{refusal:?}");
    }
    let pasted = pb::SignUpRequest {
        email: format!("\u{feff}{}\u{200b}\r\n", ada().email),
        ..ada()
    };
    let answer = sign_up(&server, pasted).await.unwrap().into_inner();
    assert_eq!(answer.user.unwrap().email, ada().email);
}

#[rstest]
#[tokio::test]
async fn all_invalid_fields_are_named_at_once_and_nothing_is_created(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;

    let request = pb::SignUpRequest {
        email: "ada".to_owned(),
        password: "short".to_owned(),
        display_name: String::new(),
        request_id: "1".to_owned(),
    };
    let refusal = refused(sign_up(&server, request).await);

    let all = ["display_name", "email", "password", "request_id"];
    assert_eq!(refusal.fields(), all);
    assert_eq!(
        server.database.number("select count(*) from users").await,
        0
    );
}

/// Predecessor's defect G12: passwords were cut silently after 72 bytes.
#[rstest]
#[case::shortest("kX9$vQ2m")]
#[case::longest("correct horse battery staple; incorrect donkey accumulator paper clips!")]
#[case::longest_beyond_ascii("zwölfgroßeboxkämpfer jagen viktor quer über den sylter deich 1926é")]
#[tokio::test]
async fn every_byte_of_a_password_counts(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[case] password: &str,
) {
    let server = TestServer::start(engine).await;
    let request = pb::SignUpRequest {
        password: password.to_owned(),
        ..ada()
    };
    sign_up(&server, request).await.unwrap();

    let email = ada().email;
    sign_in(&server.channel, &email, password).await.unwrap();
    let mut shorter = password.to_owned();
    shorter.pop();
    let refusal = refused(sign_in(&server.channel, &email, &shorter).await);
    assert_eq!(
        refusal.class(),
        (Code::Unauthenticated, "CREDENTIALS_INVALID")
    );
}

#[rstest]
#[tokio::test]
async fn passwords_are_compared_after_unicode_normalization(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let request = pb::SignUpRequest {
        password: "caf\u{e9} au lait, s'il vous pla\u{ee}t".to_owned(),
        ..ada()
    };
    sign_up(&server, request).await.unwrap();

    let decomposed = "cafe\u{301} au lait, s'il vous plai\u{302}t";
    sign_in(&server.channel, &ada().email, decomposed)
        .await
        .unwrap();
}

#[rstest]
#[tokio::test]
async fn two_addresses_get_two_accounts(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;

    let grace = pb::SignUpRequest {
        email: "grace@example.com".to_owned(),
        ..ada()
    };
    let ada = sign_up(&server, ada()).await.unwrap().into_inner();
    let grace = sign_up(&server, grace).await.unwrap().into_inner();

    assert_ne!(ada.user.unwrap().id, grace.user.unwrap().id);
    let ada = refreshed(&server.channel, &ada.tokens.unwrap().refresh_token).await;
    let ada = Client::with_token(&server.channel, &ada.access_token);
    let me = get_me(&ada).await.unwrap().into_inner().user.unwrap();
    assert_eq!(me.email, "Ada@Example.com");
}
