use std::str::FromStr;

use url::{Host, Url};

use crate::domain::Email;

/// The longest name of a provider, in bytes.
const MAX_NAME_LENGTH: usize = 32;

/// The provider name of Google, which has its own setting.
const GOOGLE: &str = "google";

/// An issuer whose id tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdTokenProvider {
    /// The name by which callers select it.
    pub name: String,
    /// The exact `iss` claim, and the base URL of its documents.
    pub(super) issuer: String,
    /// Our client ids at the issuer: one of them is in `aud`.
    client_ids: Vec<String>,
    authority: Authority,
}

/// The e-mail domains that an issuer is authoritative for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Authority {
    /// Gmail's domains, and the Workspace domain that the token names.
    Google,
    /// These domains, in lower case.
    Domains(Vec<String>),
}

impl IdTokenProvider {
    /// Google, with our client ids.
    pub fn google(client_ids: Vec<String>) -> Self {
        Self {
            name: GOOGLE.to_owned(),
            issuer: "https://accounts.google.com".to_owned(),
            client_ids,
            authority: Authority::Google,
        }
    }

    /// Whether an `iss` claim is of this issuer.
    pub(super) fn has_issuer(&self, iss: &str) -> bool {
        // Google documents both forms.
        iss == self.issuer || self.authority == Authority::Google && iss == "accounts.google.com"
    }

    pub(super) fn has_client(&self, id: &str) -> bool {
        self.client_ids.iter().any(|client_id| client_id == id)
    }

    /// Whether the issuer is authoritative for an address: it knows the owner, and does
    /// not just once have verified access to the mailbox. `hd` is Google's claim.
    pub(super) fn is_authoritative(&self, email: &Email, hd: Option<&str>) -> bool {
        let domain = email.domain();
        match &self.authority {
            // https://developers.google.com/identity/gsi/web/guides/verify-google-id-token
            Authority::Google => {
                ["gmail.com", "googlemail.com"].contains(&domain)
                    || hd.is_some_and(|hd| hd.to_lowercase() == domain)
            }
            Authority::Domains(domains) => domains.iter().any(|own| own == domain),
        }
    }
}

impl FromStr for IdTokenProvider {
    type Err = &'static str;

    /// Parses `name=acme,issuer=https://id.acme.com,client_id=abc,domains=acme.com`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (mut name, mut issuer, mut domains) = (None, None, None);
        let mut client_ids = Vec::new();
        for part in text.split(',') {
            let (key, value) = part.split_once('=').ok_or(FORMAT_ERROR)?;
            let is_duplicate = match (key.trim(), value.trim()) {
                ("name", value) => name.replace(parse_name(value)?).is_some(),
                ("issuer", value) => issuer.replace(parse_issuer(value)?).is_some(),
                ("domains", value) => domains.replace(parse_domains(value)?).is_some(),
                ("client_id", "") => return Err("must not have an empty client_id"),
                ("client_id", value) => {
                    client_ids.push(value.to_owned());
                    false
                }
                _ => return Err(FORMAT_ERROR),
            };
            if is_duplicate {
                return Err(
                    "must have one name, one issuer and one list of domains for each provider",
                );
            }
        }

        let (Some(name), Some(issuer), false) = (name, issuer, client_ids.is_empty()) else {
            return Err("must have a name, an issuer and a client_id for each provider");
        };
        Ok(Self {
            name,
            issuer,
            client_ids,
            authority: Authority::Domains(domains.unwrap_or_default()),
        })
    }
}

const FORMAT_ERROR: &str = "must be providers such as \
    name=acme,issuer=https://id.acme.com,client_id=abc,domains=acme.com+acme.org, separated by ;";

fn parse_name(text: &str) -> Result<String, &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match text {
        GOOGLE => Err("must not name a provider google: set SLUICE_GOOGLE_CLIENT_IDS instead"),
        _ if (1..=MAX_NAME_LENGTH).contains(&text.len()) && text.bytes().all(is_plain) => {
            Ok(text.to_owned())
        }
        _ => Err("must name each provider with 1 to 32 of the characters a-z, 0-9 and -"),
    }
}

fn parse_issuer(text: &str) -> Result<String, &'static str> {
    const INVALID: &str = "must have an https URL as issuer, without user, query or fragment";
    let url = Url::parse(text).map_err(|_| INVALID)?;
    let is_bare = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    match is_bare && (url.scheme() == "https" || is_local(&url)) {
        // Unchanged: `iss` must be equal.
        true => Ok(text.to_owned()),
        false => Err(INVALID),
    }
}

fn parse_domains(text: &str) -> Result<Vec<String>, &'static str> {
    let domains = text.split('+').map(|domain| {
        let address = Email::parse(&format!("x@{}", domain.trim())).ok()?;
        Some(address.domain().to_owned())
    });
    let domains: Option<_> = domains.collect();
    domains.ok_or("must have domains such as acme.com, separated by +")
}

/// Whether a URL is plain HTTP to this machine, for tests and development.
pub(super) fn is_local(url: &Url) -> bool {
    url.scheme() == "http"
        && match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
}

#[cfg(test)]
mod tests {
    use super::IdTokenProvider;
    use crate::domain::Email;

    fn read(text: &str) -> Result<IdTokenProvider, &'static str> {
        text.parse()
    }

    #[test]
    fn a_provider_is_parsed_from_its_setting() {
        let text = "name=acme, issuer=https://id.acme.com/ ,client_id=abc,client_id=d=f,\
                    domains=Acme.com+acme.org";
        let provider = read(text).unwrap();

        assert_eq!(provider.name, "acme");
        assert!(provider.has_issuer("https://id.acme.com/"));
        assert!(!provider.has_issuer("https://id.acme.com"));
        assert!(provider.has_client("abc") && provider.has_client("d=f"));
        for (address, authoritative) in [
            ("ada@acme.com", true),
            ("ada@ACME.ORG", true),
            ("ada@mail.acme.com", false),
            ("ada@notacme.com", false),
            ("acme.com@example.com", false),
        ] {
            let email = Email::parse(address).unwrap();
            // Only Google's `hd` counts: another issuer could put anything into it.
            let hd = Some(email.domain());
            assert_eq!(
                provider.is_authoritative(&email, hd),
                authoritative,
                "{address}"
            );
        }
    }

    #[test]
    fn a_provider_without_domains_is_authoritative_for_none() {
        let provider = read("name=acme,issuer=https://id.acme.com,client_id=abc").unwrap();

        let email = Email::parse("ada@acme.com").unwrap();
        assert!(!provider.is_authoritative(&email, None));
    }

    #[test]
    fn a_malformed_provider_is_refused() {
        let good = "name=acme,issuer=https://id.acme.com,client_id=abc,domains=acme.com";
        assert!(read(good).is_ok());
        for (from, to) in [
            ("name=acme,", ""),
            ("issuer=https://id.acme.com,", ""),
            ("client_id=abc,", ""),
            ("name=acme", "name="),
            ("name=acme", "name=Acme"),
            ("name=acme", "name=google"),
            ("name=acme", "name=acme,name=other"),
            ("name=acme", "nom=acme"),
            ("name=acme", "acme"),
            ("client_id=abc", "client_id="),
            ("domains=acme.com", "domains="),
            ("domains=acme.com", "domains=acme.com+"),
            ("domains=acme.com", "domains=acme"),
            ("domains=acme.com", "domains=a@acme.com"),
            ("domains=acme.com", "domains=acme.com,domains=acme.org"),
            ("https://id.acme.com", "id.acme.com"),
            ("https://id.acme.com", "http://id.acme.com"),
            ("https://id.acme.com", "http://localhost.acme.com"),
            ("https://id.acme.com", "http://10.0.0.1"),
            ("https://id.acme.com", "ftp://id.acme.com"),
            ("https://id.acme.com", "https://ada@id.acme.com"),
            ("https://id.acme.com", "https://id.acme.com?a=b"),
            ("https://id.acme.com", "https://id.acme.com#a"),
        ] {
            let text = good.replace(from, to);
            assert!(read(&text).is_err(), "{text}");
        }
        for local in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080"] {
            let text = good.replace("https://id.acme.com", &format!("http://{local}/realm"));
            assert!(read(&text).is_ok(), "{text}");
        }
    }

    #[test]
    fn google_is_authoritative_for_gmail_and_the_named_workspace() {
        let google = IdTokenProvider::google(vec!["abc".to_owned()]);
        assert!(google.has_issuer("https://accounts.google.com"));
        assert!(google.has_issuer("accounts.google.com"));
        assert!(!google.has_issuer("http://accounts.google.com"));

        for (address, hd, authoritative) in [
            ("ada@gmail.com", None, true),
            ("ada@GoogleMail.com", None, true),
            ("ada@acme.com", Some("acme.com"), true),
            ("ada@acme.com", Some("ACME.com"), true),
            ("ada@acme.com", None, false),
            ("ada@acme.com", Some("acme.org"), false),
            ("ada@acme.com", Some(""), false),
            ("ada@notgmail.com", None, false),
            ("ada@gmail.com.acme.com", None, false),
        ] {
            let email = Email::parse(address).unwrap();
            assert_eq!(
                google.is_authoritative(&email, hd),
                authoritative,
                "{address} {hd:?}"
            );
        }
    }
}
