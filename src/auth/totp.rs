//! Time-based one-time passwords (RFC 6238 and RFC 4226) and recovery codes.
//!
//! HMAC-SHA-1, six digits and steps of 30 seconds are what every authenticator supports. A code of
//! the step before or after the current one is accepted, too, because clocks differ. The database
//! remembers the newest accepted step, so that no code works twice.

use chrono::TimeDelta;
use ring::hmac;
use url::Url;
use zeroize::Zeroizing;

use super::{AssociatedData, Sealer};
use crate::{
    domain::{SecondFactorId, Secret, Time},
    error::{Error, Result},
    random::{base32, random_bytes, sha256},
};

/// The length of a time step.
const STEP: TimeDelta = TimeDelta::seconds(30);

/// How many steps a code may be older or newer than the current one.
const TOLERATED_STEPS: i64 = 1;

/// 10 to the number of digits.
const MODULUS: u32 = 1_000_000;

/// The name of this service in authenticators.
const ISSUER: &str = "Sluice";

/// The secret that an authenticator shares with this service: 160 random bits.
pub struct TotpSecret(Zeroizing<Vec<u8>>);

/// A code that signs in once without the authenticator: 120 random bits.
///
/// Only the response that creates it contains it; the database stores its hash.
#[derive(Debug, Clone)]
pub struct RecoveryCode(Secret);

impl TotpSecret {
    /// A new secret.
    pub fn generate() -> Self {
        Self(Zeroizing::new(random_bytes::<20>().to_vec()))
    }

    /// Seals the secret for its row.
    pub fn seal(&self, id: SecondFactorId, sealer: &Sealer) -> Vec<u8> {
        sealer.seal(&AssociatedData::totp_secret(id), &self.0)
    }

    /// Opens the sealed secret of a factor.
    pub fn unseal(sealed: &[u8], id: SecondFactorId, sealer: &Sealer) -> Result<Self> {
        let secret = sealer.open(&AssociatedData::totp_secret(id), sealed)?;
        Ok(Self(secret))
    }

    /// The secret as authenticators take it: base32 without padding.
    pub fn base32(&self) -> Secret {
        Secret::new(base32(&self.0))
    }

    /// The URI of a QR code that authenticators scan. It contains the secret.
    pub fn uri(&self, email: &str) -> Result<Secret> {
        let mut uri = Url::parse("otpauth://totp/").map_err(Error::internal)?;
        if let Ok(mut path) = uri.path_segments_mut() {
            path.pop_if_empty().push(&format!("{ISSUER}:{email}"));
        }
        uri.query_pairs_mut()
            .append_pair("secret", self.base32().expose())
            .append_pair("issuer", ISSUER)
            .append_pair("algorithm", "SHA1")
            .append_pair("digits", "6")
            .append_pair("period", &STEP.num_seconds().to_string());
        Ok(Secret::new(uri))
    }

    /// The newest time step at which a code of six digits is accepted; `None` if it is wrong.
    pub fn accepted_step(&self, code: &Secret, now: Time) -> Option<i64> {
        let code: u32 = code.expose().parse().ok()?;
        let current = now.timestamp().div_euclid(STEP.num_seconds());
        (current - TOLERATED_STEPS..=current + TOLERATED_STEPS)
            .rev()
            .find(|step| self.code(*step) == code)
    }

    /// The code of a time step (RFC 4226 section 5.3).
    fn code(&self, step: i64) -> u32 {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let digest = tag.as_ref();
        let offset = digest.last().map_or(0, |last| usize::from(last & 15));
        let chosen = digest[offset..].first_chunk().copied();
        (u32::from_be_bytes(chosen.unwrap_or_default()) & 0x7fff_ffff) % MODULUS
    }
}

impl RecoveryCode {
    /// How many codes a user has at first.
    pub const NUMBER: usize = 10;

    /// New codes for a user.
    pub fn generate_all() -> [Self; Self::NUMBER] {
        std::array::from_fn(|_| Self(Secret::new(base32(&random_bytes::<15>()))))
    }

    /// A code that a caller sent, without hyphens.
    pub fn new(code: Secret) -> Self {
        Self(code)
    }

    /// The SHA-256 hash that is stored.
    pub fn hash(&self) -> Vec<u8> {
        sha256(self.0.expose())
    }

    /// The code in groups of four, for the one response that shows it.
    pub fn grouped(&self) -> String {
        let letters: Vec<_> = self.0.expose().chars().collect();
        let groups = letters.chunks(4).map(|group| group.iter().collect());
        groups.collect::<Vec<String>>().join("-")
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::{RecoveryCode, TotpSecret};
    use crate::domain::{SecondFactorCode, Secret, Time};

    /// The key of the test vectors of RFC 4226 and RFC 6238.
    fn secret() -> TotpSecret {
        TotpSecret(Zeroizing::new(b"12345678901234567890".to_vec()))
    }

    fn accepted(code: u32, time: i64) -> Option<i64> {
        let code = Secret::new(format!("{code:06}"));
        secret().accepted_step(&code, Time::from_timestamp(time, 0).unwrap())
    }

    /// RFC 4226 appendix D.
    #[test]
    fn the_codes_are_those_of_rfc_4226() {
        let expected = [
            755_224, 287_082, 359_152, 969_429, 338_314, 254_676, 287_922, 162_583, 399_871,
            520_489,
        ];
        for (step, code) in (0..).zip(expected) {
            assert_eq!(secret().code(step), code, "{step}");
        }
    }

    /// RFC 6238 appendix B, the last six digits for SHA-1.
    #[test]
    fn the_codes_are_those_of_rfc_6238() {
        for (time, code) in [
            (59, 287_082),
            (1_111_111_109, 81_804),
            (1_111_111_111, 50_471),
            (1_234_567_890, 5_924),
            (2_000_000_000, 279_037),
            (20_000_000_000, 353_130),
        ] {
            assert_eq!(accepted(code, time), Some(time / 30), "{time}");
        }
    }

    #[test]
    fn a_code_is_accepted_one_step_before_and_after_its_own_and_no_longer() {
        // The code of the step from 30 to 60 seconds.
        for (time, step) in [
            (0, Some(1)),
            (29, Some(1)),
            (45, Some(1)),
            (89, Some(1)),
            (90, None),
        ] {
            assert_eq!(accepted(287_082, time), step, "{time}");
        }
        assert_eq!(accepted(287_082, -1), None);
    }

    #[test]
    fn the_uri_is_one_that_authenticators_scan() {
        let uri = secret().uri("ada/lovelace?@example.com").unwrap();
        assert_eq!(
            uri.expose(),
            "otpauth://totp/Sluice:ada%2Flovelace%3F@example.com\
             ?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Sluice&algorithm=SHA1&digits=6&period=30"
        );
    }

    #[test]
    fn a_recovery_code_is_found_as_it_is_shown() {
        let [code, other, ..] = RecoveryCode::generate_all();
        let shown = code.grouped();
        assert_eq!(shown.len(), 29, "{shown}");

        let Ok(SecondFactorCode::Recovery(typed)) = SecondFactorCode::parse(&shown) else {
            panic!("{shown}");
        };
        assert_eq!(RecoveryCode::new(typed).hash(), code.hash());
        assert_ne!(other.hash(), code.hash());
    }
}
