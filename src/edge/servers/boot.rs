use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use super::state_file::Kept;
use crate::random::random_name;

/// How far apart the same start may be computed at different times, in seconds: uptimes
/// are whole seconds of a clock that the server reads now and then.
const TOLERANCE: i64 = 2;

/// What names the media server's run, kept so that a restarted edge says the same.
#[derive(Debug)]
pub(super) struct Boot {
    kept: Kept,
    text: Mutex<String>,
    /// The process that was last seen, and for how many seconds it had run.
    seen: Mutex<Option<(u64, i64)>>,
}

impl Boot {
    /// Reads what was kept in the folder.
    pub(super) fn open(folder: &Path) -> anyhow::Result<Self> {
        let kept = Kept::open(folder, "boot")?;
        let text = Mutex::new(kept.read()?);
        let seen = Mutex::default();
        Ok(Self { kept, text, seen })
    }

    /// The name of the run of this process, which at a moment, in seconds since 1970, has
    /// run for so many seconds. A name that was left is never right again, as runs are
    /// ordered by when they are first named: so a start that seems to be another one
    /// because a clock was set, or the answer was late, is none.
    pub(super) fn of_process(&self, pid: u64, uptime: i64, now: i64) -> String {
        let start = now.saturating_sub(uptime);
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let goes_on = { seen }
            .replace((pid, uptime))
            .is_some_and(|(before, longest)| before == pid && uptime >= longest);
        let is_same = |known: &str| {
            let Some((known_pid, known_start)) = known.split_once('-') else {
                return false;
            };
            let known_start = known_start.parse::<i64>().unwrap_or(i64::MIN);
            let began_later = start > known_start.saturating_add(TOLERANCE);
            known_pid.parse() == Ok(pid) && (goes_on || !began_later)
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
        assert_eq!(boot.of_process(7, 10, 1_010), "7-1000");
        assert_eq!(boot.of_process(7, 12, 1_014), "7-1000");
        assert_eq!(boot.of_process(7, 14, 1_012), "7-1000");

        let restarted = Boot::open(folder.path()).unwrap();
        assert_eq!(restarted.of_process(7, 20, 1_021), "7-1000");
    }

    #[test]
    fn a_clock_that_is_set_or_an_answer_that_is_late_begins_no_run() {
        let folder = TempDir::new().unwrap();
        let boot = Boot::open(folder.path()).unwrap();
        assert_eq!(boot.of_process(7, 10, 1_010), "7-1000");
        assert_eq!(boot.of_process(7, 12, 1_017), "7-1000");
        assert_eq!(boot.of_process(7, 14, 914), "7-1000");

        let restarted = Boot::open(folder.path()).unwrap();
        assert_eq!(restarted.of_process(7, 20, 920), "7-1000");
    }

    #[test]
    fn another_process_or_another_start_is_another_run() {
        let folder = TempDir::new().unwrap();
        let boot = Boot::open(folder.path()).unwrap();
        assert_eq!(boot.of_process(7, 10, 1_010), "7-1000");
        assert_eq!(boot.of_process(8, 10, 1_010), "8-1000");
        assert_eq!(boot.of_process(8, 8, 1_011), "8-1003");

        let restarted = Boot::open(folder.path()).unwrap();
        assert_eq!(restarted.of_process(8, 20, 1_030), "8-1010");
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
        assert_ne!(boot.of_process(7, 10, 1_010), name);
    }
}
