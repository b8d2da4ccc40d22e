//! AMF0, as much of it as commands need: what is not looked for keeps its bytes.

/// Objects within objects deeper than this are taken for broken.
const MAX_DEPTH: usize = 16;

const NUMBER: u8 = 0;
const BOOLEAN: u8 = 1;
const STRING: u8 = 2;
const OBJECT: u8 = 3;
const NULL: u8 = 5;
const UNDEFINED: u8 = 6;
const REFERENCE: u8 = 7;
const ARRAY: u8 = 8;
const END: u8 = 9;
const STRICT_ARRAY: u8 = 10;
const DATE: u8 = 11;
const LONG_STRING: u8 = 12;
const UNSUPPORTED: u8 = 13;
const XML: u8 = 15;
const TYPED_OBJECT: u8 = 16;

/// Parts the first value from what follows; `None` if it is broken.
pub(super) fn value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(length(bytes, 0)?)
}

/// The text of a value that is one.
pub(super) fn string(value: &[u8]) -> Option<&[u8]> {
    match *value.first()? {
        STRING => value.get(3..),
        LONG_STRING => value.get(5..),
        _ => None,
    }
}

/// A number.
pub(super) fn number(value: &[u8]) -> Option<f64> {
    match value.split_first()? {
        (&NUMBER, bytes) => Some(f64::from_be_bytes(bytes.try_into().ok()?)),
        _ => None,
    }
}

/// Writes a text.
pub(super) fn write_string(text: &str, out: &mut Vec<u8>) {
    if let Ok(length) = u16::try_from(text.len()) {
        out.push(STRING);
        out.extend(length.to_be_bytes());
    } else {
        out.push(LONG_STRING);
        out.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    }
    out.extend_from_slice(text.as_bytes());
}

/// The names and values of an object, in their order; `None` if the value is none.
pub(super) fn properties(value: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut rest = match *value.first()? {
        OBJECT => value.get(1..)?,
        ARRAY => value.get(5..)?,
        _ => return None,
    };
    let mut all = Vec::new();
    loop {
        let (name, after) = property_name(rest)?;
        if name.is_empty() && after.first() == Some(&END) {
            return Some(all);
        }
        let (one, after) = self::value(after)?;
        all.push((name, one));
        rest = after;
    }
}

/// The text of a property of an object.
pub(super) fn text_of<'a>(properties: &[(&[u8], &'a [u8])], name: &str) -> Option<&'a [u8]> {
    let found = properties.iter().find(|(key, _)| *key == name.as_bytes());
    found.and_then(|(_, value)| string(value))
}

/// Writes an object with some of its texts replaced.
pub(super) fn write_object(
    properties: &[(&[u8], &[u8])],
    texts: &[(&str, &str)],
    out: &mut Vec<u8>,
) {
    out.push(OBJECT);
    for (name, value) in properties {
        // A name was read with a length of 16 bits.
        out.extend(u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend_from_slice(name);
        match texts.iter().find(|(other, _)| other.as_bytes() == *name) {
            Some((_, text)) => write_string(text, out),
            None => out.extend_from_slice(value),
        }
    }
    out.extend([0, 0, END]);
}

fn length(bytes: &[u8], depth: usize) -> Option<usize> {
    if depth > MAX_DEPTH {
        return None;
    }
    match *bytes.first()? {
        NUMBER => Some(9),
        BOOLEAN => Some(2),
        STRING => Some(3 + two(bytes, 1)?),
        NULL | UNDEFINED | UNSUPPORTED => Some(1),
        REFERENCE => Some(3),
        DATE => Some(11),
        LONG_STRING | XML => Some(5 + four(bytes, 1)?),
        OBJECT => object(bytes, 1, depth),
        ARRAY => object(bytes, 5, depth),
        TYPED_OBJECT => object(bytes, 3 + two(bytes, 1)?, depth),
        STRICT_ARRAY => {
            let mut at = 5;
            for _ in 0..four(bytes, 1)? {
                at += length(bytes.get(at..)?, depth + 1)?;
            }
            Some(at)
        }
        _ => None,
    }
}

fn object(bytes: &[u8], start: usize, depth: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let (name, after) = property_name(bytes.get(at..)?)?;
        at += 2 + name.len();
        if name.is_empty() && after.first() == Some(&END) {
            return Some(at + 1);
        }
        at += length(after, depth + 1)?;
    }
}

fn property_name(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    bytes.get(2..)?.split_at_checked(two(bytes, 0)?)
}

fn two(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(usize::from(u16::from_be_bytes(bytes)))
}

fn four(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(bytes)).ok()
}
