//! Model-based tests: random operations on the streams of a project, with repeated, late and
//! reordered reports, compared to a small reference model after every step.

mod events;
mod messages;
mod reference;
mod shared_database;
mod steps;
mod stream;
mod system;

use proptest::test_runner::{Config, TestCaseError, TestRunner};
use rstest::rstest;
use tokio::runtime::Builder;

use self::{
    events::assert_legal_transitions,
    reference::Model,
    shared_database::SharedDatabase,
    steps::{Run, Step, steps},
    system::System,
};
use crate::harness::{Engine, Postgres, Sqlite, TestDatabase};

/// Runs of each of the sixteen cases below.
const RUNS: u32 = 125;

#[rstest]
fn streams_match_the_model_under_random_reports_of_media_servers(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(0, 30)] window: i64,
    #[values(false, true)] takeover: bool,
    #[values(1, 2)] _part: u32,
) {
    // A single thread avoids waiting for other threads in every step.
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let database = runtime.block_on(TestDatabase::create(engine));
    let database = runtime.block_on(SharedDatabase::over(database));
    let mut runner = TestRunner::new(Config {
        cases: RUNS,
        failure_persistence: None,
        ..Config::default()
    });

    let outcome = runner.run(&steps(), |steps| {
        runtime.block_on(run_steps(&database, window, takeover, &steps));
        Ok::<(), TestCaseError>(())
    });

    outcome.unwrap();
}

async fn run_steps(database: &SharedDatabase, window: i64, takeover: bool, steps: &[Step]) {
    let system = System::new(database, window, takeover).await;
    let mut run = Run::new(Model::new(window, takeover), system);
    for step in steps {
        run.apply(step).await;
    }
    let (id, revision) = (run.system.project_id, run.model.revision);
    let mut events = database.events.lock().await;
    assert_legal_transitions(&mut events, id, revision).await;
    run.system.delete(run.now).await;
}
