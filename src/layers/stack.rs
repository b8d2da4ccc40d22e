use std::{any::Any, convert::Infallible, sync::Arc, time::Duration};

use http::{Request, Response};
use http_body::Body;
use hyper::body::{Bytes, Incoming};
use tonic::{Status, service::Interceptor};
use tower::{BoxError, Service, ServiceBuilder};
use tower_http::catch_panic::CatchPanicLayer;

use super::{
    admission::{self, Admission, Budgets},
    call_log::CallLog,
    deadline::Deadline,
    peer_address::ResolvePeerAddress,
    web::{TranslatedBody, Web},
};
use crate::{
    domain::WebOrigin,
    error::Error,
    transport::{HttpService, TrustedProxy},
};

/// The settings of the layers.
#[derive(Debug, Clone)]
pub struct LayerSettings {
    /// The proxies whose `x-forwarded-for` is trusted.
    pub trusted_proxies: Arc<[TrustedProxy]>,
    /// The web sites whose pages may call.
    pub web_origins: Vec<WebOrigin>,
    /// The limits of what callers make the server hold.
    pub budgets: Budgets,
    /// The duration from which a successful call is logged as slow.
    pub slow_call: Duration,
    /// The timeout of unary calls.
    pub call_timeout: Duration,
}

/// The request body as services get it.
pub type CallBody = admission::CallBody<TranslatedBody<Incoming>>;

/// Wraps the services in the layers, outermost first. `authorize` runs for each call of
/// `sluice.v1`, before its message is read.
pub fn stack<S, A, R>(
    services: S,
    authorize: A,
    settings: &LayerSettings,
) -> impl HttpService + use<S, A, R>
where
    A: Interceptor + Clone + Send + Sync + 'static,
    S: Service<Request<CallBody>, Response = Response<R>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    R: Body<Data = Bytes, Error: Into<BoxError> + Send + Unpin> + Send + Unpin + 'static,
{
    ServiceBuilder::new()
        .layer_fn(|inner| Web::new(inner, &settings.web_origins))
        .layer_fn(|inner| CallLog {
            inner,
            slow_threshold: settings.slow_call,
        })
        .layer(CatchPanicLayer::custom(panic_response))
        .layer_fn(|inner| ResolvePeerAddress {
            inner,
            trusted_proxies: settings.trusted_proxies.clone(),
        })
        .layer_fn(|inner| Deadline {
            inner,
            unary_timeout: settings.call_timeout,
        })
        .layer_fn(|inner| Admission {
            inner,
            authorize: authorize.clone(),
            budgets: settings.budgets.clone(),
        })
        .service(services)
}

/// The response to a call whose handler panicked before it responded: INTERNAL. The hook of
/// [`telemetry`](crate::telemetry) has logged the panic itself.
fn panic_response(_: Box<dyn Any + Send>) -> Response<tonic::body::Body> {
    Status::from(Error::internal(anyhow::anyhow!("a handler panicked"))).into_http()
}
