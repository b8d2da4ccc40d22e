//! Limits of password attempts.

use std::time::Duration;

use rstest::rstest;
use sluice::proto::v1 as pb;
use tokio::task::JoinSet;
use tonic::{Code, transport::Channel};

use super::{
    calls::{backdate, get_me, postpone, sign_in},
    mail_calls::{reset, reset_token},
};
use crate::harness::{
    Engine, Postgres, Process, Refusal, Sqlite, TestDatabase, TestServer, User, eventually, refused,
};

/// The wrong passwords before the first wait.
const FREE_ATTEMPTS: usize = 5;

const WRONG: (Code, &str) = (Code::Unauthenticated, "CREDENTIALS_INVALID");
const WAIT: (Code, &str) = (Code::ResourceExhausted, "TOO_MANY_ATTEMPTS");

async fn wrong(channel: &Channel, email: &str) -> Refusal {
    refused(sign_in(channel, email, "wrong horse").await)
}

/// Makes wrong attempts until the next one has to wait.
async fn lock(channel: &Channel, email: &str) {
    for _ in 0..FREE_ATTEMPTS {
        assert_eq!(wrong(channel, email).await.class(), WRONG);
    }
}

/// The wait in the error of the next attempt, in whole seconds, rounded up.
async fn wait(channel: &Channel, email: &str) -> u64 {
    let refusal = wrong(channel, email).await;
    assert_eq!(refusal.class(), WAIT);
    let wait = refusal.details.retry_info().unwrap().retry_delay.unwrap();
    wait.as_millis().div_ceil(1000).try_into().unwrap()
}

#[rstest]
#[tokio::test]
async fn each_wrong_password_lengthens_the_wait_up_to_a_minute(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    lock(&server.channel, &ada.email).await;

    for seconds in [1, 3, 5, 10, 30, 60, 60, 60] {
        assert_eq!(wait(&server.channel, &ada.email).await, seconds);
        // Attempts while waiting change nothing.
        assert_eq!(wait(&server.channel, &ada.email).await, seconds);
        backdate(&server.database, "guesses", "locked_until", "1 minute").await;
        assert_eq!(wrong(&server.channel, &ada.email).await.class(), WRONG);
    }
}

#[rstest]
#[tokio::test]
async fn the_right_password_must_wait_too_and_then_clears_the_count(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    lock(&server.channel, &ada.email).await;

    let refusal = refused(sign_in(&server.channel, &ada.email, ada.password).await);
    assert_eq!(refusal.class(), WAIT);
    eventually("the wait is over", async || {
        let answer = sign_in(&server.channel, &ada.email, ada.password).await;
        answer.ok()
    })
    .await;

    lock(&server.channel, &ada.email).await;
}

#[rstest]
#[tokio::test]
async fn an_address_without_an_account_has_the_same_waits(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    lock(&server.channel, &ada.email).await;
    lock(&server.channel, "nobody@example.com").await;
    // Long enough for a slow machine.
    postpone(&server.database, "guesses", "locked_until", "1 minute").await;

    let known = wrong(&server.channel, &ada.email).await;
    let unknown = wrong(&server.channel, "nobody@example.com").await;

    assert_eq!(known.class(), WAIT);
    assert_eq!(unknown.class(), WAIT);
    assert_eq!(known.message, unknown.message);
    let info = |refusal: &Refusal| format!("{:?}", refusal.details.error_info());
    assert_eq!(info(&known), info(&unknown));
    // In any spelling of the address.
    for email in [ada.email.to_uppercase(), " NOBODY@example.com".to_owned()] {
        assert_eq!(wrong(&server.channel, &email).await.class(), WAIT);
    }
}

#[rstest]
#[tokio::test]
async fn an_open_session_is_not_affected_by_failed_attempts(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    lock(&server.channel, &ada.email).await;
    assert_eq!(wrong(&server.channel, &ada.email).await.class(), WAIT);

    get_me(&ada.client).await.unwrap();
    let request = pb::ChangePasswordRequest {
        current_password: ada.password.to_owned(),
        new_password: "seven angry badgers rowing".to_owned(),
    };
    let mut auth = ada.client.auth.clone();
    auth.change_password(request).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn password_attempts_of_a_stolen_session_are_limited(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let mut auth = ada.client.auth.clone();
    let mut attempt = async || {
        let password = "wrong horse".to_owned();
        refused(auth.delete_me(pb::DeleteMeRequest { password }).await)
    };

    for _ in 0..FREE_ATTEMPTS {
        assert_eq!(attempt().await.class(), WRONG);
    }
    assert_eq!(attempt().await.class(), WAIT);
    // The owner, elsewhere, does not wait.
    sign_in(&server.channel, &ada.email, ada.password)
        .await
        .unwrap();
}

/// At an address where the owner signed in before, attempts from elsewhere do not count, so
/// that no one can be locked out (OWASP ASVS 5.0, 6.1.1).
#[rstest]
#[tokio::test]
async fn attempts_from_other_addresses_do_not_delay_the_owner(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    sign_in(&server.channel, &ada.email, ada.password)
        .await
        .unwrap();
    // The state after attempts from other addresses.
    let far = "'9999-01-01T00:00:00.000000+00:00'";
    let lock = format!(
        "update guesses set failures = 9, locked_until = {far} where familiar_until is null"
    );
    insert_account_count(&server, &ada).await;
    server.database.execute(&lock).await;

    sign_in(&server.channel, &ada.email, ada.password)
        .await
        .unwrap();
    // Attempts at the owner's address count there.
    self::lock(&server.channel, &ada.email).await;
    assert_eq!(wrong(&server.channel, &ada.email).await.class(), WAIT);
}

/// Inserts the count of the account, as an attempt from elsewhere would: the test has only
/// one address.
async fn insert_account_count(server: &TestServer, user: &User) {
    let hash = sluice::random::sha256(&format!("account\n{}", user.email));
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let bytes = match server.database.url.starts_with("sqlite:") {
        true => format!("x'{hash}'"),
        false => format!("'\\x{hash}'"),
    };
    let time = "'2026-01-01T00:00:00.000000+00:00'";
    let statement = format!(
        "insert into guesses (subject_hash, failures, locked_until, update_time)
         values ({bytes}, 5, {time}, {time})"
    );
    server.database.execute(&statement).await;
}

#[rstest]
#[tokio::test]
async fn failed_attempts_expire_after_a_day(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    lock(&server.channel, &ada.email).await;
    for column in ["locked_until", "update_time"] {
        backdate(&server.database, "guesses", column, "25 hours").await;
    }

    lock(&server.channel, &ada.email).await;
}

#[rstest]
#[tokio::test]
async fn many_concurrent_sign_ins_with_the_right_password_all_succeed(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let replica = server.replica().await;

    let mut calls = JoinSet::new();
    for channel in [&server.channel, &replica].into_iter().cycle().take(40) {
        let (channel, email, password) = (channel.clone(), ada.email.clone(), ada.password);
        calls.spawn(async move { sign_in(&channel, &email, password).await });
    }

    for answer in calls.join_all().await {
        answer.unwrap();
    }
}

/// The message proves that this is the owner. Otherwise endless attempts could lock the
/// owner out at a new address.
#[rstest]
#[tokio::test]
async fn a_password_reset_ends_the_wait_of_earlier_attempts(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    lock(&server.channel, &ada.email).await;
    assert_eq!(wrong(&server.channel, &ada.email).await.class(), WAIT);

    let token = reset_token(&server, &ada).await;
    let new = "seven angry badgers rowing";
    reset(&server.channel, &token, new).await.unwrap();

    sign_in(&server.channel, &ada.email, new).await.unwrap();
}

/// Otherwise attempts of others at the address would keep it familiar for ever.
#[rstest]
#[tokio::test]
async fn an_address_stays_familiar_for_ninety_days_after_the_last_sign_in(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let familiar = "select count(*) from guesses where familiar_until is not null
                    and familiar_until > '2000-01-01T00:00:00.000000+00:00'";
    assert_eq!(server.database.number(familiar).await, 1);
    backdate(&server.database, "guesses", "familiar_until", "91 days").await;

    assert_eq!(wrong(&server.channel, &ada.email).await.class(), WRONG);

    // It was counted for the account, for attempts from all addresses.
    let of_account = "select count(*) from guesses where familiar_until is null";
    assert_eq!(server.database.number(of_account).await, 1);
}

/// The number of checked passwords, from the logs.
fn checked(replicas: &[Process]) -> usize {
    let lines = replicas.iter().flat_map(Process::log);
    lines
        .filter(|line| line.contains("checking a password"))
        .count()
}

/// As in Zitadel's GHSA-7h8m-vrxx-vr4m, where parallel attempts evaded the lock.
#[rstest]
#[tokio::test]
async fn two_hundred_concurrent_attempts_over_two_replicas_check_no_more_passwords_than_allowed(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let database = TestDatabase::create(engine).await;
    let settings = [
        ("SLUICE_LOG", "sluice=debug"),
        ("SLUICE_BCRYPT_COST", "8"),
        ("SLUICE_PASSWORD_QUEUE", "500"),
    ];
    // A file of SQLite has one server.
    let count = if engine == Sqlite { 1 } else { 2 };
    let replicas: Vec<_> = (0..count)
        .map(|_| Process::serve(&database, &settings))
        .collect();
    let mut channels = Vec::new();
    for replica in &replicas {
        channels.push(replica.channel().await);
    }

    let begun = std::time::Instant::now();
    let mut calls = JoinSet::new();
    for channel in channels.iter().cycle().take(200) {
        let channel = channel.clone();
        calls.spawn(async move { wrong(&channel, "ada@example.com").await });
    }
    let answers = calls.join_all().await;
    let took = begun.elapsed();

    let attempted = answers.iter().filter(|answer| answer.class() == WRONG);
    let waiting = answers.iter().filter(|answer| answer.class() == WAIT);
    let (attempted, waiting) = (attempted.count(), waiting.count());
    assert_eq!(attempted + waiting, 200, "{answers:?}");
    // One more after each wait.
    let waits = [1, 4, 9, 19, 49, 109].map(Duration::from_secs);
    let allowed = FREE_ATTEMPTS + waits.iter().filter(|wait| **wait < took).count();
    assert!(
        (1..=allowed).contains(&attempted),
        "{attempted} in {took:?}"
    );
    eventually("the logs are read", async || {
        (checked(&replicas) >= attempted).then_some(())
    })
    .await;
    assert_eq!(checked(&replicas), attempted);
}

#[rstest]
#[tokio::test]
async fn an_unknown_address_and_a_wrong_password_cost_the_same_number_of_hashes(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let database = TestDatabase::create(engine).await;
    let settings = [("SLUICE_LOG", "sluice=debug"), ("SLUICE_BCRYPT_COST", "6")];
    let process = [Process::serve(&database, &settings)];
    let channel = process[0].channel().await;
    let request = pb::SignUpRequest {
        email: "ada@example.com".to_owned(),
        password: "correct horse battery staple".to_owned(),
        display_name: "Ada".to_owned(),
        request_id: String::new(),
    };
    let mut anonymous = crate::harness::Client::anonymous(&channel);
    anonymous.auth.sign_up(request).await.unwrap();

    let mut checks = 0;
    for email in ["ada@example.com", "nobody@example.com"].repeat(3) {
        assert_eq!(wrong(&channel, email).await.class(), WRONG);
        checks += 1;
        eventually("the log is read", async || {
            (checked(&process) >= checks).then_some(())
        })
        .await;
        assert_eq!(checked(&process), checks, "{email}");
    }
}
