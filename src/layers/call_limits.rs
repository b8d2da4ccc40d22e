//! Limits on the metadata of a call, and on the calls of its connection.
//!
//! HTTP itself could only reset the stream, close the connection or answer 431. Its own
//! limits are therefore higher, and a call above these gets a status with a reason.

use std::{
    future::{Ready, ready},
    task::{Context, Poll},
};

use http::{Request, Response};
use tokio_util::either::Either;
use tonic::Status;
use tower::Service;

use crate::{
    error::Error,
    transport::{CallHook, ConnectionCallsExceeded, HookedBody, HookedCall},
};

/// The maximum size of a call's metadata and path: room for a token and the headers of
/// proxies.
const MAX_METADATA_SIZE: usize = 16 * 1024;

/// What RFC 9113 section 6.5.2 adds to the name and the value of each header.
const HEADER_OVERHEAD: usize = 32;

/// Refuses calls with too much metadata, and calls above the limit of their connection:
/// RESOURCE_EXHAUSTED.
#[derive(Debug, Clone)]
pub(super) struct CallLimits<S> {
    pub inner: S,
}

/// A call within the limits.
#[derive(Debug)]
pub struct Unhooked;

impl CallHook for Unhooked {}

impl<S, B, R> Service<Request<B>> for CallLimits<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<HookedBody<R, Unhooked>>;
    type Error = S::Error;
    type Future = Either<HookedCall<S::Future, Unhooked>, Ready<Result<Self::Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match check(&request) {
            Ok(()) => Either::Left(HookedCall::new(self.inner.call(request), Unhooked)),
            Err(error) => {
                let response = Status::from(error).into_http::<()>();
                Either::Right(ready(Ok(response.map(|()| HookedBody::empty()))))
            }
        }
    }
}

fn check<B>(request: &Request<B>) -> Result<(), Error> {
    let extensions = request.extensions();
    if extensions.get::<ConnectionCallsExceeded>().is_some() {
        return Err(Error::TooManyConnectionCalls);
    }
    if metadata_size(request) > MAX_METADATA_SIZE {
        return Err(Error::MetadataTooLarge);
    }
    Ok(())
}

fn metadata_size<B>(request: &Request<B>) -> usize {
    let path = request.uri().path_and_query();
    let headers = request.headers().iter();
    let sizes = headers.map(|(name, value)| name.as_str().len() + value.len() + HEADER_OVERHEAD);
    path.map_or(0, |path| path.as_str().len()) + sizes.sum::<usize>()
}
