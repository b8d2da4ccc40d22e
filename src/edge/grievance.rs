use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// How often it is said.
const EVERY: Duration = Duration::from_mins(1);

/// What an operator has to put right, said once a minute however many calls meet it.
#[derive(Debug, Clone, Default)]
pub(super) struct Grievance {
    said: Arc<Mutex<Option<Instant>>>,
}

impl Grievance {
    /// Says it, if an error is of that kind.
    pub(super) fn heed(&self, status: &Status) {
        let Some(reason) = locked_out(status) else {
            return;
        };
        if self.is_due(Instant::now()) {
            tracing::error!(
                reason,
                "the control plane does not let this edge in: see its API key (SLUICE_API_KEY)"
            );
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = said.is_none_or(|said| now.duration_since(said) >= EVERY);
        if is_due {
            *said = Some(now);
        }
        is_due
    }
}

/// The reason, if it is the key or what it is good for.
fn locked_out(status: &Status) -> Option<String> {
    let reason = status.get_details_error_info().map(|info| info.reason);
    match status.code() {
        Code::Unauthenticated => Some(reason.unwrap_or_default()),
        Code::PermissionDenied => reason.filter(|reason| reason == "SCOPE_MISSING"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn it_is_said_once_a_minute() {
        let grievance = Grievance::default();
        let now = Instant::now();
        assert!(grievance.is_due(now));
        assert!(!grievance.clone().is_due(now + Duration::from_secs(59)));
        assert!(grievance.is_due(now + EVERY));
    }

    #[test]
    fn only_the_key_and_its_scopes_are_an_operators_matter() {
        let with = |code, reason| {
            let details = ErrorDetails::with_error_info(reason, "sluice", []);
            locked_out(&Status::with_error_details(code, "no", details))
        };
        let missing = Some("SCOPE_MISSING".to_owned());
        assert_eq!(with(Code::PermissionDenied, "SCOPE_MISSING"), missing);
        assert_eq!(with(Code::PermissionDenied, "STREAM_KEY_INVALID"), None);
        assert!(with(Code::Unauthenticated, "API_KEY_INVALID").is_some());
        assert_eq!(with(Code::Unavailable, "STARTING"), None);
    }
}
