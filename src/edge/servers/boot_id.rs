use std::path::Path;

use parking_lot::Mutex;

use super::state_file::StateFile;
use crate::random::random_id;

/// The largest difference, in seconds, between computed start times of one process:
/// uptimes are whole seconds of a clock that the server reads now and then.
const START_TIME_TOLERANCE: i64 = 2;

/// The boot id of the media server, kept in a file so that a restarted edge has the same.
#[derive(Debug)]
pub(super) struct BootId {
    file: StateFile,
    current: Mutex<String>,
    /// The process of the last call, and its uptime in seconds.
    last_process: Mutex<Option<(u64, i64)>>,
}

impl BootId {
    pub(super) fn open(state_dir: &Path) -> anyhow::Result<Self> {
        let file = StateFile::open(state_dir, "boot")?;
        let current = Mutex::new(file.read()?);
        Ok(Self {
            file,
            current,
            last_process: Mutex::default(),
        })
    }

    /// The boot id of a process with this uptime at a time `now`, both in seconds.
    ///
    /// The control plane orders boots by their first report, so a boot id must never come
    /// back. The same process with a growing uptime therefore keeps its boot id, even if a
    /// changed clock or a late answer makes it seem to have started at another time.
    pub(super) fn of_process(&self, pid: u64, uptime: i64, now: i64) -> String {
        let start = now.saturating_sub(uptime);
        let last_process = self.last_process.lock().replace((pid, uptime));
        let is_continued = last_process
            .is_some_and(|(last_pid, last_uptime)| last_pid == pid && uptime >= last_uptime);
        let is_same = |known: &str| {
            let Some((known_pid, known_start)) = known.split_once('-') else {
                return false;
            };
            let known_start = known_start.parse::<i64>().unwrap_or(i64::MIN);
            let started_later = start > known_start.saturating_add(START_TIME_TOLERANCE);
            known_pid.parse() == Ok(pid) && (is_continued || !started_later)
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
        assert_eq!(boot.of_process(7, 10, 1_010), "7-1000");
        assert_eq!(boot.of_process(7, 12, 1_014), "7-1000");
        assert_eq!(boot.of_process(7, 14, 1_012), "7-1000");

        let restarted = BootId::open(folder.path()).unwrap();
        assert_eq!(restarted.of_process(7, 20, 1_021), "7-1000");
    }

    #[test]
    fn a_changed_clock_or_a_late_answer_keeps_the_boot_id() {
        let (folder, boot) = boot();
        assert_eq!(boot.of_process(7, 10, 1_010), "7-1000");
        assert_eq!(boot.of_process(7, 12, 1_017), "7-1000");
        assert_eq!(boot.of_process(7, 14, 914), "7-1000");

        let restarted = BootId::open(folder.path()).unwrap();
        assert_eq!(restarted.of_process(7, 20, 920), "7-1000");
    }

    #[test]
    fn another_process_or_start_has_another_boot_id() {
        let (folder, boot) = boot();
        assert_eq!(boot.of_process(7, 10, 1_010), "7-1000");
        assert_eq!(boot.of_process(8, 10, 1_010), "8-1000");
        assert_eq!(boot.of_process(8, 8, 1_011), "8-1003");

        let restarted = BootId::open(folder.path()).unwrap();
        assert_eq!(restarted.of_process(8, 20, 1_030), "8-1010");
    }

    #[test]
    fn a_server_without_a_start_time_has_one_boot_id() {
        let (folder, boot) = boot();
        let boot_id = boot.of_all_boots();
        assert_eq!(boot.of_all_boots(), boot_id);
        let restarted = BootId::open(folder.path()).unwrap();
        assert_eq!(restarted.of_all_boots(), boot_id, "after a restart too");
        assert_ne!(boot.of_process(7, 10, 1_010), boot_id);
    }
}
