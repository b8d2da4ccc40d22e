use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// The log filter, which can be changed at runtime. A clone shares it.
#[derive(Debug, Clone)]
pub struct LogFilter {
    text: Arc<Mutex<String>>,
    handle: reload::Handle<EnvFilter, Registry>,
}

/// A text is no valid log filter.
#[derive(Debug, thiserror::Error)]
#[error("the filter must be such as info or sluice=debug,sqlx=debug")]
pub struct InvalidFilter;

impl LogFilter {
    pub(super) fn new(text: &str, handle: reload::Handle<EnvFilter, Registry>) -> Self {
        Self {
            text: Arc::new(Mutex::new(text.to_owned())),
            handle,
        }
    }

    /// The current filter.
    pub fn text(&self) -> String {
        self.text.lock().clone()
    }

    /// Replaces the filter.
    pub fn set(&self, text: &str) -> Result<(), InvalidFilter> {
        let filter = EnvFilter::try_new(text).map_err(|_| InvalidFilter)?;
        let mut current = self.text.lock();
        self.handle.reload(filter).map_err(|_| InvalidFilter)?;
        *current = text.to_owned();
        Ok(())
    }
}
