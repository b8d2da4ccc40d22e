use serde::{Deserialize, Deserializer};

use super::{jws::RejectReason, provider::IdTokenProvider};
use crate::domain::{Email, Identity, Name, Profile, Time};

/// The largest difference between the clocks of issuer and server, in seconds.
const CLOCK_LEEWAY_SECONDS: f64 = 30.0;

/// The longest `sub` (OpenID Connect Core section 2), in characters.
const MAX_SUBJECT_LENGTH: usize = 255;

/// The used claims of an id token (OpenID Connect Core sections 2 and 5.1). Times are
/// seconds since 1970 and may have a fraction.
#[derive(Deserialize)]
pub(super) struct IdClaims {
    iss: String,
    sub: String,
    aud: Audiences,
    exp: f64,
    iat: f64,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<f64>,
    #[serde(default, deserialize_with = "present")]
    azp: Option<String>,
    #[serde(default, deserialize_with = "present")]
    nonce: Option<String>,
    email: Option<String>,
    email_verified: Option<BoolOrString>,
    /// The Workspace domain of a Google account.
    hd: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

/// A boolean claim; some issuers send `"true"`.
#[derive(Deserialize)]
#[serde(untagged)]
enum BoolOrString {
    Bool(bool),
    String(String),
}

impl IdClaims {
    /// Parses the payload of a token.
    pub fn parse(payload: &[u8]) -> Result<Self, RejectReason> {
        serde_json::from_slice(payload)
            .map_err(|_| "a claim is missing, duplicate or of another type")
    }

    /// The identity that the token names. Checks that this issuer made it for one of our
    /// client ids and for this nonce, and that it is valid now.
    pub fn check(
        self,
        provider: &IdTokenProvider,
        nonce: &str,
        now: Time,
    ) -> Result<Identity, RejectReason> {
        if !provider.has_issuer(&self.iss) {
            return Err("another issuer");
        }
        self.check_audience(provider)?;
        self.check_times(now)?;
        if self.nonce.as_deref().unwrap_or_default() != nonce {
            return Err("another nonce");
        }
        if !(1..=MAX_SUBJECT_LENGTH).contains(&self.sub.chars().count())
            || self.sub.chars().any(char::is_control)
        {
            return Err("the subject is empty, too long or has control characters");
        }

        Ok(Identity {
            profile: self.profile(provider),
            // Google has two `iss` values for one issuer.
            issuer: provider.issuer.clone(),
            subject: self.sub,
        })
    }

    fn check_audience(&self, provider: &IdTokenProvider) -> Result<(), RejectReason> {
        let audiences = match &self.aud {
            Audiences::One(audience) => std::slice::from_ref(audience),
            Audiences::Many(audiences) => audiences,
        };
        if !audiences.iter().any(|id| provider.has_client(id)) {
            return Err("another audience");
        }
        match &self.azp {
            Some(azp) if provider.has_client(azp) => Ok(()),
            Some(_) => Err("issued to another client"),
            None if audiences.len() > 1 => Err("several audiences, but no azp"),
            None => Ok(()),
        }
    }

    fn check_times(&self, now: Time) -> Result<(), RejectReason> {
        let now = now.timestamp_micros() as f64 / 1e6;
        if now >= self.exp + CLOCK_LEEWAY_SECONDS {
            return Err("expired");
        }
        if self.iat > now + CLOCK_LEEWAY_SECONDS
            || self.nbf.is_some_and(|nbf| nbf > now + CLOCK_LEEWAY_SECONDS)
        {
            return Err("not valid yet");
        }
        Ok(())
    }

    fn profile(&self, provider: &IdTokenProvider) -> Option<Profile> {
        let email = Email::parse(self.email.as_deref()?).ok()?;
        let is_verified = match &self.email_verified {
            Some(BoolOrString::Bool(verified)) => *verified,
            Some(BoolOrString::String(text)) => text == "true",
            None => false,
        };
        let display_name = self.name.as_deref().and_then(|name| Name::parse(name).ok());
        Some(Profile {
            email_verified: is_verified && provider.is_authoritative(&email, self.hd.as_deref()),
            display_name: match display_name {
                Some(name) => name,
                None => Name::parse(email.local_part()).ok()?,
            },
            email,
        })
    }
}

/// Deserializes a claim that may be absent but not null.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::IdClaims;
    use crate::{
        auth::IdTokenProvider,
        domain::{Identity, now},
    };

    /// The token of Google's documentation, for client `ours`.
    fn google(change: impl FnOnce(&mut Value)) -> Result<Identity, &'static str> {
        let time = now().timestamp();
        let mut claims = json!({
            "iss": "https://accounts.google.com", "azp": "ours", "aud": "ours",
            "sub": "10769150350006150715113082367", "at_hash": "HK6E_P6Dh8Y93mRNtsDB1Q",
            "hd": "example.com", "email": "jsmith@example.com", "email_verified": true,
            "iat": time, "exp": time + 3600, "nonce": "0394852-3190485-2490358",
        });
        change(&mut claims);
        let provider = IdTokenProvider::google(vec!["ours".to_owned(), "also ours".to_owned()]);
        let claims = IdClaims::parse(claims.to_string().as_bytes())?;
        claims.check(&provider, "0394852-3190485-2490358", now())
    }

    #[test]
    fn both_iss_values_of_google_are_one_issuer() {
        let issued = |iss| google(|claims| claims["iss"] = json!(iss));
        for iss in ["https://accounts.google.com", "accounts.google.com"] {
            let identity = issued(iss).unwrap();
            assert_eq!(identity.issuer, "https://accounts.google.com");
            assert_eq!(identity.subject, "10769150350006150715113082367");
        }
        for iss in [
            "https://accounts.google.com/",
            "http://accounts.google.com",
            "google",
        ] {
            assert!(issued(iss).is_err(), "{iss}");
        }
    }

    #[test]
    fn azp_may_be_another_of_our_client_ids() {
        assert!(google(|claims| claims["azp"] = json!("also ours")).is_ok());
        assert!(google(|claims| claims["azp"] = json!("theirs")).is_err());
        assert!(google(|claims| claims["aud"] = json!("theirs")).is_err());
    }

    #[test]
    fn google_proves_gmail_and_workspace_addresses() {
        for (domain, hd, verified, proved) in [
            ("example.com", json!("example.com"), json!(true), true),
            ("example.com", json!("example.com"), json!("true"), true),
            ("example.com", json!("example.com"), json!(false), false),
            ("example.com", json!("example.com"), json!("false"), false),
            ("example.com", json!("example.com"), json!(null), false),
            ("example.com", json!("example.org"), json!(true), false),
            ("example.com", json!(null), json!(true), false),
            ("gmail.com", json!(null), json!(true), true),
            ("gmail.com", json!(null), json!(false), false),
        ] {
            let identity = google(|claims| {
                claims["email"] = json!(format!("jsmith@{domain}"));
                claims["hd"] = hd.clone();
                claims["email_verified"] = verified.clone();
            });
            let profile = identity.unwrap().profile.unwrap();
            assert_eq!(profile.email_verified, proved, "{domain} {hd} {verified}");
        }
    }

    #[test]
    fn without_a_usable_name_the_local_part_is_the_display_name() {
        for (name, expected) in [
            (json!("Jo Smith"), "Jo Smith"),
            (json!(null), "jsmith"),
            (json!("  "), "jsmith"),
            (json!("a\nb"), "jsmith"),
            (json!("x".repeat(101)), "jsmith"),
        ] {
            let identity = google(|claims| claims["name"] = name.clone()).unwrap();
            let profile = identity.profile.unwrap();
            assert_eq!(profile.display_name.as_str(), expected, "{name}");
        }
    }
}
