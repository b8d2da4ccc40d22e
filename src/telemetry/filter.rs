use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::{EnvFilter, Registry, reload};

/// What is logged, which can be changed. A clone shares it.
#[derive(Debug, Clone)]
pub struct LogFilter {
    text: Arc<Mutex<String>>,
    handle: reload::Handle<EnvFilter, Registry>,
}

/// A text that is no filter.
#[derive(Debug, thiserror::Error)]
#[error("the filter must be such as info or sluice=debug,sqlx=debug")]
pub struct WrongFilter;

impl LogFilter {
    pub(super) fn new(text: &str, handle: reload::Handle<EnvFilter, Registry>) -> Self {
        Self {
            text: Arc::new(Mutex::new(text.to_owned())),
            handle,
        }
    }

    /// The filter, as it was set.
    pub fn text(&self) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        text.clone()
    }

    /// Logs according to another filter from now on.
    pub fn set(&self, text: &str) -> Result<(), WrongFilter> {
        let filter = EnvFilter::try_new(text).map_err(|_| WrongFilter)?;
        let mut current = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        self.handle.reload(filter).map_err(|_| WrongFilter)?;
        *current = text.to_owned();
        Ok(())
    }
}
