use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use http_body_util::Either;
use hyper::body::Bytes;
use pin_project_lite::pin_project;
use tonic::service::Routes;
use tower::{BoxError, Service};

/// Routes each call by its path to one of the services.
///
/// tonic's routes would do that too, but box every call and its bodies several times.
#[derive(Debug)]
pub struct Dispatch<A, P, S>(Arc<Services<A, P, S>>);

#[derive(Debug)]
struct Services<A, P, S> {
    auth: A,
    project: P,
    stream: S,
    others: Routes,
}

impl<A, P, S> Dispatch<A, P, S> {
    /// Routes between these services. Other paths go to the routes, which answer UNIMPLEMENTED to
    /// unknown paths.
    pub fn new(auth: A, project: P, stream: S, others: Routes) -> Self {
        Self(Arc::new(Services {
            auth,
            project,
            stream,
            others: others.prepare(),
        }))
    }
}

impl<A, P, S> Clone for Dispatch<A, P, S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<A, P, S, B, R> Service<Request<B>> for Dispatch<A, P, S>
where
    A: Service<Request<B>, Response = Response<R>, Error = Infallible> + Clone,
    P: Service<Request<B>, Response = Response<R>, Error = Infallible> + Clone,
    S: Service<Request<B>, Response = Response<R>, Error = Infallible> + Clone,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Either<R, tonic::body::Body>>;
    type Error = Infallible;
    type Future =
        DispatchedCall<A::Future, P::Future, S::Future, <Routes as Service<Request<B>>>::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Each of the services is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Services {
            auth,
            project,
            stream,
            others,
        } = &*self.0;
        let path = request.uri().path().strip_prefix("/sluice.v1.");
        match path.and_then(|path| path.split_once('/')) {
            Some(("AuthService", _)) => DispatchedCall::Auth {
                call: auth.clone().call(request),
            },
            Some(("ProjectService", _)) => DispatchedCall::Project {
                call: project.clone().call(request),
            },
            Some(("StreamService", _)) => DispatchedCall::Stream {
                call: stream.clone().call(request),
            },
            _ => DispatchedCall::Other {
                call: others.clone().call(request),
            },
        }
    }
}

pin_project! {
    /// The future of a call of one of the services.
    #[project = Projection]
    pub enum DispatchedCall<A, P, S, O> {
        /// A call of AuthService.
        Auth { #[pin] call: A },
        /// A call of ProjectService.
        Project { #[pin] call: P },
        /// A call of StreamService.
        Stream { #[pin] call: S },
        /// A call of another service.
        Other { #[pin] call: O },
    }
}

impl<A, P, S, O, R> Future for DispatchedCall<A, P, S, O>
where
    A: Future<Output = Result<Response<R>, Infallible>>,
    P: Future<Output = Result<Response<R>, Infallible>>,
    S: Future<Output = Result<Response<R>, Infallible>>,
    O: Future<Output = Result<Response<tonic::body::Body>, Infallible>>,
{
    type Output = Result<Response<Either<R, tonic::body::Body>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = match self.project() {
            Projection::Auth { call } => ready!(call.poll(cx)),
            Projection::Project { call } => ready!(call.poll(cx)),
            Projection::Stream { call } => ready!(call.poll(cx)),
            Projection::Other { call } => {
                let answer = ready!(call.poll(cx));
                return Poll::Ready(answer.map(|response| response.map(Either::Right)));
            }
        };
        Poll::Ready(result.map(|response| response.map(Either::Left)))
    }
}

/// Implements the generated trait of a service: each RPC calls the method of the same name that
/// returns the service's own errors.
macro_rules! implement_service {
    ($service:ty as $trait:path {
        $(type $stream:ident = $messages:ty;)*
        $(rpc $method:ident($request:ty) -> $response:ty;)+
    }) => {
        #[tonic::async_trait]
        impl $trait for $service {
            $(type $stream = $messages;)*
            $(async fn $method(
                &self,
                request: tonic::Request<$request>,
            ) -> Result<tonic::Response<$response>, tonic::Status> {
                let result: $crate::error::Result<_> = <$service>::$method(self, request).await;
                Ok(result?)
            })+
        }
    };
}

pub(super) use implement_service;
