//! PgBouncer is restarted, is down, or has no free session.

use std::time::{Duration, Instant};

use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use super::pgbouncer::{TRANSACTION_POOL_SIZE, hold_session, start, start_with_timeout};
use crate::harness::{PoolMode, User, eventually, refused};

/// UpdateMe, which must fail because the database is unavailable.
async fn write_is_unavailable(user: &User) {
    let request = pb::UpdateMeRequest::default();
    let refusal = refused(user.client.auth.clone().update_me(request).await);
    assert_eq!(refusal.class(), (Code::Unavailable, "DATABASE_UNAVAILABLE"));
}

#[rstest]
#[case(PoolMode::Transaction)]
#[case(PoolMode::Session)]
#[tokio::test]
async fn calls_work_again_after_a_restart_of_pgbouncer(#[case] mode: PoolMode) {
    let (mut pooler, server) = start(mode).await;
    let ada = server.user().await;
    let mut auth = ada.client.auth.clone();
    let request = pb::UpdateMeRequest {
        display_name: Some("Ada".to_owned()),
        ..Default::default()
    };
    auth.update_me(request.clone()).await.unwrap();

    pooler.stop().await;
    pooler.start_again().await;

    eventually("calls work again", async || {
        match auth.update_me(request.clone()).await {
            Ok(_) => Some(()),
            failed => {
                let class = (Code::Unavailable, "DATABASE_UNAVAILABLE");
                assert_eq!(refused(failed).class(), class);
                None
            }
        }
    })
    .await;
}

#[rstest]
#[case(PoolMode::Transaction)]
#[case(PoolMode::Session)]
#[tokio::test]
async fn while_pgbouncer_is_down_calls_are_unavailable_and_the_replica_is_not_ready(
    #[case] mode: PoolMode,
) {
    let (mut pooler, server) = start_with_timeout(mode, "2s").await;
    let ada = server.user().await;

    pooler.stop().await;
    write_is_unavailable(&ada).await;
    server.wait_for_health(ServingStatus::NotServing).await;

    pooler.start_again().await;
    server.wait_for_health(ServingStatus::Serving).await;
    ada.project().await;
}

#[tokio::test]
async fn a_call_waits_for_a_session_of_pgbouncer_no_longer_than_the_database_timeout() {
    let (pooler, server) = start_with_timeout(PoolMode::Transaction, "2s").await;
    let ada = server.user().await;
    let mut others = Vec::new();
    for _ in 0..TRANSACTION_POOL_SIZE {
        others.push(hold_session(&pooler).await);
    }

    let begun = Instant::now();
    write_is_unavailable(&ada).await;

    let waited = begun.elapsed();
    assert!(waited < Duration::from_secs(20), "{waited:?}");
    server.wait_for_health(ServingStatus::NotServing).await;
    drop(others);
    server.wait_for_health(ServingStatus::Serving).await;
    ada.project().await;
}
