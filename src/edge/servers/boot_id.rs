use std::path::Path;

use parking_lot::Mutex;

use crate::{edge::state_file::StateFile, random::random_id};

/// The largest difference, in seconds, between the start times of one process. A server
/// rounds both values that its start time is computed from.
const START_TIME_TOLERANCE: u64 = 2;

/// The boot id of the media server, kept in a file so that a restarted edge has the same.
#[derive(Debug)]
pub(super) struct BootId {
    file: StateFile,
    current: Mutex<String>,
}

impl BootId {
    pub(super) fn open(state_dir: &Path) -> anyhow::Result<Self> {
        let file = StateFile::open(state_dir, "boot")?;
        let current = Mutex::new(file.read()?);
        Ok(Self { file, current })
    }

    /// The boot id of a process with this start time, in seconds since 1970 by the clock of
    /// the server: the clock of this machine may differ from it, and may be changed.
    pub(super) fn of_process(&self, pid: u64, start: i64) -> String {
        let is_same = |known: &str| {
            let Some((known_pid, known_start)) = known.split_once('-') else {
                return false;
            };
            let is_near = |known_start: i64| start.abs_diff(known_start) <= START_TIME_TOLERANCE;
            known_pid.parse() == Ok(pid) && known_start.parse().is_ok_and(is_near)
        };
        self.keep_or_replace(is_same, || format!("{pid}-{start}"))
    }

    /// The one boot id of a server that does not expose its start.
    pub(super) fn of_all_boots(&self) -> String {
        let is_random = |known: &str| known.len() == 32 && !known.contains('-');
        self.keep_or_replace(is_random, random_id)
    }

    fn keep_or_replace(
        &self,
        is_same: impl Fn(&str) -> bool,
        new: impl FnOnce() -> String,
    ) -> String {
        let mut current = self.current.lock();
        if !is_same(&current) {
            *current = new();
            // The file matters only after the next start of the edge.
            if let Err(error) = self.file.write(&current) {
                let error = format!("{error:#}");
                tracing::warn!(error, "cannot save the boot id of the media server");
            }
        }
        current.clone()
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::BootId;

    fn boot() -> (TempDir, BootId) {
        let folder = TempDir::new().unwrap();
        let boot = BootId::open(folder.path()).unwrap();
        (folder, boot)
    }

    #[test]
    fn small_differences_of_the_start_time_keep_the_boot_id() {
        let (folder, boot) = boot();
        assert_eq!(boot.of_process(7, 1_000), "7-1000");
        assert_eq!(boot.of_process(7, 1_002), "7-1000");
        assert_eq!(boot.of_process(7, 998), "7-1000");

        let restarted = BootId::open(folder.path()).unwrap();
        assert_eq!(restarted.of_process(7, 1_001), "7-1000");
    }

    #[test]
    fn another_process_or_start_has_another_boot_id() {
        let (folder, boot) = boot();
        assert_eq!(boot.of_process(7, 1_000), "7-1000");
        assert_eq!(boot.of_process(8, 1_000), "8-1000");
        assert_eq!(boot.of_process(8, 1_003), "8-1003");
        assert_eq!(boot.of_process(8, 1_000), "8-1000");

        let restarted = BootId::open(folder.path()).unwrap();
        assert_eq!(restarted.of_process(8, 1_010), "8-1010");
    }

    #[test]
    fn a_server_without_a_start_time_has_one_boot_id() {
        let (folder, boot) = boot();
        let boot_id = boot.of_all_boots();
        assert_eq!(boot.of_all_boots(), boot_id);
        let restarted = BootId::open(folder.path()).unwrap();
        assert_eq!(restarted.of_all_boots(), boot_id, "after a restart too");
        assert_ne!(boot.of_process(7, 1_000), boot_id);
    }
}
