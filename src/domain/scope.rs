use std::fmt;

use super::Invalid;

/// What a token may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// See projects and destinations.
    ProjectsRead,
    /// Change projects and destinations, and see stream keys.
    ProjectsWrite,
    /// See streams.
    StreamsRead,
    /// Stop streams.
    StreamsWrite,
    /// Report publishers of any project: for media servers.
    StreamsPublish,
    /// Run relays of any project: for relay workers.
    RelaysWork,
}

impl Scope {
    /// What a user's own token has, and what a user may give to an API key.
    pub const OF_USERS: [Self; 4] = [
        Self::ProjectsRead,
        Self::ProjectsWrite,
        Self::StreamsRead,
        Self::StreamsWrite,
    ];

    /// What only an operator may give to an API key.
    pub const OF_OPERATORS: [Self; 2] = [Self::StreamsPublish, Self::RelaysWork];

    /// The name in tokens and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProjectsRead => "projects:read",
            Self::ProjectsWrite => "projects:write",
            Self::StreamsRead => "streams:read",
            Self::StreamsWrite => "streams:write",
            Self::StreamsPublish => "streams:publish",
            Self::RelaysWork => "relays:work",
        }
    }

    fn find(name: &str) -> Option<Self> {
        Self::OF_USERS
            .into_iter()
            .chain(Self::OF_OPERATORS)
            .find(|scope| scope.as_str() == name)
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// Takes names that must all be among the allowed ones, and at least one.
    pub fn parse<'a>(
        names: impl IntoIterator<Item = &'a str>,
        allowed: &[Scope],
    ) -> Result<Self, Invalid> {
        let mut scopes = Self::default();
        for name in names {
            match Scope::find(name).filter(|scope| allowed.contains(scope)) {
                Some(scope) => scopes.0 |= 1 << scope as u8,
                None => {
                    return Err(Invalid::because(format!(
                        "may only contain {}",
                        list(allowed)
                    )));
                }
            }
        }

        if scopes == Self::default() {
            return Err(Invalid::because(format!(
                "must name at least one of {}",
                list(allowed)
            )));
        }
        Ok(scopes)
    }

    /// Reads the form of the `scope` claim; names that are not known grant nothing.
    pub fn from_claim(claim: &str) -> Self {
        claim.split(' ').filter_map(Scope::find).collect()
    }

    /// Whether the set has this scope.
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8) != 0
    }

    /// The scopes in the set.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::OF_USERS
            .into_iter()
            .chain(Scope::OF_OPERATORS)
            .filter(move |scope| self.contains(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(
            scopes
                .into_iter()
                .fold(0, |set, scope| set | 1 << scope as u8),
        )
    }
}

/// The form of the `scope` claim: names parted by spaces (RFC 8693 section 4.2).
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Scope::as_str).collect();
        f.write_str(&names.join(" "))
    }
}

fn list(scopes: &[Scope]) -> String {
    scopes
        .iter()
        .map(|scope| scope.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::{Scope, Scopes};

    #[test]
    fn reads_what_it_writes() {
        let all: Scopes = Scope::OF_USERS
            .into_iter()
            .chain(Scope::OF_OPERATORS)
            .collect();

        assert_eq!(Scopes::from_claim(&all.to_string()), all);
    }

    #[test]
    fn refuses_none_unknown_and_those_that_are_not_allowed() {
        assert!(Scopes::parse([], &Scope::OF_USERS).is_err());
        assert!(Scopes::parse(["everything"], &Scope::OF_USERS).is_err());
        assert!(Scopes::parse(["streams:publish"], &Scope::OF_USERS).is_err());
        assert!(Scopes::parse(["streams:publish"], &Scope::OF_OPERATORS).is_ok());
    }

    #[test]
    fn an_unknown_name_in_a_claim_grants_nothing() {
        assert_eq!(Scopes::from_claim("admin root"), Scopes::default());
    }
}
