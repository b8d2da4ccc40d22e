use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::Secret,
    edge::{publishing::Publishing, servers::MediaServer},
};

/// Answers hooks until `shutdown`.
pub(crate) async fn serve(
    _listener: TcpListener,
    _secret: Secret,
    _server: MediaServer,
    _publishing: Publishing,
    shutdown: CancellationToken,
) {
    shutdown.cancelled().await;
}
