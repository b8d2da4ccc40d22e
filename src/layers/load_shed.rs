//! How many calls are worked on at once.
//!
//! Beyond that, a call is refused before anything is done for it: a refusal now
//! costs little, and an answer that comes too late costs as much as one in time.
//! The last eighth of the places is for media servers and relay workers: streams
//! whose heartbeats are refused would end.
//!
//! A place is taken once the whole request is there and its caller is known: whoever
//! sends half a request holds none. It is free again when the answer begins:
//! watches are bounded by their own number. Health checks need none.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use http::Request;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::{Status, codegen::StdError};
use tower::{Layer, Service};

use super::rpc::Rpc;
use crate::{auth::random_fraction, error::Error};

/// What a refused caller waits at least, and at most: spread, so that they do not
/// all come back at once.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(1500));

/// Refuses calls beyond a number of them: RESOURCE_EXHAUSTED.
#[derive(Debug, Clone)]
pub struct LoadShedLayer {
    places: CallPlaces,
}

/// The places of calls. A clone shares them.
#[derive(Debug, Clone)]
pub struct CallPlaces {
    taken: Arc<AtomicUsize>,
    all: usize,
}

/// See [`LoadShedLayer`].
#[derive(Debug, Clone)]
pub struct LoadShed<S> {
    inner: S,
    places: CallPlaces,
}

/// The place of one call, which it may not have yet. Free again when dropped.
#[derive(Debug)]
struct Place {
    places: CallPlaces,
    rpc: Rpc,
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
        Self {
            taken: Arc::default(),
            all,
        }
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Place {
    fn of(rpc: Rpc, places: &CallPlaces) -> Arc<Self> {
        Arc::new(Self {
            places: places.clone(),
            rpc,
            is_taken: AtomicBool::new(false),
        })
    }

    fn is_taken(&self) -> bool {
        self.is_taken.load(Ordering::Relaxed)
    }

    fn take(&self) -> Result<(), Error> {
        if self.is_taken() {
            return Ok(());
        }
        let CallPlaces { taken, all } = &self.places;
        let kept_back = if self.rpc.is_vital() { 0 } else { all / 8 };
        if taken.fetch_add(1, Ordering::Relaxed) >= all - kept_back {
            taken.fetch_sub(1, Ordering::Relaxed);
            let (least, most) = RETRY;
            let wait = least + (most - least).mul_f64(random_fraction());
            return Err(Error::Overloaded(wait));
        }
        self.is_taken.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_taken() {
            self.places.taken.fetch_sub(1, Ordering::Relaxed);
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

impl<S, B> Service<Request<B>> for LoadShed<S>
where
    S: Service<Request<AdmittedBody<B>>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = AdmittedCall<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let rpc = Rpc::of(request.uri().path());
        let place = rpc.map(|rpc| Place::of(rpc, &self.places));
        let request = request.map(|inner| AdmittedBody {
            inner,
            place: place.clone(),
        });
        AdmittedCall {
            inner: self.inner.call(request),
            place,
        }
    }
}

pin_project! {
    /// The future of a call that takes a place.
    pub struct AdmittedCall<F> {
        #[pin]
        inner: F,
        place: Option<Arc<Place>>,
    }
}

impl<F: Future> Future for AdmittedCall<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.inner.poll(cx));
        this.place.take();
        Poll::Ready(answer)
    }
}

pin_project! {
    /// A request whose end is only reached by who gets a place.
    pub struct AdmittedBody<B> {
        #[pin]
        inner: B,
        place: Option<Arc<Place>>,
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
            && let Some(place) = this.place
            && let Err(refusal) = place.take()
        {
            return Poll::Ready(Some(Err(Status::from(refusal).into())));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream() && self.place.as_deref().is_none_or(Place::is_taken)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
