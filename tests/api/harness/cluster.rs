use std::sync::{Arc, Mutex};

use tonic::transport::Channel;

use super::{Process, Signal, TestDatabase};

/// Server processes that share one database. Each can be killed and replaced.
pub struct Cluster {
    pub database: TestDatabase,
    settings: Vec<(&'static str, &'static str)>,
    processes: Vec<Process>,
    pub replicas: Replicas,
}

/// The connections to the running processes of a cluster. A clone shares them.
#[derive(Clone)]
pub struct Replicas {
    channels: Arc<Mutex<Vec<Channel>>>,
}

impl Replicas {
    /// Connections to processes that are not replaced.
    pub fn of(channels: Vec<Channel>) -> Self {
        Self {
            channels: Arc::new(Mutex::new(channels)),
        }
    }

    /// The connection to a process; numbers beyond the last one wrap around.
    pub fn channel(&self, number: usize) -> Channel {
        let channels = self.channels.lock().unwrap();
        channels[number % channels.len()].clone()
    }
}

impl Cluster {
    /// Starts `count` processes.
    pub async fn start(
        database: TestDatabase,
        count: usize,
        settings: &[(&'static str, &'static str)],
    ) -> Self {
        let (mut processes, mut channels) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let process = Process::serve(&database, settings);
            channels.push(process.channel().await);
            processes.push(process);
        }
        Self {
            database,
            settings: settings.to_vec(),
            processes,
            replicas: Replicas::of(channels),
        }
    }

    /// Kills a process with SIGKILL and starts a replacement.
    pub async fn kill(&mut self, number: usize) {
        let number = number % self.processes.len();
        let killed = &mut self.processes[number];
        killed.signal(Signal::KILL);
        assert_eq!(killed.wait_for_exit().await, None, "by a signal");
        let process = Process::serve(&self.database, &self.settings);
        let channel = process.channel().await;
        self.processes[number] = process;
        self.replicas.channels.lock().unwrap()[number] = channel;
    }
}
