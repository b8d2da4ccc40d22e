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

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Either;
use pin_project_lite::pin_project;
use tonic::{Status, codegen::StdError};
use tower::{Layer, Service};

use super::rpc::Rpc;
use crate::{auth::random_fraction, error::Error, telemetry::metrics::LIVE};

/// What a refused caller waits at least, and at most: spread, so that they do not
/// all come back at once.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(1500));

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
}

impl LoadShedLayer {
    /// Takes on as many calls as there are places.
    pub fn new(places: CallPlaces) -> Self {
        Self { places }
    }
}

impl CallPlaces {
    /// So many places.
    pub fn new(all: usize) -> Self {
        LIVE.calls_limit.set(i64::try_from(all).unwrap_or(i64::MAX));
        Self {
            counts: Arc::default(),
            all,
        }
    }

    /// The place of a call that begins; `Overloaded` if too many have begun and
    /// stay unread: each costs the memory of its headers.
    fn begin(&self, rpc: Option<&'static Rpc>) -> Result<Arc<Place>, Error> {
        if self.counts.unread.fetch_add(1, Ordering::Relaxed) >= UNREAD * self.all {
            self.counts.unread.fetch_sub(1, Ordering::Relaxed);
            return Err(overloaded());
        }
        Ok(Arc::new(Place {
            places: self.clone(),
            rpc,
            is_read: AtomicBool::new(false),
            is_taken: AtomicBool::new(false),
        }))
    }
}

impl Place {
    /// Takes it, if the call needs one: its request is there.
    fn take(&self) -> Result<(), Error> {
        if self.is_read.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let CallPlaces { counts, all } = &self.places;
        counts.unread.fetch_sub(1, Ordering::Relaxed);
        let Some(rpc) = self.rpc else { return Ok(()) };
        let kept_back = if rpc.is_vital() { 0 } else { all / 8 };
        if counts.taken.fetch_add(1, Ordering::Relaxed) >= all - kept_back {
            counts.taken.fetch_sub(1, Ordering::Relaxed);
            return Err(overloaded());
        }
        LIVE.calls.inc();
        self.is_taken.store(true, Ordering::Relaxed);
        Ok(())
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

fn overloaded() -> Error {
    LIVE.calls_shed.inc();
    let (least, most) = RETRY;
    Error::Overloaded(least + (most - least).mul_f64(random_fraction()))
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
            Ok(place) => {
                let request = request.map(|inner| AdmittedBody {
                    inner,
                    place: Arc::clone(&place),
                });
                AdmittedCall::Begun {
                    inner: self.inner.call(request),
                    place: Some(place),
                }
            }
            Err(refusal) => AdmittedCall::Refused {
                refusal: Some(refusal),
            },
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
        Refused {
            refusal: Option<Error>,
        },
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
                let answer = ready!(inner.poll(cx));
                place.take();
                Poll::Ready(answer.map(|response| response.map(Either::Left)))
            }
            AdmittedProjection::Refused { refusal } => {
                let status = Status::from(refusal.take().unwrap_or_else(overloaded));
                Poll::Ready(Ok(status.into_http().map(Either::Right)))
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
        if frame.is_none()
            && let Err(refusal) = this.place.take()
        {
            return Poll::Ready(Some(Err(Status::from(refusal).into())));
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
