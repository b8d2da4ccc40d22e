use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{task::spawn_blocking, time::sleep};
use tokio_rustls::TlsAcceptor;

use super::tls_files::{TlsFiles, TlsTexts};
use crate::telemetry::metrics::LIVE;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Encrypts, with what the files say now.
pub(super) struct Tls {
    files: TlsFiles,
    protocols: Vec<&'static [u8]>,
    current: Mutex<TlsAcceptor>,
}

/// What was seen in the files.
type Seen = Option<Vec<u8>>;

fn show_expiry(texts: &TlsTexts) {
    // Exact for the next 285 million years.
    let time = texts.expiry().unwrap_or_default() as f64;
    LIVE.certificate_expiry.set(time);
}

impl Tls {
    /// With these files and what may be spoken inside (ALPN).
    pub fn open(files: TlsFiles, protocols: Vec<&'static [u8]>) -> anyhow::Result<Self> {
        let texts = files.read()?;
        let config = texts.config(&protocols)?;
        show_expiry(&texts);
        Ok(Self {
            files,
            protocols,
            current: Mutex::new(Arc::new(config).into()),
        })
    }

    /// What a new connection goes through.
    pub fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.lock();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the files for ever, and takes over what is new in them. What cannot be
    /// used is said once, and leaves things as they are.
    pub async fn keep_current(self: Arc<Self>) {
        let mut seen: Seen = None;
        loop {
            let tls = Arc::clone(&self);
            let looked = spawn_blocking(move || tls.look(seen)).await;
            seen = looked.unwrap_or_default();
            sleep(EVERY).await;
        }
    }

    fn look(&self, seen: Seen) -> Seen {
        let texts = match self.files.read() {
            Ok(texts) => texts,
            Err(error) => {
                if seen != Some(Vec::new()) {
                    tracing::error!(error = format!("{error:#}"), "cannot read the certificate");
                }
                return Some(Vec::new());
            }
        };
        let fingerprint = Some(texts.fingerprint());
        if seen != fingerprint {
            self.take_over(&texts, seen.is_none());
        }
        fingerprint
    }

    fn take_over(&self, texts: &TlsTexts, first: bool) {
        match texts.config(&self.protocols) {
            Ok(config) => {
                let current = self.current.lock();
                *current.unwrap_or_else(PoisonError::into_inner) = Arc::new(config).into();
                show_expiry(texts);
                if !first {
                    tracing::info!("took over a new certificate");
                }
            }
            Err(error) => tracing::error!(
                error = format!("{error:#}"),
                "cannot use the new certificate, the old one goes on"
            ),
        }
    }
}
