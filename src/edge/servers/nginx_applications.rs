use std::{collections::BTreeSet, path::Path};

use parking_lot::Mutex;

use crate::edge::state_file::StateFile;

const MAX_APPLICATIONS: usize = 64;

/// The applications of nginx-rtmp whose hooks the edge answers. The edge must not disconnect
/// publishers of any other one. They are kept in a file, as only hooks reveal them.
#[derive(Debug)]
pub(super) struct Applications {
    file: StateFile,
    names: Mutex<BTreeSet<String>>,
}

impl Applications {
    pub(super) fn open(state_dir: &Path) -> anyhow::Result<Self> {
        let file = StateFile::open(state_dir, "applications")?;
        let names = file.read()?.lines().map(ToOwned::to_owned).collect();
        Ok(Self {
            file,
            names: Mutex::new(names),
        })
    }

    /// Whether an application has sent a hook.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.names.lock().contains(name)
    }

    /// An application has sent a hook.
    pub(super) fn insert(&self, name: &str) {
        let mut names = self.names.lock();
        let is_valid = !name.is_empty() && !name.contains(char::is_control);
        if names.contains(name) || !is_valid || names.len() >= MAX_APPLICATIONS {
            return;
        }
        names.insert(name.to_owned());
        let text: Vec<&str> = names.iter().map(String::as_str).collect();
        if let Err(error) = self.file.write(&text.join("\n")) {
            let error = format!("{error:#}");
            tracing::warn!(error, "cannot save the applications of nginx-rtmp");
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::Applications;

    #[test]
    fn applications_are_known_after_a_restart() {
        let folder = TempDir::new().unwrap();
        let applications = Applications::open(folder.path()).unwrap();
        assert!(!applications.contains("live"));
        for name in ["live", "", "a\nb", "live", "second one"] {
            applications.insert(name);
        }

        let again = Applications::open(folder.path()).unwrap();
        assert!(again.contains("live") && again.contains("second one"));
        for other in ["", "a", "b", "destination"] {
            assert!(!again.contains(other), "{other}");
        }
    }
}
