use std::fmt;

use zeroize::Zeroizing;

/// A secret text: it prints as `***` and is wiped when dropped.
///
/// It has no `Display`, so that it cannot end up in a message:
///
/// ```compile_fail,E0277
/// let secret = sluice::domain::Secret::new("key");
/// println!("{secret}");
/// ```
///
/// It has no `Serialize`, so that it cannot end up in a file, response or log. Code that needs the
/// text calls `expose`:
///
/// ```compile_fail,E0277
/// fn is_serialisable<T: serde::Serialize>(_: T) {}
/// is_serialisable(sluice::domain::Secret::new("key"));
/// ```
///
/// Nothing else is wrong with these lines:
///
/// ```
/// fn is_serialisable<T: serde::Serialize>(_: T) {}
/// is_serialisable("key");
/// let secret = sluice::domain::Secret::new("key");
/// println!("{secret:?} {}", secret.expose());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_output_is_redacted_at_any_depth() {
        let secret = Secret::new("key");
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(format!("{:#?}", Some(&secret)), "Some(\n    ***,\n)");
    }
}
