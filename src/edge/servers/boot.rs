use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use super::kept::Kept;
use crate::auth::random_name;

/// How far apart the same start may be computed at different times, in seconds: uptimes
/// are whole seconds of a clock that the server reads now and then.
const TOLERANCE: u64 = 2;

/// What names the media server's run, kept so that a restarted edge says the same.
#[derive(Debug)]
pub(super) struct Boot {
    kept: Kept,
    text: Mutex<String>,
}

impl Boot {
    /// Reads what was kept in the folder.
    pub(super) fn open(folder: &Path) -> anyhow::Result<Self> {
        let kept = Kept::open(folder, "boot")?;
        let text = Mutex::new(kept.read()?);
        Ok(Self { kept, text })
    }

    /// The name of the run of this process, which started so many seconds after 1970.
    pub(super) fn of_process(&self, pid: u64, start: i64) -> String {
        let is_same = |known: &str| {
            let Some((known_pid, known_start)) = known.split_once('-') else {
                return false;
            };
            let known_start = known_start.parse::<i64>().unwrap_or(i64::MIN);
            known_pid.parse() == Ok(pid) && known_start.abs_diff(start) <= TOLERANCE
        };
        self.known_or(is_same, || format!("{pid}-{start}"))
    }

    /// The name of all runs of a server that does not tell them apart.
    pub(super) fn of_all(&self) -> String {
        let is_random = |known: &str| known.len() == 32 && !known.contains('-');
        self.known_or(is_random, random_name)
    }

    fn known_or(&self, is_same: impl Fn(&str) -> bool, new: impl FnOnce() -> String) -> String {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_same(&text) {
            *text = new();
            // Until the next start of the edge nobody needs it.
            if let Err(fault) = self.kept.write(&text) {
                let error = format!("{fault:#}");
                tracing::warn!(error, "cannot keep which run of the media server this is");
            }
        }
        text.clone()
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::Boot;

    #[test]
    fn a_run_keeps_its_name_though_its_start_is_computed_a_little_differently() {
        let folder = TempDir::new().unwrap();
        let boot = Boot::open(folder.path()).unwrap();
        assert_eq!(boot.of_process(7, 1_000), "7-1000");
        assert_eq!(boot.of_process(7, 1_002), "7-1000");
        assert_eq!(boot.of_process(7, 998), "7-1000");

        let restarted = Boot::open(folder.path()).unwrap();
        assert_eq!(restarted.of_process(7, 1_001), "7-1000");
    }

    #[test]
    fn another_process_or_another_start_is_another_run() {
        let folder = TempDir::new().unwrap();
        let boot = Boot::open(folder.path()).unwrap();
        assert_eq!(boot.of_process(7, 1_000), "7-1000");
        assert_eq!(boot.of_process(8, 1_000), "8-1000");
        assert_eq!(boot.of_process(8, 1_003), "8-1003");
    }

    #[test]
    fn a_server_that_tells_nothing_has_one_name_for_all_runs() {
        let folder = TempDir::new().unwrap();
        let boot = Boot::open(folder.path()).unwrap();
        let name = boot.of_all();
        assert_eq!(boot.of_all(), name);
        assert_eq!(
            Boot::open(folder.path()).unwrap().of_all(),
            name,
            "after a restart too"
        );
        assert_ne!(boot.of_process(7, 1_000), name);
    }
}
