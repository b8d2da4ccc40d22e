use std::any::Any;

use http::Response;
use tonic::{Status, body::Body};

use crate::error::Error;

/// What the caller of a handler that panicked gets: INTERNAL.
///
/// The panic itself is logged by the hook of [`telemetry`](crate::telemetry).
pub fn answer_panic(_: Box<dyn Any + Send>) -> Response<Body> {
    Status::from(Error::internal(anyhow::anyhow!("a handler panicked"))).into_http()
}
