use std::sync::{Arc, Mutex};

use tonic::transport::Channel;

use super::{Process, Signal, TestDatabase};

/// Real programs over one database, each of which can be killed at any time.
pub struct Cluster {
    pub database: TestDatabase,
    settings: Vec<(&'static str, &'static str)>,
    programs: Vec<Process>,
    pub sides: Sides,
}

/// The connections to the programs as they run now. A clone shares them.
#[derive(Clone)]
pub struct Sides {
    channels: Arc<Mutex<Vec<Channel>>>,
}

impl Sides {
    /// The connection to one of the programs.
    pub fn channel(&self, number: usize) -> Channel {
        let channels = self.channels.lock().unwrap();
        channels[number % channels.len()].clone()
    }
}

impl Cluster {
    /// So many programs over a database.
    pub async fn start(
        database: TestDatabase,
        count: usize,
        settings: &[(&'static str, &'static str)],
    ) -> Self {
        let (mut programs, mut channels) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let program = Process::serve(&database, settings);
            channels.push(program.channel().await);
            programs.push(program);
        }
        let channels = Arc::new(Mutex::new(channels));
        Self {
            database,
            settings: settings.to_vec(),
            programs,
            sides: Sides { channels },
        }
    }

    /// Kills a program, without a word to it, and starts another in its place.
    pub async fn kill(&mut self, number: usize) {
        let number = number % self.programs.len();
        self.programs[number].signal(Signal::KILL);
        assert_eq!(self.programs[number].ended().await, None, "by a signal");
        let program = Process::serve(&self.database, &self.settings);
        let channel = program.channel().await;
        self.programs[number] = program;
        self.sides.channels.lock().unwrap()[number] = channel;
    }
}
