use std::{
    future::pending,
    sync::{Arc, Mutex},
};

use tokio::sync::oneshot;

use super::{Grouped, MOST, Turn, UNDER_WAY};
use crate::error::{Error, Result};

type Groups = Arc<Mutex<Vec<Vec<usize>>>>;

/// Answers each number with its double, but leaves 7 alone, and fails where there is
/// a 13, or with the database gone where there is a 14.
fn doubling() -> (Grouped<usize, usize>, Groups) {
    let groups = Groups::default();
    let seen = Arc::clone(&groups);
    let grouped = Grouped::writes(move |numbers: Vec<usize>, _| {
        seen.lock().unwrap().push(numbers.clone());
        Box::pin(async move {
            if numbers.contains(&13) {
                return Err(Error::ConcurrentChange);
            }
            if numbers.contains(&14) {
                return Err(Error::DatabaseUnavailable(sqlx::Error::PoolTimedOut));
            }
            let answers = numbers.iter();
            Ok(answers
                .map(|&number| (number != 7).then_some(2 * number))
                .collect())
        })
    });
    (grouped, groups)
}

/// Everything that may be under way.
fn busy(grouped: &Grouped<usize, usize>) -> Vec<Turn<usize, usize>> {
    let turns: Vec<_> = (0..UNDER_WAY).map(|_| grouped.turn(|| 0)).collect();
    assert!(turns.iter().all(|turn| matches!(turn, Turn::Alone(_))));
    turns
}

/// Asks with others; who has to ask alone gets 1,000.
fn asking(
    grouped: &Grouped<usize, usize>,
    number: usize,
) -> tokio::task::JoinHandle<Result<usize>> {
    let grouped = grouped.clone();
    tokio::spawn(async move { grouped.ask(|| number, async { Ok(1000) }).await })
}

fn waiting(
    grouped: &Grouped<usize, usize>,
    number: usize,
) -> oneshot::Receiver<Result<Option<usize>>> {
    match grouped.turn(|| number) {
        Turn::Together(answer) => answer,
        Turn::Alone(_) => panic!("it goes alone"),
    }
}

#[tokio::test]
async fn who_asks_where_nobody_does_asks_alone() {
    let (grouped, groups) = doubling();
    assert_eq!(asking(&grouped, 1).await.unwrap().unwrap(), 1000);
    assert!(groups.lock().unwrap().is_empty());
}

#[tokio::test]
async fn questions_that_come_meanwhile_are_asked_together() {
    let (grouped, groups) = doubling();
    let under_way = busy(&grouped);
    let answers: Vec<_> = (1..=5).map(|number| asking(&grouped, number)).collect();
    tokio::task::yield_now().await;
    assert!(groups.lock().unwrap().is_empty());

    drop(under_way);
    for (answer, number) in answers.into_iter().zip(1..) {
        assert_eq!(answer.await.unwrap().unwrap(), 2 * number);
    }
    assert_eq!(*groups.lock().unwrap(), [[1, 2, 3, 4, 5]]);
    drop(busy(&grouped));
}

#[tokio::test]
async fn only_so_many_go_together() {
    let (grouped, groups) = doubling();
    let under_way = busy(&grouped);
    let answers: Vec<_> = (100..100 + MOST + 1)
        .map(|number| waiting(&grouped, number))
        .collect();
    drop(under_way);

    for (answer, number) in answers.into_iter().zip(100..) {
        assert_eq!(answer.await.unwrap().unwrap(), Some(2 * number));
    }
    let mut sizes: Vec<_> = groups.lock().unwrap().iter().map(Vec::len).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, MOST]);
}

#[tokio::test]
async fn who_is_gone_is_not_asked_for() {
    let (grouped, groups) = doubling();
    let under_way = busy(&grouped);
    drop(waiting(&grouped, 1));
    let stays = waiting(&grouped, 2);
    drop(under_way);

    assert_eq!(stays.await.unwrap().unwrap(), Some(4));
    assert_eq!(*groups.lock().unwrap(), [[2]]);
}

#[tokio::test]
async fn who_cannot_be_asked_for_with_others_asks_alone() {
    let (grouped, _) = doubling();
    let under_way = busy(&grouped);
    let (left, done) = (asking(&grouped, 7), asking(&grouped, 8));
    tokio::task::yield_now().await;
    drop(under_way);

    assert_eq!(left.await.unwrap().unwrap(), 1000);
    assert_eq!(done.await.unwrap().unwrap(), 16);
}

#[tokio::test]
async fn who_is_spoilt_by_others_asks_alone() {
    let (grouped, _) = doubling();
    let under_way = busy(&grouped);
    let asking = [asking(&grouped, 1), asking(&grouped, 13)];
    tokio::task::yield_now().await;
    drop(under_way);
    for answer in asking {
        assert_eq!(answer.await.unwrap().unwrap(), 1000);
    }

    tokio::task::yield_now().await;
    drop(busy(&grouped));
}

#[tokio::test]
async fn what_takes_long_holds_up_nobody() {
    let (grouped, _) = doubling();
    let slow = |_| {
        let grouped = grouped.clone();
        tokio::spawn(async move { grouped.ask(|| 0, pending()).await })
    };
    let slow: Vec<_> = (0..UNDER_WAY).map(slow).collect();
    tokio::task::yield_now().await;

    let answer = waiting(&grouped, 1).await;

    assert_eq!(answer.unwrap().unwrap(), Some(2));
    assert!(slow.iter().all(|slow| !slow.is_finished()));
}

#[tokio::test]
async fn who_is_gone_when_a_write_is_due_is_known() {
    let (release, due) = oneshot::channel::<()>();
    let due = Mutex::new(Some(due));
    let grouped = Grouped::writes(move |numbers: Vec<usize>, callers| {
        let due = due.lock().unwrap().take();
        Box::pin(async move {
            due.unwrap().await.unwrap();
            let there = (0..numbers.len()).map(|number| callers.is_there(number));
            assert_eq!(there.collect::<Vec<_>>(), [true, false, true]);
            Ok(numbers.into_iter().map(Some).collect())
        })
    });
    let under_way = busy(&grouped);
    let [stays, goes, last] = [1, 2, 3].map(|number| waiting(&grouped, number));
    drop(under_way);
    tokio::task::yield_now().await;
    drop(goes);
    release.send(()).unwrap();

    assert_eq!(stays.await.unwrap().unwrap(), Some(1));
    assert_eq!(last.await.unwrap().unwrap(), Some(3));
}

#[tokio::test]
async fn reads_whose_connection_has_ended_are_asked_for_alone() {
    for (failure, is_shared) in [
        (sqlx::Error::PoolTimedOut, true),
        (
            sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()),
            false,
        ),
    ] {
        let failure = Mutex::new(Some(failure));
        let grouped = Grouped::<usize, usize>::reads(move |_| {
            let failure = failure.lock().unwrap().take();
            Box::pin(async move { Err(Error::DatabaseUnavailable(failure.unwrap())) })
        });
        let under_way = busy(&grouped);
        let asking = asking(&grouped, 1);
        tokio::task::yield_now().await;
        drop(under_way);

        assert_eq!(asking.await.unwrap().is_err(), is_shared);
    }
}

#[tokio::test]
async fn when_the_database_has_gone_away_all_learn_it_and_nobody_asks_again() {
    let (grouped, _) = doubling();
    let under_way = busy(&grouped);
    let asking = [asking(&grouped, 1), asking(&grouped, 14)];
    tokio::task::yield_now().await;
    drop(under_way);
    for answer in asking {
        let failure = answer.await.unwrap().unwrap_err();
        assert!(
            matches!(failure, Error::DatabaseUnavailable(_)),
            "{failure}"
        );
    }
}
