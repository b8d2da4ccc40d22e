use std::io;

use crate::{
    edge::relays::relay_failure::RelayFailure,
    proto::v1::RelayErrorSeverity::{self, Fatal, Retryable},
};

/// Which way media goes: what is told of a failure depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From the media server to ffmpeg.
    Reading,
    /// From ffmpeg to the destination.
    Sending,
}

/// What can go wrong with the far side. Texts in it are clean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Its address cannot be used.
    AddressInvalid(&'static str),
    /// Its address is one that must not be connected to.
    AddressForbidden(String),
    /// Nobody knows its name.
    HostNotFound,
    /// It does not answer.
    ConnectTimeout,
    /// Nothing listens there.
    ConnectionRefused,
    /// There is no way to it.
    Unreachable,
    /// Its certificate is not that of the host, or nobody vouches for it.
    CertificateWrong,
    /// It does not speak TLS as it should.
    TlsFailed,
    /// It refused what was asked of it, in these words.
    Refused(String),
    /// It accepted the stream and closed the connection at once.
    ClosedEarly,
    /// It was lost.
    Lost(String),
}

impl Trouble {
    /// What a failure to connect means.
    pub(super) fn connecting(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::ConnectionRefused,
            io::ErrorKind::TimedOut => Self::ConnectTimeout,
            _ => Self::Unreachable,
        }
    }

    /// The fault that a relay has.
    pub(super) fn fault(self, way: Way) -> RelayFailure {
        let (code, severity, message) = match way {
            Way::Reading => self.of_the_input(),
            Way::Sending => self.of_the_destination(),
        };
        RelayFailure {
            code,
            severity,
            message,
        }
    }

    fn of_the_destination(self) -> (&'static str, RelayErrorSeverity, String) {
        let text = self.text();
        match self {
            Self::AddressInvalid(_) => ("ADDRESS_INVALID", Fatal, text),
            Self::AddressForbidden(_) => ("ADDRESS_FORBIDDEN", Fatal, text),
            Self::HostNotFound => ("HOST_NOT_FOUND", Retryable, text),
            Self::ConnectTimeout => ("CONNECT_TIMEOUT", Retryable, text),
            Self::ConnectionRefused => ("CONNECTION_REFUSED", Retryable, text),
            Self::Unreachable => ("HOST_UNREACHABLE", Retryable, text),
            // Whoever answers is not known to be the platform: a key must not go there
            // because somebody tried often enough.
            Self::CertificateWrong => ("TLS_FAILED", Fatal, text),
            Self::TlsFailed => ("TLS_FAILED", Retryable, text),
            Self::Refused(_) => ("DESTINATION_REFUSED", Retryable, text),
            Self::ClosedEarly => ("DESTINATION_CLOSED_EARLY", Retryable, text),
            Self::Lost(_) => ("DESTINATION_LOST", Retryable, text),
        }
    }

    fn of_the_input(self) -> (&'static str, RelayErrorSeverity, String) {
        let text = self.text();
        match self {
            Self::AddressInvalid(_) => ("ADDRESS_INVALID", Fatal, text),
            Self::Refused(_) => ("INPUT_REFUSED", Retryable, text),
            _ => ("INPUT_LOST", Retryable, text),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::AddressInvalid(why) => format!("the address cannot be used: it {why}"),
            Self::AddressForbidden(why) => {
                format!("the address must not be connected to: it {why}")
            }
            Self::HostNotFound => "the name of the host was not found".into(),
            Self::ConnectTimeout => "no answer to the attempt to connect".into(),
            Self::ConnectionRefused => "nothing listens at the address".into(),
            Self::Unreachable => "there is no way to the address".into(),
            Self::CertificateWrong => "the certificate is not valid for the host".into(),
            Self::TlsFailed => "no secure connection could be made".into(),
            Self::Refused(why) | Self::Lost(why) => why.clone(),
            Self::ClosedEarly => "it accepted the stream, then closed the connection".into(),
        }
    }
}
