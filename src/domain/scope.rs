use std::fmt;

use super::{Invalid, invalid::refuse};

text_enum! {
    /// A permission of an access token.
    pub enum Scope {
        /// Read projects and destinations.
        ProjectsRead = "projects:read",
        /// Change projects and destinations, and read stream keys.
        ProjectsWrite = "projects:write",
        /// Read streams.
        StreamsRead = "streams:read",
        /// Stop streams.
        StreamsWrite = "streams:write",
        /// Read webhooks and what was sent to them.
        WebhooksRead = "webhooks:read",
        /// Change webhooks, with their secrets, and send to them.
        WebhooksWrite = "webhooks:write",
        /// Read usage.
        UsageRead = "usage:read",
        /// Report publishers of any project: for media servers.
        StreamsPublish = "streams:publish",
        /// Run relays of any project: for relay workers.
        RelaysWork = "relays:work",
        /// Read the data of all tenants: for operators.
        OperatorRead = "operator:read",
        /// Create and revoke operator keys, and suspend users: for operators.
        OperatorWrite = "operator:write",
    }
}

impl Scope {
    /// The scopes of a user's own token. A user may grant them to an API key.
    pub const USER_SCOPES: [Self; 7] = [
        Self::ProjectsRead,
        Self::ProjectsWrite,
        Self::StreamsRead,
        Self::StreamsWrite,
        Self::WebhooksRead,
        Self::WebhooksWrite,
        Self::UsageRead,
    ];

    /// The scopes of operator keys, which no user may grant.
    pub const OPERATOR_SCOPES: [Self; 4] = [
        Self::StreamsPublish,
        Self::RelaysWork,
        Self::OperatorRead,
        Self::OperatorWrite,
    ];

    /// The scopes of a key that is bound to a node.
    pub const NODE_SCOPES: [Self; 2] = [Self::StreamsPublish, Self::RelaysWork];
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u16);

impl Scopes {
    /// Parses at least one name. All must be among the allowed ones.
    pub fn parse<'a>(
        names: impl IntoIterator<Item = &'a str>,
        allowed: &[Scope],
    ) -> Result<Self, Invalid> {
        let mut scopes = Self::default();
        for name in names {
            match Scope::parse(name).filter(|scope| allowed.contains(scope)) {
                Some(scope) => scopes.0 |= 1 << scope as u16,
                None => return refuse(format!("may only contain {}", list(allowed))),
            }
        }

        if scopes == Self::default() {
            return refuse(format!("must name at least one of {}", list(allowed)));
        }
        Ok(scopes)
    }

    /// Parses the `scope` claim. Unknown names grant nothing.
    pub fn from_claim(claim: &str) -> Self {
        claim.split(' ').filter_map(Scope::parse).collect()
    }

    /// Whether the set has this scope.
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u16) != 0
    }

    /// The scopes in the set.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        let all = Scope::ALL.into_iter();
        all.filter(move |scope| self.contains(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let bits = scopes.into_iter().map(|scope| 1 << scope as u16);
        Self(bits.fold(0, |set, bit| set | bit))
    }
}

/// The `scope` claim: names separated by spaces (RFC 8693 section 4.2).
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Scope::as_str).collect();
        f.write_str(&names.join(" "))
    }
}

fn list(scopes: &[Scope]) -> String {
    let names: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::{Scope, Scopes};

    #[test]
    fn the_claim_round_trips() {
        let all: Scopes = Scope::USER_SCOPES
            .into_iter()
            .chain(Scope::OPERATOR_SCOPES)
            .collect();

        assert_eq!(Scopes::from_claim(&all.to_string()), all);
    }

    #[test]
    fn empty_unknown_and_disallowed_scopes_are_rejected() {
        assert!(Scopes::parse([], &Scope::USER_SCOPES).is_err());
        assert!(Scopes::parse(["everything"], &Scope::USER_SCOPES).is_err());
        assert!(Scopes::parse(["streams:publish"], &Scope::USER_SCOPES).is_err());
        assert!(Scopes::parse(["streams:publish"], &Scope::OPERATOR_SCOPES).is_ok());
    }

    #[test]
    fn an_unknown_name_in_a_claim_grants_nothing() {
        assert_eq!(Scopes::from_claim("admin root"), Scopes::default());
    }
}
