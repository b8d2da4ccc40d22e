//! Checks whether a destination can be reached, without publishing.
//!
//! Only the address is known here: neither the stream key nor a passphrase is sent. Texts have no
//! IP addresses, because those of private networks concern nobody outside.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, time::timeout_at};

use super::{
    relay::RelayContext,
    rtmp::{Session, SessionError, StreamTarget},
    upstream::{
        Address, Output, RtmpAddress, Secrets, Side, Transport, UpstreamError, connect_tcp,
        probe_srt, secure, shake_hands,
    },
};
use crate::{
    domain::Secret,
    outbound::{Addresses, Site},
    proto::v1::{
        DestinationCheck, DestinationCheckOutcome as Outcome, DestinationCheckReport,
        DestinationCheckResult, DestinationCheckStep as Step,
    },
};

/// The longest time of a check, and the part of its timeout that is left for the report.
const MAX_DURATION: Duration = Duration::from_secs(12);
const REPORT_TIME: Duration = Duration::from_secs(2);

/// The name that stands for the stream key in an address.
const NO_KEY: &str = "check";

/// A check that runs.
struct Check<'a> {
    context: &'a RelayContext,
    deadline: tokio::time::Instant,
    results: Vec<DestinationCheckResult>,
}

/// A step has failed: its result is the last one.
struct Failed;

/// Checks a destination.
pub(super) async fn run(check: DestinationCheck, context: &RelayContext) -> DestinationCheckReport {
    let DestinationCheck {
        check_id,
        server_url,
        timeout,
    } = check;
    let timeout: Option<Duration> = timeout.and_then(|timeout| timeout.try_into().ok());
    let timeout = timeout.map_or(MAX_DURATION, |timeout| timeout.saturating_sub(REPORT_TIME));
    let mut running = Check {
        context,
        deadline: tokio::time::Instant::now() + timeout.min(MAX_DURATION),
        results: Vec::new(),
    };
    // The results tell which step has failed.
    let _ = running.all(&Secret::new(server_url)).await;
    DestinationCheckReport {
        check_id,
        results: running.results,
    }
}

impl Check<'_> {
    async fn all(&mut self, server_url: &Secret) -> Result<(), Failed> {
        let output = Output::Apart {
            server_url: server_url.clone(),
            stream_key: Secret::new(NO_KEY),
        };
        let invalid = |why| UpstreamError::AddressInvalid(why);
        let address = Address::of_output(&output).map_err(invalid);
        let parsed = async { address };
        match self.step(Step::Name, None, parsed).await? {
            Address::Rtmp(address) => {
                let addresses = self.find(&address.site).await?;
                self.rtmp(&address, &addresses).await
            }
            Address::Srt(address) => {
                let addresses = self.find(&address.site).await?;
                let done =
                    "an SRT listener answers; the stream id and the passphrase were not sent";
                self.step(Step::Srt, Some(done), probe_srt(&addresses))
                    .await
            }
        }
    }

    /// The addresses of a site, if a connection is allowed.
    async fn find(&mut self, site: &Site) -> Result<Addresses, Failed> {
        let done = match site.host.parse::<IpAddr>() {
            Ok(_) => "the host is an address",
            Err(_) => "the host name resolves",
        };
        let addresses = self.step(Step::Name, Some(done), Addresses::resolve(site));
        let addresses = addresses.await?;
        let policy = &self.context.policy;
        let checked = async { addresses.check(site, policy) };
        let done = "connections to the host are allowed";
        self.step(Step::Address, Some(done), checked).await?;
        Ok(addresses)
    }

    async fn rtmp(&mut self, address: &RtmpAddress, addresses: &Addresses) -> Result<(), Failed> {
        let done = "the server accepts the connection";
        let tcp = self
            .step(Step::Tcp, Some(done), connect_tcp(addresses))
            .await?;
        let mut transport = self.transport(tcp, address).await?;
        let done = "the server speaks RTMP";
        self.step(Step::Rtmp, Some(done), shake_hands(&mut transport))
            .await?;
        let target = StreamTarget {
            app: address.app.expose(),
            tc_url: address.tc_url.expose(),
            stream_name: NO_KEY,
        };
        let connecting = async {
            let connected = Session::connect_only(transport, target).await;
            connected.map_err(|error| not_connected(error, address))
        };
        let done = "the server accepts the application; the stream key was not sent";
        self.step(Step::Application, Some(done), connecting).await
    }

    async fn transport(
        &mut self,
        tcp: TcpStream,
        address: &RtmpAddress,
    ) -> Result<Box<dyn Transport>, Failed> {
        if !address.tls {
            return Ok(Box::new(tcp));
        }
        let done = "the certificate is valid for the host";
        let securing = secure(tcp, address, &self.context.certificates);
        let secured = self.step(Step::Tls, Some(done), securing).await?;
        Ok(Box::new(secured))
    }

    /// Runs a step, and adds its result; without `done` only that of a failure.
    async fn step<T, E: Into<UpstreamError>>(
        &mut self,
        step: Step,
        done: Option<&str>,
        running: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failed> {
        let begun = Instant::now();
        let ended = match timeout_at(self.deadline, running).await {
            Ok(ended) => ended.map_err(Into::into),
            Err(_) => Err(UpstreamError::ConnectTimeout),
        };
        let (outcome, detail) = match &ended {
            Ok(_) => (Outcome::Passed, done.map(str::to_owned)),
            Err(error) => (Outcome::Failed, Some(text(error))),
        };
        self.results
            .extend(detail.map(|detail| DestinationCheckResult {
                step: step.into(),
                outcome: outcome.into(),
                detail,
                duration: prost_types::Duration::try_from(begun.elapsed()).ok(),
            }));
        ended.map_err(|_| Failed)
    }
}

/// What has failed, without IP addresses.
fn text(error: &UpstreamError) -> String {
    let failure = error.clone().failure(Side::Output);
    without_addresses(&failure.message)
}

/// Why the RTMP `connect` has failed. Some servers close if they do not have the application.
fn not_connected(error: SessionError, address: &RtmpAddress) -> UpstreamError {
    match error {
        SessionError::Closed => UpstreamError::Refused(
            "it closed the connection: it may not have the application of the address".into(),
        ),
        error => UpstreamError::starting(error, |words| redact(words, address)),
    }
}

/// The words of a server without the secrets of the application's query.
fn redact(words: &str, address: &RtmpAddress) -> String {
    let query = address.app.expose().split_once('?');
    let query = Secret::new(query.map_or("", |(_, query)| query));
    Secrets::of(&query).redact(words)
}

/// A text whose words that are IP addresses are hidden, with or without a port.
fn without_addresses(text: &str) -> String {
    let is_address = |word: &str| {
        let bare = word.trim_matches(|letter: char| !letter.is_ascii_hexdigit() && letter != ':');
        bare.parse::<IpAddr>().is_ok()
            || bare.parse::<SocketAddr>().is_ok()
            || format!("[{bare}").parse::<SocketAddr>().is_ok()
    };
    let words = text.split(' ').map(|word| match is_address(word) {
        true => "***",
        false => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hidden_in_the_words_of_a_server() {
        for (said, shown) in [
            ("no route to 10.1.2.3", "no route to ***"),
            (
                "rejected by (10.1.2.3:1935), sorry",
                "rejected by *** sorry",
            ),
            ("rejected by [fd00::1]:1935", "rejected by ***"),
            ("rejected by fd00::1.", "rejected by ***"),
            ("version 5.1 is bad", "version 5.1 is bad"),
            ("code: dead", "code: dead"),
        ] {
            assert_eq!(without_addresses(said), shown);
        }
    }
}
