use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

use tonic::{Code, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The error of a call, with its reason and details.
#[derive(Debug)]
pub struct Refusal {
    pub code: Code,
    pub reason: String,
    pub message: String,
    pub details: ErrorDetails,
}

/// The error of a call. Checks the details that every error must have.
#[track_caller]
pub fn refused<T: Debug>(response: Result<Response<T>, Status>) -> Refusal {
    let status = response.expect_err("the call fails");
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
    let check_details =
        |code: Code, has: bool| assert_eq!(refusal.code == code, has, "{refusal:?}");
    // No field of a malformed message is known.
    let has_fields =
        refusal.details.bad_request().is_some() || refusal.reason == "REQUEST_MALFORMED";
    check_details(Code::InvalidArgument, has_fields);
    check_details(Code::NotFound, refusal.details.resource_info().is_some());
    check_details(
        Code::FailedPrecondition,
        refusal.details.precondition_failure().is_some(),
    );
    let retry = [Code::Unavailable, Code::ResourceExhausted].contains(&refusal.code)
        // The same call would fail again.
        && !["METADATA_TOO_LARGE", "REQUEST_TOO_LARGE"].contains(&&*refusal.reason);
    assert_eq!(retry, refusal.details.retry_info().is_some(), "{refusal:?}");
    refusal
}

impl Refusal {
    /// The code and the reason.
    pub fn class(&self) -> (Code, &str) {
        (self.code, &self.reason)
    }

    /// The names of the invalid fields, sorted.
    pub fn fields(&self) -> Vec<&str> {
        assert_eq!(self.class(), (Code::InvalidArgument, "FIELDS_INVALID"));
        let violations = &self.details.bad_request().unwrap().field_violations;
        let mut fields: Vec<_> = violations
            .iter()
            .map(|violation| violation.field.as_str())
            .collect();
        fields.sort_unstable();
        fields
    }
}

/// Polls until `poll` returns a value, which must happen within 40 seconds.
#[track_caller]
pub fn eventually<T>(
    what: &'static str,
    poll: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    eventually_within(Duration::from_secs(40), what, poll)
}

/// Polls until `poll` returns a value, which must happen in time.
#[track_caller]
pub fn eventually_within<T>(
    limit: Duration,
    what: &'static str,
    mut poll: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(value) = poll().await {
                return value;
            }
            assert!(
                Instant::now() < deadline,
                "{caller}: never happened: {what}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Repeats a call while its answer is UNAVAILABLE, for 20 seconds: a server on a slow machine
/// that has not read its revocations in time serves no call.
pub async fn until_available<T, F>(call: impl Fn() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match call().await {
            Err(status) if status.code() == Code::Unavailable && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            answer => return answer,
        }
    }
}
