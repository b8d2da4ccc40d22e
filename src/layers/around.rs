use std::{any::Any, sync::Arc};

use http::Response;
use ipnet::IpNet;
use tonic::{body::Body, service::Routes};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;

use super::{CallLogLayer, PeerAddressLayer, ReadOutLayer, WebLayer, answer_panic};
use crate::listening::{Calls, WebOrigin};

/// What a panic becomes.
type PanicAnswer = fn(Box<dyn Any + Send>) -> Response<Body>;

/// What the layers go by.
#[derive(Debug, Clone)]
pub struct LayerSettings {
    /// The proxies that are believed.
    pub trusted_proxies: Arc<[IpNet]>,
    /// The web sites whose pages may call.
    pub web_origins: Vec<WebOrigin>,
}

/// Services with all that happens to every call around them, outermost first.
pub fn around(services: Routes, settings: &LayerSettings) -> impl Calls + use<> {
    ServiceBuilder::new()
        .layer(ReadOutLayer)
        .layer(WebLayer::new(&settings.web_origins))
        .layer(CallLogLayer)
        .layer(CatchPanicLayer::custom(answer_panic as PanicAnswer))
        .layer(PeerAddressLayer::new(&settings.trusted_proxies))
        .service(services.prepare())
}
