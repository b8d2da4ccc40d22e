//! The size of the picture in the sequence parameter set of H.264 (ITU-T H.264, sections 7.3.2.1.1
//! and 7.4.2.1.1), within its decoder configuration record (ISO/IEC 14496-15, section 5.3.3.1).

/// The profiles whose parameter sets have a description of the chroma format.
const PROFILES_WITH_CHROMA: [u32; 13] =
    [44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244];

/// The number of pixels of a macroblock in each direction.
const MACROBLOCK: u32 = 16;

/// The largest number of macroblocks in a direction that is taken for one: 16,384 pixels.
const MAX_MACROBLOCKS: u32 = 1024;

/// The most reference frames in an offset cycle.
const MAX_CYCLE: u32 = 255;

/// The width and the height in a decoder configuration record; `None` if it is broken.
pub(super) fn picture_size(record: &[u8]) -> Option<(i32, i32)> {
    let count = *record.get(5)? & 0x1f;
    if count == 0 {
        return None;
    }
    let length = u16::from_be_bytes(*record.get(6..)?.first_chunk()?);
    let unit = record.get(8..8 + usize::from(length))?;
    // The first byte is the head of the unit.
    size_of(&mut Bits::new(unit.get(1..)?))
}

fn size_of(bits: &mut Bits) -> Option<(i32, i32)> {
    let profile = bits.take(8)?;
    // Constraints and the level.
    bits.take(16)?;
    bits.unsigned()?;
    let chroma_format = match PROFILES_WITH_CHROMA.contains(&profile) {
        true => chroma_format(bits)?,
        false => 1,
    };
    skip_frame_numbers(bits)?;
    let width = macroblocks(bits)?;
    let height = macroblocks(bits)?;
    // A field has half of the lines of a frame.
    let is_progressive = bits.take(1)? == 1;
    if !is_progressive {
        bits.take(1)?;
    }
    bits.take(1)?;
    let fields = if is_progressive { 1 } else { 2 };
    let (crop_x, crop_y) = cropped(bits, chroma_format, fields)?;
    let pixels = |macroblocks: u32, crop: u32| {
        let left = (macroblocks * MACROBLOCK).checked_sub(crop)?;
        i32::try_from(left).ok().filter(|pixels| *pixels > 0)
    };
    Some((pixels(width, crop_x)?, pixels(height * fields, crop_y)?))
}

/// Reads the chroma format, and skips the bit depths and scaling lists.
fn chroma_format(bits: &mut Bits) -> Option<u32> {
    let format = bits.unsigned()?;
    if format == 3 {
        bits.take(1)?;
    }
    bits.unsigned()?;
    bits.unsigned()?;
    bits.take(1)?;
    if bits.take(1)? == 1 {
        let lists = if format == 3 { 12 } else { 8 };
        for list in 0..lists {
            if bits.take(1)? == 1 {
                skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Some(format)
}

fn skip_scaling_list(bits: &mut Bits, size: usize) -> Option<()> {
    let (mut last, mut next) = (8_i64, 8_i64);
    for _ in 0..size {
        if next != 0 {
            next = (last + bits.signed()?).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Some(())
}

/// Skips the numbers of frames and their order.
fn skip_frame_numbers(bits: &mut Bits) -> Option<()> {
    bits.unsigned()?;
    match bits.unsigned()? {
        0 => {
            bits.unsigned()?;
        }
        1 => {
            bits.take(1)?;
            bits.signed()?;
            bits.signed()?;
            let cycle = bits.unsigned().filter(|cycle| *cycle <= MAX_CYCLE)?;
            for _ in 0..cycle {
                bits.signed()?;
            }
        }
        _ => {}
    }
    bits.unsigned()?;
    bits.take(1).map(drop)
}

fn macroblocks(bits: &mut Bits) -> Option<u32> {
    let count = bits.unsigned()?.checked_add(1)?;
    (count <= MAX_MACROBLOCKS).then_some(count)
}

/// The cropped columns and lines.
fn cropped(bits: &mut Bits, chroma_format: u32, fields: u32) -> Option<(u32, u32)> {
    if bits.take(1)? == 0 {
        return Some((0, 0));
    }
    let [left, right, top, bottom] = [
        bits.unsigned()?,
        bits.unsigned()?,
        bits.unsigned()?,
        bits.unsigned()?,
    ];
    let (unit_x, unit_y) = match chroma_format {
        1 => (2, 2),
        2 => (2, 1),
        _ => (1, 1),
    };
    let columns = left.checked_add(right)?.checked_mul(unit_x)?;
    let lines = top.checked_add(bottom)?.checked_mul(unit_y * fields)?;
    Some((columns, lines))
}

/// The bits of a unit, without its emulation prevention bytes.
struct Bits {
    bytes: Vec<u8>,
    at: usize,
}

impl Bits {
    fn new(unit: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(unit.len());
        for byte in unit {
            // 0x03 behind two zeros only keeps a start code from occurring.
            match (*byte, bytes.as_slice()) {
                (3, [.., 0, 0]) => {}
                (byte, _) => bytes.push(byte),
            }
        }
        Self { bytes, at: 0 }
    }

    fn take(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            let bit = byte >> (7 - self.at % 8) & 1;
            value = value << 1 | u32::from(bit);
            self.at += 1;
        }
        Some(value)
    }

    /// A number in Exp-Golomb code.
    fn unsigned(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.take(1)? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let rest = self.take(zeros)?;
        Some((1 << zeros) - 1 + rest)
    }

    /// A number with a sign, in Exp-Golomb code.
    fn signed(&mut self) -> Option<i64> {
        let code = i64::from(self.unsigned()?);
        Some(match code % 2 {
            0 => -code / 2,
            _ => (code + 1) / 2,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::relays::fuzzing::fuzz;

    /// As x264 makes them: profile baseline, profile high, and profile high with fields.
    const BASELINE: [u8; 22] = [
        0x67, 0x42, 0xc0, 0x0d, 0xda, 0x05, 0x07, 0xec, 0x04, 0x40, 0x00, 0x00, 0x03, 0x00, 0x40,
        0x00, 0x00, 0x0c, 0x83, 0xc5, 0x0a, 0xa8,
    ];
    const HIGH: [u8; 27] = [
        0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0xc0, 0x44, 0x00, 0x00,
        0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xc8, 0x3c, 0x60, 0xc6, 0x58,
    ];
    const FIELDS: [u8; 26] = [
        0x67, 0x64, 0x00, 0x1e, 0xac, 0xd9, 0x40, 0xd8, 0x7b, 0xcd, 0xe0, 0x22, 0x00, 0x00, 0x03,
        0x00, 0x02, 0x00, 0x00, 0x03, 0x00, 0x64, 0x3e, 0x28, 0x53, 0x2c,
    ];

    /// Of the profile high 4:4:4, with scaling lists and an order of frames in a cycle, which no usual
    /// encoder makes.
    const SCALED: [u8; 16] = [
        0x67, 0xf4, 0x00, 0x1e, 0x93, 0xbf, 0xff, 0xf0, 0x01, 0x44, 0xda, 0x48, 0x14, 0x1f, 0xea,
        0x80,
    ];

    /// A decoder configuration record with this sequence parameter set.
    fn record(unit: &[u8]) -> Vec<u8> {
        let length = u16::try_from(unit.len()).unwrap().to_be_bytes();
        [&[1, 100, 0, 31, 0xff, 0xe1], &length[..], unit].concat()
    }

    #[test]
    fn the_size_is_that_of_the_cropped_picture() {
        assert_eq!(picture_size(&record(&BASELINE)), Some((320, 240)));
        assert_eq!(picture_size(&record(&HIGH)), Some((1920, 1080)));
        assert_eq!(picture_size(&record(&FIELDS)), Some((854, 480)));
        assert_eq!(picture_size(&record(&SCALED)), Some((319, 239)));
    }

    #[test]
    fn a_broken_record_has_no_size() {
        let high = [0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78];
        let whole = record(&high);
        for length in 0..whole.len() {
            assert_eq!(picture_size(&whole[..length]), None, "{length}");
        }
        assert_eq!(picture_size(&record(&[0x67; 40])), None);
        assert_eq!(picture_size(&record(&[0; 40])), None);
        assert_eq!(picture_size(&[1, 100, 0, 31, 0xff, 0xe0, 0, 0]), None);
    }

    #[test]
    fn no_record_makes_the_parser_panic_or_find_a_size_that_is_none() {
        let units = [&BASELINE[..], &HIGH, &FIELDS, &SCALED];
        let records = units.map(record);
        let corpus: Vec<_> = records.iter().map(Vec::as_slice).collect();
        let limit = i32::try_from(MAX_MACROBLOCKS * MACROBLOCK).unwrap();
        let mut found = 0;
        fuzz(&corpus, |record, _| {
            if let Some((width, height)) = picture_size(record) {
                assert!((1..=limit).contains(&width), "{width}: {record:x?}");
                assert!((1..=2 * limit).contains(&height), "{height}: {record:x?}");
                found += 1;
            }
            let bits = Bits::new(record);
            assert!(bits.bytes.capacity() <= record.len());
        });
        assert!(found > 1_000, "{found} inputs have a size");
    }
}
