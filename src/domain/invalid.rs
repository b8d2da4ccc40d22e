use std::borrow::Cow;

/// Why a value is invalid: a predicate such as `must have 1 to 100 characters`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(pub Cow<'static, str>);

impl Invalid {
    /// An error with this text.
    pub fn because(text: impl Into<Cow<'static, str>>) -> Self {
        Self(text.into())
    }
}

/// An invalid field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field in the request, for example `publisher.node_id`.
    pub field: String,
    /// Why it is invalid.
    pub description: Cow<'static, str>,
}

/// Refuses a value for this reason.
pub(super) fn refuse<T>(reason: impl Into<Cow<'static, str>>) -> Result<T, Invalid> {
    Err(Invalid::because(reason))
}
