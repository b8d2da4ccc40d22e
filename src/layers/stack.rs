use std::{convert::Infallible, sync::Arc, time::Duration};

use http::{Request, Response};
use http_body::Body;
use hyper::body::{Bytes, Incoming};
use ipnet::IpNet;
use tower::{BoxError, Service, ServiceBuilder};

use super::{
    CallLogLayer, CallPlaces, DeadlineLayer, LoadShedLayer, PanicLayer, PeerAddressLayer,
    ReadOutLayer, WebLayer, drain_body::Lent, load_shed::AdmittedBody, web::RequestBody,
};
use crate::transport::{Calls, WebOrigin};

/// What the layers go by.
#[derive(Debug, Clone)]
pub struct LayerSettings {
    /// The proxies that are believed.
    pub trusted_proxies: Arc<[IpNet]>,
    /// The web sites whose pages may call.
    pub web_origins: Vec<WebOrigin>,
    /// The places of calls.
    pub places: CallPlaces,
    /// From when on a call that goes well is logged as slow.
    pub slow_call: Duration,
    /// How long a unary call may take.
    pub call_timeout: Duration,
}

/// The body of a request as services get it.
pub type CallBody = AdmittedBody<RequestBody<Lent<Incoming>>>;

/// Services with all that happens to every call around them, outermost first.
pub fn around<S, R>(services: S, settings: &LayerSettings) -> impl Calls + use<S, R>
where
    S: Service<Request<CallBody>, Response = Response<R>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    R: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    ServiceBuilder::new()
        .layer(ReadOutLayer)
        .layer(WebLayer::new(&settings.web_origins))
        .layer(CallLogLayer::new(settings.slow_call))
        .layer(PanicLayer)
        .layer(PeerAddressLayer::new(&settings.trusted_proxies))
        .layer(LoadShedLayer::new(settings.places.clone()))
        .layer(DeadlineLayer::new(settings.call_timeout))
        .service(services)
}
