use crate::{
    edge::relays::{relay_failure::RelayFailure, rtmp::SessionError},
    outbound::OutboundError,
    proto::v1::RelayErrorSeverity::{self, Fatal, Retryable},
};

/// The end of a relay at which a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The media server.
    Input,
    /// The destination.
    Output,
}

/// The code of a failure to verify, or to encrypt the connection to, a destination.
pub(crate) const TLS_FAILED: &str = "TLS_FAILED";

/// What can go wrong with a server. The texts hold no secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UpstreamError {
    /// Its address cannot be used.
    AddressInvalid(&'static str),
    /// Its address must not be connected to.
    AddressForbidden(String),
    /// Its name does not resolve.
    HostNotFound,
    /// It does not answer.
    ConnectTimeout,
    /// Nothing listens at its address.
    ConnectionRefused,
    /// There is no route to it.
    Unreachable,
    /// Its certificate is issued by an unknown authority.
    CertificateUntrusted,
    /// Its certificate has expired.
    CertificateExpired,
    /// Its certificate is for other host names.
    CertificateOfAnotherHost,
    /// Its certificate is invalid for another reason.
    CertificateInvalid,
    /// The TLS handshake failed.
    TlsFailed,
    /// It refused a command, in these words.
    Refused(String),
    /// It accepted the stream and closed the connection within seconds.
    ClosedEarly,
    /// The connection was lost, as this text says.
    Lost(String),
    /// It does not accept this codec.
    CodecUnsupported(String),
}

impl UpstreamError {
    /// Why a session did not start. `redact` removes secrets from the server's words.
    pub(crate) fn starting(error: SessionError, redact: impl Fn(&str) -> String) -> Self {
        match error {
            SessionError::Refused(words) => Self::Refused(redact(&words)),
            SessionError::Closed => {
                Self::Refused("it closed the connection instead of accepting the stream".into())
            }
            SessionError::Timeout => Self::ConnectTimeout,
            SessionError::Invalid => Self::Lost("it does not speak RTMP".into()),
        }
    }

    /// The failure of the relay.
    pub(crate) fn failure(self, side: Side) -> RelayFailure {
        let (code, severity) = match side {
            Side::Input => self.of_input(),
            Side::Output => self.of_output(),
        };
        RelayFailure::new(code, severity, self.text())
    }

    fn of_output(&self) -> (&'static str, RelayErrorSeverity) {
        match self {
            Self::AddressInvalid(_) => ("ADDRESS_INVALID", Fatal),
            Self::AddressForbidden(_) => ("ADDRESS_FORBIDDEN", Fatal),
            Self::HostNotFound => ("HOST_NOT_FOUND", Retryable),
            Self::ConnectTimeout => ("CONNECT_TIMEOUT", Retryable),
            Self::ConnectionRefused => ("CONNECTION_REFUSED", Retryable),
            Self::Unreachable => ("HOST_UNREACHABLE", Retryable),
            // The server is not the platform, or needs an authority that is not known here: the owner
            // has to see that.
            Self::CertificateUntrusted
            | Self::CertificateExpired
            | Self::CertificateOfAnotherHost
            | Self::CertificateInvalid => (TLS_FAILED, Fatal),
            Self::TlsFailed => (TLS_FAILED, Retryable),
            Self::Refused(_) => ("DESTINATION_REFUSED", Retryable),
            Self::ClosedEarly => ("DESTINATION_CLOSED_EARLY", Retryable),
            Self::Lost(_) => ("DESTINATION_LOST", Retryable),
            Self::CodecUnsupported(_) => ("CODEC_UNSUPPORTED", Fatal),
        }
    }

    fn of_input(&self) -> (&'static str, RelayErrorSeverity) {
        match self {
            Self::AddressInvalid(_) => ("ADDRESS_INVALID", Fatal),
            Self::Refused(_) => ("INPUT_REFUSED", Retryable),
            Self::CodecUnsupported(_) => ("CODEC_UNSUPPORTED", Fatal),
            _ => ("INPUT_LOST", Retryable),
        }
    }

    fn text(self) -> String {
        match self {
            Self::AddressInvalid(why) => format!("the address cannot be used: it {why}"),
            Self::AddressForbidden(why) => {
                format!("the address must not be connected to: it {why}")
            }
            Self::HostNotFound => "the host name cannot be resolved".into(),
            Self::ConnectTimeout => "the server does not answer".into(),
            Self::ConnectionRefused => "nothing listens at the address".into(),
            Self::Unreachable => "there is no route to the address".into(),
            Self::CertificateUntrusted => "the certificate is issued by an unknown authority; \
                a private one can be added with SLUICE_RELAY_CA_FILE"
                .into(),
            Self::CertificateExpired => "the certificate of the host has expired".into(),
            Self::CertificateOfAnotherHost => {
                "the certificate is for another host name than that of the address".into()
            }
            Self::CertificateInvalid => "the certificate of the host is invalid".into(),
            Self::TlsFailed => "the TLS handshake failed".into(),
            Self::Refused(words) | Self::Lost(words) | Self::CodecUnsupported(words) => words,
            Self::ClosedEarly => "it accepted the stream, then closed the connection".into(),
        }
    }
}

impl From<OutboundError> for UpstreamError {
    fn from(error: OutboundError) -> Self {
        match error {
            OutboundError::Forbidden(why) => Self::AddressForbidden(why),
            OutboundError::HostNotFound => Self::HostNotFound,
            OutboundError::ConnectTimeout => Self::ConnectTimeout,
            OutboundError::ConnectionRefused => Self::ConnectionRefused,
            OutboundError::Unreachable => Self::Unreachable,
        }
    }
}
