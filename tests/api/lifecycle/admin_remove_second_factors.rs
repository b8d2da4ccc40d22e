use rstest::rstest;

use crate::{
    auth::{
        mail_calls::audit_entries,
        passkey_calls::{self, register_another},
        second_factor_calls::{REQUIRED, enrol, list, sign_in},
    },
    harness::{CommandOutput, Engine, Postgres, Process, Sqlite, TestServer, refused},
};

/// `sluice admin remove-second-factors`.
async fn remove(server: &TestServer, email: &str) -> CommandOutput {
    let flag = format!("--email={email}");
    let arguments = ["remove-second-factors", &flag];
    Process::run(Process::admin(&server.database, &arguments, &[])).await
}

#[rstest]
#[tokio::test]
async fn an_operator_removes_the_second_factors_of_a_user_who_has_lost_them(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, grace) = (server.user().await, server.user().await);
    let (_, codes) = enrol(&ada).await;
    register_another(&ada, &codes[0]).await;
    enrol(&grace).await;

    let output = remove(&server, &ada.email.to_uppercase()).await;

    assert_eq!(output.exit_code, Some(0), "{output:?}");
    assert_eq!(output.stdout.trim(), "2 second factors removed");
    assert_eq!(passkey_calls::list(&ada.client).await, []);
    sign_in(&server.channel, &ada, "").await.unwrap();
    assert_eq!(list(&ada.client).await.unused_recovery_codes, 0);
    let removed = ("RemoveSecondFactors".to_owned(), "OK".to_owned());
    assert!(audit_entries(&ada.client).await.contains(&removed));
    let refusal = refused(sign_in(&server.channel, &grace, "").await);
    assert_eq!(refusal.class(), REQUIRED);
    let output = remove(&server, "nobody@example.com").await;
    assert_eq!(output.exit_code, Some(4), "{output:?}");
}
