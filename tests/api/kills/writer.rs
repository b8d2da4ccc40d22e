use std::{pin::Pin, time::Duration};

use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

/// The pause between two writes, which leaves the processor to the programs.
const PAUSE: Duration = Duration::from_millis(10);

/// Writes on one subject, and their check.
pub trait Writer {
    /// Makes the next writes, and records what is acknowledged. A write that a later one hides is
    /// read back in between.
    async fn write(&mut self, number: usize);

    /// Reads back all recorded writes.
    async fn check(&self);
}

/// The check of a writer, which has not started.
type Check = Pin<Box<dyn Future<Output = ()>>>;

/// Writers at work.
pub struct Writers {
    /// Between two writes.
    pause: Duration,
    stop: CancellationToken,
    tasks: JoinSet<Check>,
}

/// The checks of writers that have stopped.
pub struct Checks(Vec<Check>);

impl Default for Writers {
    fn default() -> Self {
        Self::with_pause(PAUSE)
    }
}

impl Writers {
    /// With this pause between two writes.
    pub fn with_pause(pause: Duration) -> Self {
        Self {
            pause,
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Starts a writer.
    pub fn spawn(&mut self, writer: impl Writer + 'static) {
        let stop = self.stop.clone();
        let writing = write_until(stop, self.pause, writer);
        self.tasks.spawn_local(writing);
    }

    /// Fails as soon as a writer has failed.
    pub fn assert_running(&mut self) {
        if let Some(ended) = self.tasks.try_join_next() {
            ended.map(drop).expect("no writer fails");
            panic!("a writer has ended");
        }
    }

    /// Waits until the last writes are acknowledged.
    pub async fn stop(self) -> Checks {
        self.stop.cancel();
        Checks(self.tasks.join_all().await)
    }
}

impl Checks {
    /// Reads back the writes of all writers.
    pub async fn run(self) {
        let mut tasks = JoinSet::new();
        for check in self.0 {
            tasks.spawn_local(check);
        }
        tasks.join_all().await;
    }
}

/// Writes until the token is cancelled; returns the check.
async fn write_until(
    stop: CancellationToken,
    pause: Duration,
    mut writer: impl Writer + 'static,
) -> Check {
    for number in 0.. {
        if stop.is_cancelled() {
            break;
        }
        writer.write(number).await;
        sleep(pause).await;
    }
    Box::pin(async move { writer.check().await })
}
