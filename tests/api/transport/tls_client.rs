use std::{net::SocketAddr, sync::Arc};

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};
use tonic::transport::{Channel, Endpoint, Uri};

use crate::harness::Certificate;

/// A TLS client that trusts these certificates, with an optional certificate of its own.
pub fn client(trusted: &[&Certificate], own: Option<&Certificate>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for one in trusted {
        roots.add(certificate(one)).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match own {
        None => config.with_no_client_auth(),
        Some(one) => {
            let key = PrivateKeyDer::from_pem_file(&one.key).unwrap();
            let chain = vec![certificate(one)];
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config).into()
}

/// Reads a certificate from its file.
pub fn certificate(of: &Certificate) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(&of.file).unwrap()
}

/// Connects and completes the TLS handshake.
pub async fn connect(
    client: &TlsConnector,
    address: SocketAddr,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = "localhost".try_into().unwrap();
    client.connect(name, stream).await
}

/// A gRPC channel over such connections.
pub fn channel(client: TlsConnector, address: SocketAddr) -> Channel {
    let connect = tower::service_fn(move |_: Uri| {
        let client = client.clone();
        async move { connect(&client, address).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect)
}
