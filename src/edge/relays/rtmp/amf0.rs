//! AMF0 values (Action Message Format, version 0), read in place.

/// Objects that are nested deeper are invalid.
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
pub(crate) fn value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(length(bytes, 0)?)
}

/// The text of a string.
pub(crate) fn string(value: &[u8]) -> Option<&[u8]> {
    match *value.first()? {
        STRING => value.get(3..),
        LONG_STRING => value.get(5..),
        _ => None,
    }
}

/// The value of a number.
pub(crate) fn number(value: &[u8]) -> Option<f64> {
    match value.split_first()? {
        (&NUMBER, bytes) => Some(f64::from_be_bytes(bytes.try_into().ok()?)),
        _ => None,
    }
}

/// Writes a string.
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    if let Ok(length) = u16::try_from(text.len()) {
        out.push(STRING);
        out.extend(length.to_be_bytes());
    } else {
        out.push(LONG_STRING);
        out.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    }
    out.extend_from_slice(text.as_bytes());
}

/// The names and values of an object, in order; `None` if the value is no object.
pub(crate) fn properties(value: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
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
pub(crate) fn text_of<'a>(properties: &[(&[u8], &'a [u8])], name: &str) -> Option<&'a [u8]> {
    let found = properties.iter().find(|(key, _)| *key == name.as_bytes());
    found.and_then(|(_, value)| string(value))
}

/// The texts in a strict array, without its other elements.
pub(crate) fn strings(value: &[u8]) -> Vec<&[u8]> {
    let mut texts = Vec::new();
    let mut rest = match value.first() {
        Some(&STRICT_ARRAY) => value.get(5..).unwrap_or_default(),
        _ => return texts,
    };
    while let Some((element, after)) = self::value(rest) {
        texts.extend(string(element));
        rest = after;
    }
    texts
}

/// Writes a number.
pub(crate) fn write_number(number: f64, out: &mut Vec<u8>) {
    out.push(NUMBER);
    out.extend(number.to_be_bytes());
}

/// Writes null.
pub(crate) fn write_null(out: &mut Vec<u8>) {
    out.push(NULL);
}

/// Writes the name of a property, whose value follows.
pub(crate) fn write_name(name: &str, out: &mut Vec<u8>) {
    out.extend(u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(name.as_bytes());
}

/// Begins an object, whose properties follow.
pub(crate) fn begin_object(out: &mut Vec<u8>) {
    out.push(OBJECT);
}

/// Ends an object.
pub(crate) fn end_object(out: &mut Vec<u8>) {
    out.extend([0, 0, END]);
}

/// Writes a strict array of texts.
pub(crate) fn write_strings(texts: &[&str], out: &mut Vec<u8>) {
    out.push(STRICT_ARRAY);
    out.extend(u32::try_from(texts.len()).unwrap_or(u32::MAX).to_be_bytes());
    for text in texts {
        write_string(text, out);
    }
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
