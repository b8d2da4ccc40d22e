use std::error::Error;

/// An error with all its causes, in one line: for logs and operators, never for callers.
///
/// A cause that the error before it already ends with is left out: many errors show their cause.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut last = text.clone();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !last.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        last = cause_text;
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::anyhow;

    use super::with_causes;

    #[test]
    fn each_cause_is_shown_once() {
        let database = sqlx::Error::Io(io::Error::other("the disk is gone"));
        let error = anyhow!(database)
            .context("cannot write")
            .context("internal error");

        let text = with_causes(&*error);
        assert_eq!(text.matches("the disk is gone").count(), 1, "{text}");
        assert!(text.starts_with("internal error: cannot write: "), "{text}");
    }
}
