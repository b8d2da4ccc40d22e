//! Thousands of random lives of a project's streams, with reports that come twice,
//! late and out of order, held against a small model after every step.

mod events;
mod expected;
mod life;
mod steps;
mod system;
mod words;
mod world;

use proptest::test_runner::{Config, TestCaseError, TestRunner};
use rstest::rstest;
use tokio::runtime::Builder;

use self::{
    events::tell_legal_lives,
    expected::Model,
    steps::{Run, Step, steps},
    system::System,
    world::World,
};
use crate::harness::{Engine, Postgres, Sqlite, TestDatabase};

/// Runs of each of the eight kinds below.
const RUNS: u32 = 250;

#[rstest]
fn whatever_media_servers_report_in_whatever_order_streams_do_what_the_model_says(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(0, 30)] window: i64,
    #[values(false, true)] takeover: bool,
) {
    // One thread, so that no step waits for another thread to wake up.
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let database = runtime.block_on(TestDatabase::create(engine));
    let world = runtime.block_on(World::over(database));
    let mut runner = TestRunner::new(Config {
        cases: RUNS,
        failure_persistence: None,
        ..Config::default()
    });

    let outcome = runner.run(&steps(), |steps| {
        runtime.block_on(live(&world, window, takeover, &steps));
        Ok::<(), TestCaseError>(())
    });

    outcome.unwrap();
}

async fn live(world: &World, window: i64, takeover: bool, steps: &[Step]) {
    let system = System::new(world, window, takeover).await;
    let mut run = Run::new(Model::new(window, takeover), system);
    for step in steps {
        run.take(step).await;
    }
    let (id, revision) = (run.system.project_id, run.model.revision);
    let mut events = world.events.lock().await;
    tell_legal_lives(&mut events, id, revision).await;
    run.system.delete(run.now).await;
}
