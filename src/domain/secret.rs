use std::fmt;

use zeroize::Zeroizing;

/// A text that must not be seen: it prints as `***` and is wiped when dropped.
///
/// It has no `Display`, because that is what ends up in texts for people:
///
/// ```compile_fail,E0277
/// let secret = sluice::domain::Secret::new("key");
/// println!("{secret}");
/// ```
///
/// Nor can it be serialised, because that is what ends up in files, answers and
/// logs; where the text has to go out, `expose` says so:
///
/// ```compile_fail,E0277
/// fn is_serialisable<T: serde::Serialize>(_: T) {}
/// is_serialisable(sluice::domain::Secret::new("key"));
/// ```
///
/// These lines fail for that reason alone:
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
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for the one place that needs it.
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
    fn a_secret_prints_as_three_stars_wherever_it_is() {
        let secret = Secret::new("key");
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(format!("{:#?}", Some(&secret)), "Some(\n    ***,\n)");
    }
}
