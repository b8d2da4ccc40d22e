use std::{any::Any, convert::Infallible, sync::Arc, time::Duration};

use http::{Request, Response};
use http_body::Body;
use hyper::body::{Bytes, Incoming};
use ipnet::IpNet;
use tonic::Status;
use tower::{BoxError, Service, ServiceBuilder};
use tower_http::catch_panic::CatchPanicLayer;

use super::{
    call_limits::CallLimits,
    call_log::CallLog,
    deadline::Deadline,
    drain_body::{DrainBody, SharedBody},
    load_shed::{AdmittedBody, ConcurrencyLimit, LoadShed},
    peer_address::ResolvePeerAddress,
    web::{TranslatedBody, Web, WebOrigin},
};
use crate::{error::Error, transport::HttpService};

/// The settings of the layers.
#[derive(Debug, Clone)]
pub struct LayerSettings {
    /// The proxies whose `x-forwarded-for` is trusted.
    pub trusted_proxies: Arc<[IpNet]>,
    /// The web sites whose pages may call.
    pub web_origins: Vec<WebOrigin>,
    /// The limit of concurrent calls.
    pub concurrency: ConcurrencyLimit,
    /// The duration from which a successful call is logged as slow.
    pub slow_call: Duration,
    /// The timeout of unary calls.
    pub call_timeout: Duration,
}

/// The request body as services get it.
pub type CallBody = AdmittedBody<TranslatedBody<SharedBody<Incoming>>>;

/// Wraps the services in the layers, outermost first.
pub fn stack<S, R>(services: S, settings: &LayerSettings) -> impl HttpService + use<S, R>
where
    S: Service<Request<CallBody>, Response = Response<R>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    R: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    ServiceBuilder::new()
        .layer_fn(|inner| DrainBody { inner })
        .layer_fn(|inner| Web::new(inner, &settings.web_origins))
        .layer_fn(|inner| CallLog {
            inner,
            slow_threshold: settings.slow_call,
        })
        .layer(CatchPanicLayer::custom(panic_response))
        .layer_fn(|inner| CallLimits { inner })
        .layer_fn(|inner| ResolvePeerAddress {
            inner,
            trusted_proxies: settings.trusted_proxies.clone(),
        })
        .layer_fn(|inner| LoadShed {
            inner,
            limit: settings.concurrency.clone(),
        })
        .layer_fn(|inner| Deadline {
            inner,
            unary_timeout: settings.call_timeout,
        })
        .service(services)
}

/// The response to a call whose handler panicked before it responded: INTERNAL. The hook of
/// [`telemetry`](crate::telemetry) has logged the panic itself.
fn panic_response(_: Box<dyn Any + Send>) -> Response<tonic::body::Body> {
    Status::from(Error::internal(anyhow::anyhow!("a handler panicked"))).into_http()
}
