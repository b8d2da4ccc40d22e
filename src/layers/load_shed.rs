//! How many calls are worked on at once.
//!
//! Beyond that, a call is refused before anything is done for it: a refusal now
//! costs little, and an answer that comes too late costs as much as one in time.
//! The last eighth of the places is for media servers and relay workers: streams
//! whose heartbeats are refused would end.
//!
//! A place is taken once the whole request is there and its caller is known: whoever
//! sends half a request holds none, but their number is bounded too. It is free again
//! when the answer begins: watches are bounded by their own number. Health checks
//! need none.
//!
//! While there is none, calls are refused unread, whoever makes them, and connections
//! are under [pressure](Pressure).

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Either;
use pin_project_lite::pin_project;
use tonic::codegen::StdError;
use tower::{Layer, Service};

use super::{
    method_info::Rpc,
    overload_status::{Shed, refusal},
};
use crate::{telemetry::metrics::LIVE, transport::Pressure};

/// How many calls may be begun and unread, for each place: their headers take memory.
const UNREAD: usize = 4;

/// Refuses calls beyond a number of them: RESOURCE_EXHAUSTED.
#[derive(Debug, Clone)]
pub struct LoadShedLayer {
    places: CallPlaces,
}

/// The places of calls. A clone shares them.
#[derive(Debug, Clone)]
pub struct CallPlaces {
    counts: Arc<Counts>,
    all: usize,
    pressure: Pressure,
}

#[derive(Debug, Default)]
struct Counts {
    /// Calls that are worked on.
    taken: AtomicUsize,
    /// Calls of which the request is not there yet.
    unread: AtomicUsize,
}

/// See [`LoadShedLayer`].
#[derive(Debug, Clone)]
pub struct LoadShed<S> {
    inner: S,
    places: CallPlaces,
}

/// The place of one call, which it may not have yet. Free again when dropped.
#[derive(Debug)]
pub struct Place {
    places: CallPlaces,
    rpc: Option<&'static Rpc>,
    is_read: AtomicBool,
    is_taken: AtomicBool,
    is_refused: AtomicBool,
}

impl LoadShedLayer {
    /// Takes on as many calls as there are places.
    pub fn new(places: CallPlaces) -> Self {
        Self { places }
    }
}

impl CallPlaces {
    /// So many places; pressure is felt while they do not suffice.
    pub fn new(all: usize, pressure: Pressure) -> Self {
        LIVE.calls_limit.set(i64::try_from(all).unwrap_or(i64::MAX));
        Self {
            counts: Arc::default(),
            all,
            pressure,
        }
    }

    /// The place of a call that begins; `None` if there will be none for it, or if too
    /// many have begun and stay unread: each costs the memory of its headers.
    fn begin(&self, rpc: Option<&'static Rpc>) -> Option<Arc<Place>> {
        let taken = self.counts.taken.load(Ordering::Relaxed);
        if rpc.is_some_and(|rpc| taken >= self.open_to(rpc)) {
            self.pressure.feel();
            return None;
        }
        if self.counts.unread.fetch_add(1, Ordering::Relaxed) >= UNREAD * self.all {
            self.counts.unread.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Arc::new(Place {
            places: self.clone(),
            rpc,
            is_read: AtomicBool::new(false),
            is_taken: AtomicBool::new(false),
            is_refused: AtomicBool::new(false),
        }))
    }

    /// How many of them may be taken by an RPC and others like it.
    fn open_to(&self, rpc: &Rpc) -> usize {
        let kept_back = if rpc.is_vital() { 0 } else { self.all / 8 };
        self.all - kept_back
    }
}

impl Place {
    /// Takes it, if the call needs one: its request is there. Tells whether it may go on.
    fn take(&self) -> bool {
        if self.is_read.swap(true, Ordering::Relaxed) {
            return true;
        }
        let counts = &self.places.counts;
        counts.unread.fetch_sub(1, Ordering::Relaxed);
        let Some(rpc) = self.rpc else { return true };
        if counts.taken.fetch_add(1, Ordering::Relaxed) >= self.places.open_to(rpc) {
            counts.taken.fetch_sub(1, Ordering::Relaxed);
            self.places.pressure.feel();
            self.is_refused.store(true, Ordering::Relaxed);
            return false;
        }
        LIVE.calls.inc();
        self.is_taken.store(true, Ordering::Relaxed);
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let counts = &self.places.counts;
        if !self.is_read.load(Ordering::Relaxed) {
            counts.unread.fetch_sub(1, Ordering::Relaxed);
        }
        if self.is_taken.load(Ordering::Relaxed) {
            counts.taken.fetch_sub(1, Ordering::Relaxed);
            LIVE.calls.dec();
        }
    }
}

impl<S> Layer<S> for LoadShedLayer {
    type Service = LoadShed<S>;

    fn layer(&self, inner: S) -> LoadShed<S> {
        LoadShed {
            inner,
            places: self.places.clone(),
        }
    }
}

impl<S, B, R> Service<Request<B>> for LoadShed<S>
where
    S: Service<Request<AdmittedBody<B>>, Response = Response<R>>,
{
    type Response = Response<Either<R, tonic::body::Body>>;
    type Error = S::Error;
    type Future = AdmittedCall<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.places.begin(Rpc::marked(request.extensions())) {
            Some(place) => {
                let request = request.map(|inner| AdmittedBody {
                    inner,
                    place: Arc::clone(&place),
                });
                AdmittedCall::Begun {
                    inner: self.inner.call(request),
                    place: Some(place),
                }
            }
            None => AdmittedCall::Refused,
        }
    }
}

pin_project! {
    /// The future of a call that takes a place.
    #[project = AdmittedProjection]
    pub enum AdmittedCall<F> {
        /// It may be read.
        Begun {
            #[pin]
            inner: F,
            place: Option<Arc<Place>>,
        },
        /// It may not.
        Refused,
    }
}

impl<F, R, E> Future for AdmittedCall<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<Either<R, tonic::body::Body>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            AdmittedProjection::Begun { inner, place } => {
                let mut answer = ready!(inner.poll(cx));
                if let (Some(place), Ok(response)) = (place.take(), &mut answer)
                    && place.is_refused.load(Ordering::Relaxed)
                {
                    response.extensions_mut().insert(Shed);
                }
                Poll::Ready(answer.map(|response| response.map(Either::Left)))
            }
            AdmittedProjection::Refused => {
                let mut response = refusal().into_http();
                response.extensions_mut().insert(Shed);
                Poll::Ready(Ok(response.map(Either::Right)))
            }
        }
    }
}

pin_project! {
    /// A request whose end is only reached by who gets a place.
    pub struct AdmittedBody<B> {
        #[pin]
        inner: B,
        place: Arc<Place>,
    }
}

impl<B: Body> Body for AdmittedBody<B>
where
    B::Error: Into<StdError>,
{
    type Data = B::Data;
    type Error = StdError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, StdError>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        if frame.is_none() && !this.place.take() {
            return Poll::Ready(Some(Err(refusal().into())));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream() && self.place.is_read.load(Ordering::Relaxed)
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
    use tower::{Layer, Service, service_fn};

    use super::{AdmittedBody, CallPlaces, LoadShedLayer};
    use crate::{
        layers::{method_info::Rpc, overload_status::Shed},
        transport::Pressure,
    };

    fn request() -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(Bytes::from_static(b"message")));
        let rpc = Rpc::of("/sluice.v1.ProjectService/GetProject").unwrap();
        rpc.mark(request.extensions_mut());
        request
    }

    /// Reads the request, and never answers who may be read.
    async fn read(
        request: Request<AdmittedBody<Full<Bytes>>>,
    ) -> Result<Response<tonic::body::Body>, Infallible> {
        match request.into_body().collect().await {
            Ok(_) => pending().await,
            Err(refusal) => Ok(Status::from_error(refusal).into_http()),
        }
    }

    #[tokio::test]
    async fn whoever_is_refused_is_marked_also_when_it_was_read_before() {
        let pressure = Pressure::default();
        let layer = LoadShedLayer::new(CallPlaces::new(1, pressure.clone()));
        let mut service = layer.layer(service_fn(read));
        // Both begin before one has the place.
        let (first, second) = (service.call(request()), service.call(request()));
        let mut first = pin!(first);
        assert!(!pressure.is_felt());

        let refused = tokio::select! {
            biased;
            _ = &mut first => panic!("it has the place"),
            refused = second => refused.unwrap(),
        };
        let unread = service.call(request()).await.unwrap();

        for refused in [refused.map(drop), unread.map(drop)] {
            assert_eq!(refused.headers()["grpc-status"], "8");
            assert!(refused.extensions().get::<Shed>().is_some());
        }
        assert!(pressure.is_felt());
    }
}
