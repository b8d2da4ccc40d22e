//! Characters that cannot be seen. They break keys and addresses, and make different names look
//! the same.

use super::{Invalid, invalid::refuse};

const ZERO_WIDTH_NON_JOINER: char = '\u{200c}';
const ZERO_WIDTH_JOINER: char = '\u{200d}';
const ENCLOSING_KEYCAP: char = '\u{20e3}';

/// The invisible characters above U+009F: general categories Cf, Zl and Zp, the property
/// `Default_Ignorable_Code_Point` (Unicode 16), and the blank braille pattern.
const RANGES: [(char, char); 26] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Whether a character is a control, format or default-ignorable one.
pub(super) fn is_invisible(c: char) -> bool {
    c.is_control()
        || RANGES
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&c))
}

/// Removes white space and invisible characters from both ends.
pub(super) fn trim_invisible(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || is_invisible(c))
}

/// Rejects white space and invisible characters anywhere in a text.
pub(super) fn reject_invisible(text: &str) -> Result<(), Invalid> {
    let mut characters = text.chars();
    match characters.find(|c| c.is_whitespace() || is_invisible(*c)) {
        None => Ok(()),
        Some(c) => refuse(format!(
            "must not contain white space or invisible characters: it contains {}",
            code_point(c)
        )),
    }
}

/// Rejects invisible characters in the value of a setting, except white space: the parser of the
/// setting decides about that.
pub(crate) fn reject_invisible_in_setting(value: &str) -> Result<(), Invalid> {
    let mut characters = value.chars();
    match characters.find(|c| is_invisible(*c) && !c.is_whitespace()) {
        None => Ok(()),
        Some(c) => refuse_invisible(c),
    }
}

fn refuse_invisible<T>(c: char) -> Result<T, Invalid> {
    refuse(format!(
        "must not contain invisible characters: it contains {}",
        code_point(c)
    ))
}

/// Rejects invisible characters in a name, which may contain spaces.
///
/// Joiners between, and variation selectors after, characters beyond ASCII are accepted: emoji and
/// the scripts of Persian, Hindi and others need them.
pub(super) fn reject_invisible_in_name(name: &str) -> Result<(), Invalid> {
    let mut before = None;
    let mut characters = name.chars().peekable();
    while let Some(c) = characters.next() {
        if is_invisible(c) && !is_part_of_text(before, c, characters.peek().copied()) {
            return refuse_invisible(c);
        }
        before = Some(c);
    }
    Ok(())
}

/// Whether an invisible character changes how its visible neighbours are shown.
fn is_part_of_text(before: Option<char>, c: char, after: Option<char>) -> bool {
    let is_visible = |c: char| !c.is_ascii() && !c.is_whitespace() && !is_invisible(c);
    match c {
        ZERO_WIDTH_NON_JOINER | ZERO_WIDTH_JOINER => {
            before.is_some_and(|c| is_visible(c) || is_variation_selector(c))
                && after.is_some_and(is_visible)
        }
        c if is_variation_selector(c) => {
            let is_keycap = after == Some(ENCLOSING_KEYCAP)
                && before.is_some_and(|c| c.is_ascii_digit() || matches!(c, '#' | '*'));
            before.is_some_and(is_visible) || is_keycap
        }
        _ => false,
    }
}

fn is_variation_selector(c: char) -> bool {
    matches!(
        c,
        '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}'
    )
}

fn code_point(c: char) -> String {
    format!("U+{:04X}", u32::from(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Zero-width characters, a soft hyphen, bidirectional marks, fillers, tags, controls.
    const INVISIBLE: &str = "\u{200b}\u{feff}\u{ad}\u{200e}\u{200f}\u{202a}\u{202e}\u{2066}\u{2069}
        \u{61c}\u{2060}\u{2064}\u{34f}\u{115f}\u{3164}\u{ffa0}\u{180e}\u{2800}\u{fff9}\u{e0001}
        \u{e0041}\u{1d173}\u{2028}\u{2029}\0\u{7}\u{7f}\u{85}\u{9f}";

    #[test]
    fn invisible_characters_are_rejected_with_their_code_point() {
        for c in INVISIBLE.chars().filter(|c| *c != ' ' && *c != '\n') {
            let expected = format!("it contains {}", code_point(c));
            for text in [format!("a{c}b"), format!("a{c}"), c.to_string()] {
                let Invalid(of_key) = reject_invisible(&text).expect_err(&expected);
                let Invalid(of_name) = reject_invisible_in_name(&text).expect_err(&expected);
                assert!(of_key.ends_with(&expected), "{of_key}");
                assert!(of_name.ends_with(&expected), "{of_name}");
            }
            assert_eq!(trim_invisible(&format!("{c} a {c}\r\n")), "a");
        }
    }

    #[test]
    fn settings_may_have_white_space_but_nothing_else_that_is_invisible() {
        let pem = "-----BEGIN PUBLIC KEY-----\r\n\tabc=\n";
        assert_eq!(reject_invisible_in_setting(pem), Ok(()));
        for c in ['\u{feff}', '\u{200b}', '\u{3164}', '\0', '\u{7}'] {
            let Invalid(message) = reject_invisible_in_setting(&format!("a{c}")).unwrap_err();
            assert!(message.ends_with(&code_point(c)), "{message}");
        }
    }

    #[test]
    fn keys_have_no_white_space() {
        for (text, expected) in [("a b", "U+0020"), ("a\u{a0}", "U+00A0"), ("\n", "U+000A")] {
            let Invalid(message) = reject_invisible(text).expect_err(text);
            assert!(message.ends_with(expected), "{message}");
        }
        assert_eq!(reject_invisible("FB-1?s_bl=1&a=Ab%2f+é日🎮"), Ok(()));
    }

    #[test]
    fn names_keep_joiners_and_variation_selectors_where_text_needs_them() {
        for name in [
            "👩\u{200d}👩\u{200d}👧 family",
            "❤\u{fe0f}\u{200d}🔥",
            "1\u{fe0f}\u{20e3} live",
            "می\u{200c}خواهم",
            "क\u{94d}\u{200d}ष",
            "葛\u{e0100}城",
        ] {
            assert_eq!(reject_invisible_in_name(name), Ok(()), "{name}");
        }
        for name in [
            "\u{200d}",
            "a\u{200d}b",
            "é\u{200d}",
            "\u{200d}é",
            "é\u{200d}\u{200d}é",
            "a\u{fe0f}",
            "\u{fe0f}",
            "1\u{fe0f}",
            "é \u{200c}é",
        ] {
            assert!(reject_invisible_in_name(name).is_err(), "{name:?}");
        }
    }
}
