//! SQLite has no clock of its own: its server uses the clock of the machine.

use tonic::Code;

use super::fixture::{HOUR, SkewedReplica};
use crate::{
    auth::calls::{get_me, sign_up},
    harness::{Process, SkewedClock, Sqlite, TestDatabase, refused},
};

#[tokio::test]
async fn on_sqlite_a_server_is_ready_whatever_its_clock_shows() {
    let database = TestDatabase::create(Sqlite).await;
    let clock = SkewedClock::ahead_by(HOUR);
    let process = Process::serve_with_clock(&database, &clock, &[]);

    process.channel().await;
}

#[tokio::test]
async fn on_sqlite_tokens_expire_too_early_while_the_clock_is_ahead() {
    let database = TestDatabase::create(Sqlite).await;
    let server = SkewedReplica::start(&database, 0, &[]).await;
    let ada = sign_up(&server.channel).await;
    get_me(&ada).await.unwrap();

    server.clock.set(HOUR);
    let refusal = refused(get_me(&ada).await);
    assert_eq!(
        refusal.class(),
        (Code::Unauthenticated, "ACCESS_TOKEN_EXPIRED")
    );

    server.clock.set(0);
    get_me(&ada).await.unwrap();
}
