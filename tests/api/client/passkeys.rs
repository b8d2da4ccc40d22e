use rstest::rstest;

use super::{
    factors::code_file,
    fixture::{Cli, failed},
};
use crate::{
    auth::passkey_calls::{list, register, register_another},
    harness::{Engine, Postgres, Sqlite, TestServer},
};

#[rstest]
#[tokio::test]
async fn passkeys_are_listed_renamed_and_deleted(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (cli, user) = Cli::signed_in(&server).await;
    let (first, codes) = register(&user).await;
    let second = register_another(&user, &codes[0]).await;

    let listed = cli.output(&["passkey", "list"]).await;
    for expected in ["BACKED UP", &first.id, &second.id, "Laptop"] {
        assert!(listed.contains(expected), "{listed}");
    }
    let renamed = cli.output(&["passkey", "rename", &first.id, "Phone"]).await;
    assert!(renamed.contains("is now called Phone"), "{renamed}");
    assert_eq!(list(&user.client).await[1].display_name, "Phone");

    let delete = ["passkey", "delete", &second.id];
    failed(&cli.run(&delete).await, 2, &["--code-file"]);
    let (_directory, file) = code_file(&codes[1]);
    let delete = [&delete[..], &["--code-file", &file]].concat();
    let deleted = cli.output(&delete).await;
    assert!(deleted.contains(&second.id), "{deleted}");
    assert_eq!(list(&user.client).await.len(), 1);
    failed(&cli.run(&delete).await, 4, &["no such passkey"]);
}

/// Without an authenticator: a recovery code is what a terminal can take.
#[tokio::test]
async fn a_user_with_passkeys_signs_in_to_the_command_line_with_a_recovery_code() {
    let server = TestServer::start(Sqlite).await;
    let user = server.user().await;
    let (_, codes) = register(&user).await;
    let cli = Cli::new(&format!("http://{}", server.address));
    let (_directory, file) = code_file(&codes[0]);

    let login = ["login", "--email", &user.email, "--password-stdin"];
    let login = [&login[..], &["--code-file", &file]].concat();
    let output = cli.run_with_input(&login, user.password).await;

    assert_eq!(output.exit_code, Some(0), "{output:?}");
    assert!(cli.output(&["whoami"]).await.contains(&user.email));
}
