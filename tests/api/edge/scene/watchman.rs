use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{task::JoinHandle, time::sleep};

use crate::harness::command_lines;

/// Looks at all command lines of the machine again and again, as `ps` does.
pub struct Watchman {
    shared: Arc<Mutex<Shared>>,
    looking: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    secrets: Vec<String>,
    found: Vec<String>,
    looks: u32,
}

impl Watchman {
    /// Begins to look.
    pub fn start() -> Self {
        let shared = Arc::<Mutex<Shared>>::default();
        let seen = Arc::clone(&shared);
        let looking = tokio::spawn(async move {
            loop {
                seen.lock().unwrap().look();
                sleep(Duration::from_millis(200)).await;
            }
        });
        Self { shared, looking }
    }

    /// From now on this must not be seen.
    pub fn keep_secret(&self, secret: &str) {
        self.shared.lock().unwrap().secrets.push(secret.to_owned());
    }

    /// Shows that no secret was seen, nor stands in a log.
    pub fn assert_nothing_seen(&self, logs: &[String]) {
        let shared = self.shared.lock().unwrap();
        assert!(shared.looks > 0 && !shared.secrets.is_empty());
        let found = &shared.found;
        assert!(found.is_empty(), "secrets on command lines: {found:?}");
        for line in logs {
            assert!(!shared.is_secret(line), "a secret in a log: {line}");
        }
    }
}

impl Drop for Watchman {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

impl Shared {
    fn look(&mut self) {
        self.looks += 1;
        // A publisher and who reads recordings are somebody else: what they do with their
        // keys is their business.
        let is_ours = |line: &String| !line.contains("testsrc") && !line.starts_with("ffprobe");
        let others = command_lines().filter(is_ours);
        let found: Vec<_> = others.filter(|line| self.is_secret(line)).collect();
        self.found.extend(found);
    }

    fn is_secret(&self, text: &str) -> bool {
        self.secrets.iter().any(|secret| text.contains(secret))
    }
}
