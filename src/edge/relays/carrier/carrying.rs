use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::watch;
use tokio_rustls::rustls::RootCertStore;
use tokio_util::task::AbortOnDropHandle;

use super::{
    address::{Address, Output, RtmpAddress},
    host::Addresses,
    rtmp::{self, Far},
    srt,
    trouble::{Trouble, Way},
};
use crate::{
    domain::{Secret, UrlPolicy},
    edge::relays::relay_failure::RelayFailure,
};

/// Carries media between ffmpeg and a far side. Dropped, it closes all that belongs to it.
pub(in crate::edge::relays) struct Carrier {
    local_url: String,
    format: &'static str,
    bytes: Arc<AtomicU64>,
    fault: watch::Receiver<Option<RelayFailure>>,
    _task: AbortOnDropHandle<()>,
}

impl Carrier {
    /// ffmpeg reads from `local_url`, what is carried from `url`: `rtmp://host:port/app/name`.
    pub(in crate::edge::relays) async fn reading(url: &Secret) -> Result<Self, RelayFailure> {
        let way = Way::Reading;
        let fault = |trouble: Trouble| trouble.fault(way);
        let address = match Address::parse(url) {
            Ok(Address::Rtmp(address)) => address,
            Ok(Address::Srt(_)) => return Err(fault(Trouble::AddressInvalid("must be RTMP"))),
            Err(why) => return Err(fault(Trouble::AddressInvalid(why))),
        };
        Self::rtmp(way, address, None, None).await.map_err(fault)
    }

    /// ffmpeg writes to `local_url`, what is carried to `output`: the address of a destination
    /// and its key. All addresses of the host are checked against the policy, and no
    /// other one is connected to.
    pub(in crate::edge::relays) async fn sending(
        output: &Output,
        policy: &UrlPolicy,
    ) -> Result<Self, RelayFailure> {
        Self::sending_over(output, policy, None).await
    }

    /// The same with trust in these certificate authorities instead of the platform's.
    pub(super) async fn sending_over(
        output: &Output,
        policy: &UrlPolicy,
        roots: Option<Arc<RootCertStore>>,
    ) -> Result<Self, RelayFailure> {
        let carrier = match Address::of_output(output) {
            Ok(Address::Rtmp(address)) => {
                Self::rtmp(Way::Sending, address, Some(policy), roots).await
            }
            Ok(Address::Srt(address)) => {
                let addresses = Addresses::find(&address.site, Some(policy)).await;
                match addresses {
                    Ok(addresses) => Self::srt(srt::Carriage::new(&address, &addresses).await),
                    Err(trouble) => Err(trouble),
                }
            }
            Err(why) => Err(Trouble::AddressInvalid(why)),
        };
        carrier.map_err(|trouble| trouble.fault(Way::Sending))
    }

    async fn rtmp(
        way: Way,
        address: RtmpAddress,
        policy: Option<&UrlPolicy>,
        roots: Option<Arc<RootCertStore>>,
    ) -> Result<Self, Trouble> {
        let addresses = Addresses::find(&address.site, policy).await?;
        let far = Far {
            address,
            addresses,
            roots,
        };
        let carriage = rtmp::Carriage::new(way, far).await?;
        let (local_url, bytes) = (carriage.local_url(), carriage.bytes());
        let (told, fault) = watch::channel(None);
        let task = tokio::spawn(carriage.run(told));
        Ok(Self {
            local_url,
            format: "flv",
            bytes,
            fault,
            _task: AbortOnDropHandle::new(task),
        })
    }

    fn srt(carriage: Result<srt::Carriage, Trouble>) -> Result<Self, Trouble> {
        let carriage = carriage?;
        let (local_url, bytes) = (carriage.local_url(), carriage.bytes());
        let (told, fault) = watch::channel(None);
        let task = tokio::spawn(carriage.run(told));
        Ok(Self {
            local_url,
            format: "mpegts",
            bytes,
            fault,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// What ffmpeg is given: nothing secret is in it, and it is good for one connection.
    pub(in crate::edge::relays) fn local_url(&self) -> &str {
        &self.local_url
    }

    /// The format that ffmpeg reads or writes: `flv` or `mpegts`.
    pub(in crate::edge::relays) fn format(&self) -> &'static str {
        self.format
    }

    /// Bytes of media that were carried: what the far side's socket has taken or, while
    /// reading, what ffmpeg's has.
    pub(in crate::edge::relays) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Waits until the far side refuses or is lost; for ever if ffmpeg ends before.
    pub(in crate::edge::relays) async fn failed(&self) -> RelayFailure {
        let mut fault = self.fault.clone();
        let told = fault.wait_for(Option::is_some).await;
        match told.ok().and_then(|fault| fault.clone()) {
            Some(fault) => fault,
            None => pending().await,
        }
    }
}
