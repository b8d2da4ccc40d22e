use ring::digest::{Context, SHA256};

use super::value::ColumnValue;

/// The number of rows of a table, and a checksum of them. It does not depend on the order
/// of the rows, because the engines sort text differently.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Checksum {
    pub rows: u64,
    sum: u128,
}

impl Checksum {
    /// Adds a row.
    pub fn add(&mut self, row: &[ColumnValue]) {
        let mut context = Context::new(&SHA256);
        for value in row {
            digest(value, &mut context);
        }
        let digest = context.finish();
        let mut half = [0; 16];
        half.copy_from_slice(&digest.as_ref()[..16]);

        self.rows += 1;
        self.sum = self.sum.wrapping_add(u128::from_le_bytes(half));
    }
}

/// Adds a value.
fn digest(value: &ColumnValue, context: &mut Context) {
    match value {
        ColumnValue::Uuid(value) => add(value.as_ref(), context),
        ColumnValue::Time(value) => {
            add(
                value.map(|time| time.timestamp_micros().to_le_bytes()),
                context,
            );
        }
        ColumnValue::Boolean(value) => add(value.map(|yes| [u8::from(yes)]), context),
        ColumnValue::Bytes(value) => add(value.as_ref(), context),
        ColumnValue::Text(value) => add(value.as_ref(), context),
        ColumnValue::Integer(value) => add(value.map(i64::to_le_bytes), context),
        ColumnValue::SmallInteger(value) => add(value.map(i32::to_le_bytes), context),
        ColumnValue::Real(value) => add(value.map(f64::to_le_bytes), context),
    }
}

/// Adds bytes after their length, so that different rows have different digests.
fn add(bytes: Option<impl AsRef<[u8]>>, context: &mut Context) {
    match bytes {
        None => context.update(&u64::MAX.to_le_bytes()),
        Some(bytes) => {
            context.update(&(bytes.as_ref().len() as u64).to_le_bytes());
            context.update(bytes.as_ref());
        }
    }
}
