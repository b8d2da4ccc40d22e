use std::borrow::Cow;

/// What is wrong with a value, and what would be right: half a sentence such
/// as `must have 1 to 100 characters`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(pub Cow<'static, str>);

impl Invalid {
    /// An explanation in the given words.
    pub fn because(text: impl Into<Cow<'static, str>>) -> Self {
        Self(text.into())
    }
}

/// A field of a request that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field in the request, for example `publisher.node_id`.
    pub field: String,
    /// What is wrong with it.
    pub description: Cow<'static, str>,
}
