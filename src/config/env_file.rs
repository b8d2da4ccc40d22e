//! The grammar of `.env` files. It has no expansion and no escapes, so that a password or a URL
//! arrives as it was written.
//!
//! - A line is empty, a comment that begins with `#`, or `NAME=value`. `export` before the name is
//!   ignored.
//! - A name consists of ASCII letters, digits and underscores. Each is set once.
//! - The value is the rest of the line without surrounding blanks. No character in it has a meaning:
//!   not `$`, `&`, `;`, `\` nor quotes.
//! - If the value begins with `'` or `"`, it must end with the same quote, and is the text between
//!   the two, which may contain further quotes.
//! - A blank before `#` is refused in a value without quotes, because other programs read a comment
//!   there.

/// A name with its value, and the number of its line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    pub line: usize,
    pub name: String,
    pub value: String,
}

/// A line that is not valid. The reason never repeats the value, which may be a secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InvalidLine {
    pub line: usize,
    pub reason: String,
}

/// Parses a file; lists every invalid line.
pub(super) fn parse(text: &str) -> Result<Vec<Assignment>, Vec<InvalidLine>> {
    let (mut assignments, mut invalid) = (Vec::new(), Vec::new());
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        match assignment(line, text).and_then(|new| set_once(&assignments, new)) {
            Ok(assignment) => assignments.push(assignment),
            Err(reason) => invalid.push(InvalidLine { line, reason }),
        }
    }
    match invalid.is_empty() {
        true => Ok(assignments),
        false => Err(invalid),
    }
}

fn assignment(line: usize, text: &str) -> Result<Assignment, String> {
    let text = match text.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
        _ => text,
    };
    let (name, value) = text.split_once('=').ok_or("must be NAME=value")?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || !name.bytes().all(is_name) || name.as_bytes()[0].is_ascii_digit() {
        return Err(
            "must be NAME=value, with a name of letters, digits and underscores, and no blank \
             before the equals sign"
                .to_owned(),
        );
    }
    let value = unquoted(value.trim()).map_err(|reason| format!("{name} {reason}"))?;
    if value.contains('\0') {
        return Err(format!("{name} must not contain a null character"));
    }
    Ok(Assignment {
        line,
        name: name.to_owned(),
        value: value.to_owned(),
    })
}

fn unquoted(value: &str) -> Result<&str, &'static str> {
    let Some(quote) = value.chars().next().filter(|first| "'\"".contains(*first)) else {
        return match value.contains(" #") || value.contains("\t#") {
            true => Err(
                "must be in quotes, because it contains a blank and a number sign; a comment \
                 needs a line of its own",
            ),
            false => Ok(value),
        };
    };
    let inner = value[1..].strip_suffix(quote);
    inner.ok_or("must end with the quote with which it begins, and nothing behind it")
}

fn set_once(earlier: &[Assignment], new: Assignment) -> Result<Assignment, String> {
    match earlier
        .iter()
        .find(|assignment| assignment.name == new.name)
    {
        None => Ok(new),
        Some(first) => Err(format!(
            "{} is set a second time; it is set in line {} already",
            new.name, first.line
        )),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{InvalidLine, parse};

    fn value_of(line: &str) -> String {
        let mut parsed = parse(&format!("# a comment\n\n{line}\n")).unwrap();
        assert_eq!((parsed.len(), parsed[0].line), (1, 3));
        assert_eq!(parsed[0].name, "NAME");
        parsed.remove(0).value
    }

    #[rstest]
    #[case("NAME=", "")]
    #[case("NAME=plain", "plain")]
    #[case("  export NAME=plain  ", "plain")]
    #[case("NAME= two words ", "two words")]
    #[case("NAME=postgres://a:b@c/d?x=1&y=2", "postgres://a:b@c/d?x=1&y=2")]
    #[case("NAME=$HOME ${X:-y} `id` $(id)", "$HOME ${X:-y} `id` $(id)")]
    #[case(r"NAME=a\n\'b;c|d>e*~%", r"a\n\'b;c|d>e*~%")]
    #[case("NAME=pass#word", "pass#word")]
    #[case("NAME=#word", "#word")]
    #[case("NAME=a'b\"c", "a'b\"c")]
    #[case("NAME='a # b'", "a # b")]
    #[case("NAME=\" a $b \"", " a $b ")]
    #[case("NAME=''", "")]
    #[case("NAME='it's'", "it's")]
    #[case("NAME='\"a\"'", "\"a\"")]
    #[case("NAME=a=b==", "a=b==")]
    #[case("NAME=pässwörd", "pässwörd")]
    #[case("NAME=plain\r", "plain")]
    fn a_value_is_taken_literally_without_the_surrounding_quotes(
        #[case] line: &str,
        #[case] value: &str,
    ) {
        assert_eq!(value_of(line), value);
    }

    #[rstest]
    #[case("s3cret")]
    #[case("=s3cret")]
    #[case("NAME =s3cret")]
    #[case("NA-ME=s3cret")]
    #[case("1NAME=s3cret")]
    #[case("set NAME=s3cret")]
    #[case("NAME=s3cret # comment")]
    #[case("NAME=s3cret\t# comment")]
    #[case("NAME='s3cret")]
    #[case("NAME=\"s3cret'")]
    #[case("NAME='")]
    #[case("NAME='s3cret' # comment")]
    #[case("NAME=a\0b")]
    fn another_line_is_invalid_and_its_value_is_not_repeated(#[case] line: &str) {
        let invalid = parse(&format!("OTHER=x\n{line}\nMORE=x")).unwrap_err();

        assert_eq!(invalid.len(), 1);
        assert_eq!(invalid[0].line, 2);
        assert!(!invalid[0].reason.contains("s3cret"), "{invalid:?}");
    }

    #[test]
    fn every_invalid_line_is_listed_and_a_name_is_set_once() {
        let invalid = parse("\u{feff}A=1\nB\nA=2\n").unwrap_err();

        let lines: Vec<_> = invalid
            .iter()
            .map(|InvalidLine { line, .. }| *line)
            .collect();
        assert_eq!(lines, [2, 3]);
        assert!(invalid[1].reason.contains("line 1"), "{invalid:?}");
    }
}
