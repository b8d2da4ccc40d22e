use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use sluice::proto::v1 as pb;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tonic::Code;

use crate::harness::{Client, eventually_within};

/// The pause between two writes.
const PAUSE: Duration = Duration::from_millis(50);

/// Time limit of a call; the server's is shorter.
const CALL_LIMIT: Duration = Duration::from_secs(15);

/// Writes to each replica, one after the other, and measures how long none succeeds.
pub struct Recovery {
    writers: Vec<Rc<RefCell<Record>>>,
    tasks: JoinSet<()>,
}

/// The results of the writes to one replica.
struct Record {
    last_success: Instant,
    /// The longest time without a success since the beginning of the measurement.
    longest_gap: Duration,
    /// Failed calls by code.
    failures: BTreeMap<&'static str, usize>,
}

impl Record {
    fn succeed(&mut self) {
        self.longest_gap = self.longest_gap.max(self.last_success.elapsed());
        self.last_success = Instant::now();
    }
}

impl Recovery {
    /// Starts to write, with a client and a project for each replica.
    pub fn start(replicas: Vec<(Client, String)>) -> Self {
        let mut tasks = JoinSet::new();
        let mut writers = Vec::new();
        for (client, project_id) in replicas {
            let record = Rc::new(RefCell::new(Record {
                last_success: Instant::now(),
                longest_gap: Duration::ZERO,
                failures: BTreeMap::new(),
            }));
            tasks.spawn_local(write(client, project_id, Rc::clone(&record)));
            writers.push(record);
        }
        Self { writers, tasks }
    }

    /// Fails as soon as a write has failed in a way that is not allowed.
    pub fn assert_running(&mut self) {
        if let Some(ended) = self.tasks.try_join_next() {
            ended.expect("no write fails otherwise");
        }
    }

    /// Begins a measurement.
    pub fn reset(&self) {
        for record in &self.writers {
            record.borrow_mut().longest_gap = Duration::ZERO;
        }
    }

    /// Waits until a write that began after now succeeds at each replica.
    pub async fn wait_for_writes(&mut self) {
        let now = Instant::now();
        eventually_within(
            Duration::from_secs(120),
            "writes succeed again",
            async || {
                self.assert_running();
                let has_written = |record: &Rc<RefCell<Record>>| record.borrow().last_success > now;
                self.writers.iter().all(has_written).then_some(())
            },
        )
        .await;
        // The one that just ended may have begun before.
        let now = Instant::now();
        eventually_within(
            Duration::from_secs(120),
            "writes succeed again",
            async || {
                self.assert_running();
                let has_written = |record: &Rc<RefCell<Record>>| record.borrow().last_success > now;
                self.writers.iter().all(has_written).then_some(())
            },
        )
        .await;
    }

    /// The longest time in which no write succeeded at each replica since the beginning of the
    /// measurement.
    pub fn longest_gaps(&self) -> Vec<Duration> {
        self.writers
            .iter()
            .map(|record| record.borrow().longest_gap)
            .collect()
    }

    /// Failed calls by code, of all replicas.
    pub fn failures(&self) -> BTreeMap<&'static str, usize> {
        let mut failures = BTreeMap::new();
        for record in &self.writers {
            for (code, count) in &record.borrow().failures {
                *failures.entry(*code).or_default() += count;
            }
        }
        failures
    }
}

/// Renames a project again and again.
async fn write(client: Client, project_id: String, record: Rc<RefCell<Record>>) {
    for number in 0.. {
        let name = format!("Name {number}");
        let request = pb::UpdateProjectRequest {
            project_id: project_id.clone(),
            display_name: Some(name),
            ..Default::default()
        };
        let mut projects = client.project.clone();
        let written = timeout(CALL_LIMIT, projects.update_project(request)).await;
        match written.expect("every call ends in time") {
            Ok(_) => record.borrow_mut().succeed(),
            Err(status) => {
                let code = match status.code() {
                    Code::Unavailable => "UNAVAILABLE",
                    Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
                    _ => panic!("{status:?}"),
                };
                *record.borrow_mut().failures.entry(code).or_default() += 1;
            }
        }
        sleep(PAUSE).await;
    }
}
