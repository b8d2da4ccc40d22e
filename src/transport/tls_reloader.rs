use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{task::spawn_blocking, time::sleep};
use tokio_rustls::TlsAcceptor;

use super::tls_config::{TlsFiles, TlsMaterial};
use crate::telemetry::metrics::SERVER;

/// The interval at which the files are checked for changes.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// TLS that follows changes of its files.
pub(super) struct ReloadableTls {
    files: TlsFiles,
    alpn_protocols: Vec<&'static [u8]>,
    acceptor: Mutex<TlsAcceptor>,
}

/// The state of the files at the last check.
#[derive(PartialEq, Eq)]
enum LastCheck {
    /// There was no check yet.
    None,
    Unreadable,
    /// Read, with this fingerprint.
    Read(Vec<u8>),
}

impl ReloadableTls {
    /// TLS with these files and ALPN protocols. Fails if the files are unusable.
    pub fn open(files: TlsFiles, alpn_protocols: Vec<&'static [u8]>) -> anyhow::Result<Self> {
        let material = files.read()?;
        let config = material.config(&alpn_protocols)?;
        set_expiry_metric(&material);
        Ok(Self {
            files,
            alpn_protocols,
            acceptor: Mutex::new(Arc::new(config).into()),
        })
    }

    /// The acceptor for a new connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.lock().clone()
    }

    /// Reloads the files when they change; never returns. An unusable change is logged
    /// once and has no effect.
    pub async fn keep_current(self: Arc<Self>) {
        let mut last = LastCheck::None;
        loop {
            let tls = Arc::clone(&self);
            let checked = spawn_blocking(move || tls.check(&last)).await;
            last = checked.unwrap_or(LastCheck::None);
            sleep(RELOAD_INTERVAL).await;
        }
    }

    fn check(&self, last: &LastCheck) -> LastCheck {
        let material = match self.files.read() {
            Ok(material) => material,
            Err(error) => {
                if *last != LastCheck::Unreadable {
                    tracing::error!(error = format!("{error:#}"), "cannot read the certificate");
                }
                return LastCheck::Unreadable;
            }
        };
        let check = LastCheck::Read(material.fingerprint());
        if *last != check {
            self.reload(&material, *last == LastCheck::None);
        }
        check
    }

    fn reload(&self, material: &TlsMaterial, is_first: bool) {
        match material.config(&self.alpn_protocols) {
            Ok(config) => {
                *self.acceptor.lock() = Arc::new(config).into();
                set_expiry_metric(material);
                if !is_first {
                    tracing::info!("the certificate was replaced");
                }
            }
            Err(error) => tracing::error!(
                error = format!("{error:#}"),
                "cannot use the new certificate, keeping the old one"
            ),
        }
    }
}

fn set_expiry_metric(material: &TlsMaterial) {
    // Exact for the next 285 million years.
    let time = material.expiry().unwrap_or_default() as f64;
    SERVER.certificate_expiry.set(time);
}
