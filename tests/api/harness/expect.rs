use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

use tonic::{Code, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// A call that was refused as the contract says.
#[derive(Debug)]
pub struct Refusal {
    pub code: Code,
    pub reason: String,
    pub message: String,
    pub details: ErrorDetails,
}

/// The refusal of a call; checks what every refusal has.
#[track_caller]
pub fn refused<T: Debug>(answer: Result<Response<T>, Status>) -> Refusal {
    let status = answer.expect_err("the call is refused");
    let details = status.get_error_details();
    let info = details
        .error_info()
        .expect("every error carries an ErrorInfo")
        .clone();
    assert_eq!(info.domain, "sluice.v1");

    let refusal = Refusal {
        code: status.code(),
        reason: info.reason,
        message: status.message().to_owned(),
        details,
    };
    let carries = |code: Code, has: bool| assert_eq!(refusal.code == code, has, "{refusal:?}");
    carries(
        Code::InvalidArgument,
        refusal.details.bad_request().is_some(),
    );
    carries(Code::NotFound, refusal.details.resource_info().is_some());
    carries(
        Code::FailedPrecondition,
        refusal.details.precondition_failure().is_some(),
    );
    let retry = [Code::Unavailable, Code::ResourceExhausted].contains(&refusal.code);
    assert_eq!(retry, refusal.details.retry_info().is_some(), "{refusal:?}");
    refusal
}

impl Refusal {
    /// The code and the reason.
    pub fn class(&self) -> (Code, &str) {
        (self.code, &self.reason)
    }

    /// The names of the wrong fields, sorted.
    pub fn fields(&self) -> Vec<&str> {
        assert_eq!(self.class(), (Code::InvalidArgument, "FIELDS_INVALID"));
        let faults = &self.details.bad_request().unwrap().field_violations;
        let mut fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        fields.sort_unstable();
        fields
    }
}

/// Waits for something that must come within 20 seconds.
#[track_caller]
pub fn eventually<T>(
    what: &'static str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "{caller}: never happened: {what}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
