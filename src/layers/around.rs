use std::{convert::Infallible, sync::Arc};

use http::{Request, Response};
use http_body::Body;
use hyper::body::{Bytes, Incoming};
use ipnet::IpNet;
use tower::{BoxError, Service, ServiceBuilder};

use super::{
    CallLogLayer, PanicLayer, PeerAddressLayer, ReadOutLayer, WebLayer, read_out::Lent,
    web::RequestBody,
};
use crate::listening::{Calls, WebOrigin};

/// What the layers go by.
#[derive(Debug, Clone)]
pub struct LayerSettings {
    /// The proxies that are believed.
    pub trusted_proxies: Arc<[IpNet]>,
    /// The web sites whose pages may call.
    pub web_origins: Vec<WebOrigin>,
}

/// The body of a request as services get it.
pub type CallBody = RequestBody<Lent<Incoming>>;

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
        .layer(CallLogLayer)
        .layer(PanicLayer)
        .layer(PeerAddressLayer::new(&settings.trusted_proxies))
        .service(services)
}
