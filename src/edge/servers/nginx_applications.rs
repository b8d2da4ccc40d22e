use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::state_file::Kept;

/// How many applications an edge serves at most.
const MOST: usize = 64;

/// The applications of nginx-rtmp that ask the edge. Others are none of its business: it
/// must not disconnect who publishes there. Kept, for hooks alone tell which they are.
#[derive(Debug)]
pub(super) struct Applications {
    kept: Kept,
    names: Mutex<BTreeSet<String>>,
}

impl Applications {
    /// Reads what was kept in the folder.
    pub(super) fn open(folder: &Path) -> anyhow::Result<Self> {
        let kept = Kept::open(folder, "applications")?;
        let names = kept.read()?.lines().map(ToOwned::to_owned).collect();
        Ok(Self {
            kept,
            names: Mutex::new(names),
        })
    }

    /// Whether an application asks the edge.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.names().contains(name)
    }

    /// An application has asked.
    pub(super) fn learn(&self, name: &str) {
        let mut names = self.names();
        let is_plain = !name.is_empty() && !name.contains(char::is_control);
        if names.contains(name) || !is_plain || names.len() >= MOST {
            return;
        }
        names.insert(name.to_owned());
        let text: Vec<&str> = names.iter().map(String::as_str).collect();
        if let Err(fault) = self.kept.write(&text.join("\n")) {
            let error = format!("{fault:#}");
            tracing::warn!(error, "cannot keep which applications there are");
        }
    }

    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::Applications;

    #[test]
    fn applications_that_have_asked_are_known_after_a_restart() {
        let folder = TempDir::new().unwrap();
        let applications = Applications::open(folder.path()).unwrap();
        assert!(!applications.contains("live"));
        for name in ["live", "", "a\nb", "live", "second one"] {
            applications.learn(name);
        }

        let again = Applications::open(folder.path()).unwrap();
        assert!(again.contains("live") && again.contains("second one"));
        for other in ["", "a", "b", "destination"] {
            assert!(!again.contains(other), "{other}");
        }
    }
}
