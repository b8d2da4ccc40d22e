//! The limit of concurrent calls.
//!
//! Beyond the limit a call is refused before any work is done: a refusal now costs
//! little, and a late response costs as much as one in time. The last eighth of the
//! limit is reserved for media servers and relay workers, because their streams end
//! when heartbeats are refused.
//!
//! A call takes its permit once the whole request has arrived and its caller is known, so
//! half a request holds no permit; the number of unread calls has a limit of its own. The
//! permit is free again when the response begins, because watches have their own limit.
//! Health checks need none.
//!
//! At the limit, calls are refused unread, whoever makes them.

use std::{
    future::{Ready, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{self, Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use http_body::{Body, SizeHint};
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tokio_util::either::Either;
use tonic::{Status, codegen::StdError};
use tower::Service;

use super::method_info::MethodInfo;
use crate::{
    error::Error,
    random::random_fraction,
    telemetry::{Throttle, metrics::SERVER},
    transport::{CallHook, HookedBody, HookedCall, PolledFrame},
};

/// The number of unread calls for each permit: their headers take memory.
const UNREAD_CALLS_PER_PERMIT: usize = 4;

/// The shortest retry delay of refused callers, and what is added at random, so that they
/// do not all come back at once.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(500);
const RETRY_JITTER: Duration = Duration::from_secs(1);

/// The least time between two log lines about refused calls.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Refuses calls beyond the concurrency limit: RESOURCE_EXHAUSTED.
#[derive(Debug, Clone)]
pub(super) struct LoadShed<S> {
    pub inner: S,
    pub limit: ConcurrencyLimit,
}

/// The permits for concurrent calls. A clone shares them.
#[derive(Debug, Clone)]
pub struct ConcurrencyLimit {
    counts: Arc<CallCounts>,
    max_calls: usize,
}

#[derive(Debug, Default)]
struct CallCounts {
    /// Calls with a permit.
    running: AtomicUsize,
    /// Calls whose request has not arrived completely.
    unread: AtomicUsize,
}

/// The permit of one call, taken when its request is read and given back when dropped.
#[derive(Debug)]
struct CallPermit {
    limit: ConcurrencyLimit,
    /// `None` for calls that need no permit.
    method: Option<&'static MethodInfo>,
    is_read: AtomicBool,
    is_taken: AtomicBool,
    is_refused: AtomicBool,
}

/// In the extensions of a response: the call was refused because of overload.
#[derive(Debug, Clone, Copy)]
pub(super) struct LoadShedMarker;

impl ConcurrencyLimit {
    /// A limit of this many calls.
    pub fn new(max_calls: usize) -> Self {
        let limit = i64::try_from(max_calls).unwrap_or(i64::MAX);
        SERVER.calls_limit.set(limit);
        Self {
            counts: Arc::default(),
            max_calls,
        }
    }

    /// Begins a call; its permit is not taken yet. `None` if no permit is free, or if too
    /// many calls are unread.
    fn begin(&self, method: Option<&'static MethodInfo>) -> Option<Arc<CallPermit>> {
        let running = self.counts.running.load(Ordering::Relaxed);
        if method.is_some_and(|method| running >= self.limit_for(method)) {
            return None;
        }
        let max_unread = UNREAD_CALLS_PER_PERMIT * self.max_calls;
        if self.counts.unread.fetch_add(1, Ordering::Relaxed) >= max_unread {
            self.counts.unread.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Arc::new(CallPermit {
            limit: self.clone(),
            method,
            is_read: AtomicBool::new(false),
            is_taken: AtomicBool::new(false),
            is_refused: AtomicBool::new(false),
        }))
    }

    /// The number of running calls beyond which a method is refused.
    fn limit_for(&self, method: &MethodInfo) -> usize {
        match method.is_priority {
            true => self.max_calls,
            false => self.max_calls - self.max_calls / 8,
        }
    }
}

impl CallPermit {
    /// Takes the permit, if the call needs one, once its request is read. Returns whether
    /// the call may go on.
    fn take(&self) -> bool {
        if self.is_read.swap(true, Ordering::Relaxed) {
            return true;
        }
        let counts = &self.limit.counts;
        counts.unread.fetch_sub(1, Ordering::Relaxed);
        let Some(method) = self.method else {
            return true;
        };
        if counts.running.fetch_add(1, Ordering::Relaxed) >= self.limit.limit_for(method) {
            counts.running.fetch_sub(1, Ordering::Relaxed);
            self.is_refused.store(true, Ordering::Relaxed);
            return false;
        }
        SERVER.calls.inc();
        self.is_taken.store(true, Ordering::Relaxed);
        true
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        let counts = &self.limit.counts;
        if !self.is_read.load(Ordering::Relaxed) {
            counts.unread.fetch_sub(1, Ordering::Relaxed);
        }
        if self.is_taken.load(Ordering::Relaxed) {
            counts.running.fetch_sub(1, Ordering::Relaxed);
            SERVER.calls.dec();
        }
    }
}

/// Refuses a call: counts it, and logs it together with others.
fn overload_status() -> Status {
    static THROTTLE: Mutex<Throttle> = Mutex::new(Throttle::new(LOG_INTERVAL));

    SERVER.calls_shed.inc();
    let refused = THROTTLE.lock().record();
    if let Some(refused) = refused {
        // Outside of the span of this call, because the line is about many calls.
        tracing::warn!(parent: None, refused, "calls are refused: there are too many at once");
    }
    Error::Overloaded(MIN_RETRY_DELAY + RETRY_JITTER.mul_f64(random_fraction())).into()
}

impl<S, B, R> Service<Request<B>> for LoadShed<S>
where
    S: Service<Request<AdmittedBody<B>>, Response = Response<R>>,
{
    type Response = Response<HookedBody<R, Admission>>;
    type Error = S::Error;
    type Future = Either<HookedCall<S::Future, Admission>, Ready<Result<Self::Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(permit) = self.limit.begin(MethodInfo::attached(request.extensions())) else {
            let mut response = overload_status().into_http::<()>();
            response.extensions_mut().insert(LoadShedMarker);
            return Either::Right(ready(Ok(response.map(|()| HookedBody::empty()))));
        };
        let request = request.map(|inner| AdmittedBody {
            inner,
            permit: Arc::clone(&permit),
        });
        let admission = Admission(Some(permit));
        Either::Left(HookedCall::new(self.inner.call(request), admission))
    }
}

/// Holds the permit of a call until its response begins.
#[derive(Debug)]
pub struct Admission(Option<Arc<CallPermit>>);

impl CallHook for Admission {
    fn poll_response<F, B, E>(
        &mut self,
        future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<Option<B>>, E>>
    where
        F: Future<Output = Result<Response<B>, E>>,
    {
        let mut response = task::ready!(future.poll(cx));
        if let (Some(permit), Ok(response)) = (self.0.take(), &mut response)
            && permit.is_refused.load(Ordering::Relaxed)
        {
            response.extensions_mut().insert(LoadShedMarker);
        }
        Poll::Ready(response.map(|response| response.map(Some)))
    }
}

pin_project! {
    /// A request body that takes the permit at its end, or ends with an error.
    pub struct AdmittedBody<B> {
        #[pin]
        inner: B,
        permit: Arc<CallPermit>,
    }
}

impl<B: Body> Body for AdmittedBody<B>
where
    B::Error: Into<StdError>,
{
    type Data = B::Data;
    type Error = StdError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame<Self> {
        let this = self.project();
        let frame = task::ready!(this.inner.poll_frame(cx));
        if frame.is_none() && !this.permit.take() {
            return Poll::Ready(Some(Err(overload_status().into())));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream() && self.permit.is_read.load(Ordering::Relaxed)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::pending, pin::pin};

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::{BodyExt, Full};
    use tonic::Status;
    use tower::{Service, service_fn};

    use super::{AdmittedBody, ConcurrencyLimit, LoadShed, LoadShedMarker};
    use crate::layers::method_info::MethodInfo;

    fn request() -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(Bytes::from_static(b"message")));
        let method = MethodInfo::by_path("/sluice.v1.ProjectService/GetProject").unwrap();
        method.attach(request.extensions_mut());
        request
    }

    /// Reads the request; never answers if it gets a permit.
    async fn read(
        request: Request<AdmittedBody<Full<Bytes>>>,
    ) -> Result<Response<tonic::body::Body>, Infallible> {
        match request.into_body().collect().await {
            Ok(_) => pending().await,
            Err(refusal) => Ok(Status::from_error(refusal).into_http()),
        }
    }

    #[tokio::test]
    async fn a_refused_call_is_marked_whether_it_was_read_or_not() {
        let mut service = LoadShed {
            inner: service_fn(read),
            limit: ConcurrencyLimit::new(1),
        };
        // Both calls begin before one has the permit.
        let (first, second) = (service.call(request()), service.call(request()));
        let mut first = pin!(first);

        let refused = tokio::select! {
            biased;
            _ = &mut first => panic!("it has the permit"),
            refused = second => refused.unwrap(),
        };
        let unread = service.call(request()).await.unwrap();

        for refused in [refused.map(drop), unread.map(drop)] {
            assert_eq!(refused.headers()["grpc-status"], "8");
            assert!(refused.extensions().get::<LoadShedMarker>().is_some());
        }
    }
}
