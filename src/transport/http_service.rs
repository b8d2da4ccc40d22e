use std::error::Error;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tower::Service;

/// What calls are handed to: any service of HTTP that can be cloned for each of them.
pub trait Calls:
    Service<
        Request<Incoming>,
        Response = Response<Self::Answer>,
        Error: Into<Box<dyn Error + Send + Sync>>,
        Future: Send,
    > + Clone
    + Send
    + Sync
    + 'static
{
    /// The body of its answers.
    type Answer: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;
}

impl<S, B> Calls for S
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Future: Send,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    type Answer = B;
}
