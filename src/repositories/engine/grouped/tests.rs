use std::{
    future::pending,
    sync::{Arc, Mutex},
};

use tokio::sync::oneshot;

use super::{Batcher, MAX_BATCH_SIZE, Turn};
use crate::error::{Error, Result};

const MAX_IN_FLIGHT: usize = 2;

/// The answer of a request that runs alone.
const ALONE: usize = 1000;

type Batches = Arc<Mutex<Vec<Vec<usize>>>>;

/// Answers each number with its double. A batch with 13 fails in a way that concerns only
/// some requests, a batch with 14 because the database is unavailable.
fn doubling() -> (Batcher<usize, usize>, Batches) {
    let batches = Batches::default();
    let seen = Arc::clone(&batches);
    let batcher = Batcher::new(MAX_IN_FLIGHT, move |numbers: Vec<usize>| {
        seen.lock().unwrap().push(numbers.clone());
        Box::pin(async move {
            if numbers.contains(&13) {
                return Err(Error::ConcurrentChange);
            }
            if numbers.contains(&14) {
                return Err(Error::DatabaseUnavailable(sqlx::Error::PoolTimedOut));
            }
            Ok(numbers.iter().map(|number| 2 * number).collect())
        })
    });
    (batcher, batches)
}

/// Takes every permit.
fn take_all(batcher: &Batcher<usize, usize>) -> Vec<Turn<usize, usize>> {
    let turns: Vec<_> = (0..MAX_IN_FLIGHT).map(|_| batcher.turn(|| 0)).collect();
    assert!(turns.iter().all(|turn| matches!(turn, Turn::Alone(_))));
    turns
}

fn run(batcher: &Batcher<usize, usize>, number: usize) -> tokio::task::JoinHandle<Result<usize>> {
    let batcher = batcher.clone();
    tokio::spawn(async move { batcher.run(|| number, async { Ok(ALONE) }).await })
}

fn queue(
    batcher: &Batcher<usize, usize>,
    number: usize,
) -> oneshot::Receiver<Result<Option<usize>>> {
    match batcher.turn(|| number) {
        Turn::Queued(answer) => answer,
        Turn::Alone(_) => panic!("it has a permit"),
    }
}

#[tokio::test]
async fn a_request_runs_alone_while_a_permit_is_free() {
    let (batcher, batches) = doubling();
    assert_eq!(run(&batcher, 1).await.unwrap().unwrap(), ALONE);
    assert!(batches.lock().unwrap().is_empty());
}

#[tokio::test]
async fn requests_that_arrive_meanwhile_form_one_batch() {
    let (batcher, batches) = doubling();
    let in_flight = take_all(&batcher);
    let answers: Vec<_> = (1..=5).map(|number| run(&batcher, number)).collect();
    tokio::task::yield_now().await;
    assert!(batches.lock().unwrap().is_empty());

    drop(in_flight);
    for (answer, number) in answers.into_iter().zip(1..) {
        assert_eq!(answer.await.unwrap().unwrap(), 2 * number);
    }
    assert_eq!(*batches.lock().unwrap(), [[1, 2, 3, 4, 5]]);
    drop(take_all(&batcher));
}

#[tokio::test]
async fn a_batch_has_a_maximum_size() {
    let (batcher, batches) = doubling();
    let in_flight = take_all(&batcher);
    let answers: Vec<_> = (100..100 + MAX_BATCH_SIZE + 1)
        .map(|number| queue(&batcher, number))
        .collect();
    drop(in_flight);

    for (answer, number) in answers.into_iter().zip(100..) {
        assert_eq!(answer.await.unwrap().unwrap(), Some(2 * number));
    }
    let mut sizes: Vec<_> = batches.lock().unwrap().iter().map(Vec::len).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, MAX_BATCH_SIZE]);
}

#[tokio::test]
async fn a_request_whose_caller_has_gone_is_not_sent() {
    let (batcher, batches) = doubling();
    let in_flight = take_all(&batcher);
    drop(queue(&batcher, 1));
    let stays = queue(&batcher, 2);
    drop(in_flight);

    assert_eq!(stays.await.unwrap().unwrap(), Some(4));
    assert_eq!(*batches.lock().unwrap(), [[2]]);
}

#[tokio::test]
async fn each_request_of_a_batch_that_fails_for_some_runs_alone() {
    let (batcher, _) = doubling();
    let in_flight = take_all(&batcher);
    let requests = [run(&batcher, 1), run(&batcher, 13)];
    tokio::task::yield_now().await;
    drop(in_flight);
    for request in requests {
        assert_eq!(request.await.unwrap().unwrap(), ALONE);
    }

    tokio::task::yield_now().await;
    drop(take_all(&batcher));
}

#[tokio::test]
async fn a_slow_request_holds_up_no_other() {
    let (batcher, _) = doubling();
    let slow = |_| {
        let batcher = batcher.clone();
        tokio::spawn(async move { batcher.run(|| 0, pending()).await })
    };
    let slow: Vec<_> = (0..MAX_IN_FLIGHT).map(slow).collect();
    tokio::task::yield_now().await;

    let answer = queue(&batcher, 1).await;

    assert_eq!(answer.unwrap().unwrap(), Some(2));
    assert!(slow.iter().all(|slow| !slow.is_finished()));
}

#[tokio::test]
async fn requests_of_a_batch_whose_connection_has_ended_run_alone() {
    for (failure, is_shared) in [
        (sqlx::Error::PoolTimedOut, true),
        (
            sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()),
            false,
        ),
    ] {
        let failure = Mutex::new(Some(failure));
        let batcher = Batcher::<usize, usize>::new(MAX_IN_FLIGHT, move |_| {
            let failure = failure.lock().unwrap().take();
            Box::pin(async move { Err(Error::DatabaseUnavailable(failure.unwrap())) })
        });
        let in_flight = take_all(&batcher);
        let request = run(&batcher, 1);
        tokio::task::yield_now().await;
        drop(in_flight);

        assert_eq!(request.await.unwrap().is_err(), is_shared);
    }
}

#[tokio::test]
async fn every_request_of_a_batch_learns_that_the_database_is_unavailable() {
    let (batcher, _) = doubling();
    let in_flight = take_all(&batcher);
    let requests = [run(&batcher, 1), run(&batcher, 14)];
    tokio::task::yield_now().await;
    drop(in_flight);
    for request in requests {
        let failure = request.await.unwrap().unwrap_err();
        assert!(
            matches!(failure, Error::DatabaseUnavailable(_)),
            "{failure}"
        );
    }
}
