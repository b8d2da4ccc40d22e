use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{task::JoinHandle, time::sleep};

use crate::harness::command_lines;

/// Scans all command lines of the machine repeatedly for secrets, as `ps` could show them.
pub struct SecretScanner {
    shared: Arc<Mutex<Shared>>,
    scanning: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    secrets: Vec<String>,
    found: Vec<String>,
    scans: u32,
}

impl SecretScanner {
    /// Starts scanning.
    pub fn start() -> Self {
        let shared = Arc::<Mutex<Shared>>::default();
        let seen = Arc::clone(&shared);
        let scanning = tokio::spawn(async move {
            loop {
                seen.lock().unwrap().scan();
                sleep(Duration::from_millis(200)).await;
            }
        });
        Self { shared, scanning }
    }

    /// Adds a secret to scan for.
    pub fn add_secret(&self, secret: &str) {
        self.shared.lock().unwrap().secrets.push(secret.to_owned());
    }

    /// Checks that no secret was on a command line or is in the logs.
    pub fn assert_no_leak(&self, logs: &[String]) {
        let shared = self.shared.lock().unwrap();
        assert!(shared.scans > 0 && !shared.secrets.is_empty());
        let found = &shared.found;
        assert!(found.is_empty(), "secrets on command lines: {found:?}");
        for line in logs {
            assert!(!shared.is_secret(line), "a secret in a log: {line}");
        }
    }
}

impl Drop for SecretScanner {
    fn drop(&mut self) {
        self.scanning.abort();
    }
}

impl Shared {
    fn scan(&mut self) {
        self.scans += 1;
        // Publishers and ffprobe are not part of Sluice, and may have keys on their command lines.
        let is_ours = |line: &String| {
            !line.contains("testsrc")
                && !line.contains("-stream_loop")
                && !line.starts_with("ffprobe")
        };
        let others = command_lines().filter(is_ours);
        let found: Vec<_> = others.filter(|line| self.is_secret(line)).collect();
        self.found.extend(found);
    }

    fn is_secret(&self, text: &str) -> bool {
        self.secrets.iter().any(|secret| text.contains(secret))
    }
}
