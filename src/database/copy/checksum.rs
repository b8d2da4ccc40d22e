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

/// Adds the value after its length, so that different rows have different digests.
fn digest(value: &ColumnValue, context: &mut Context) {
    let mut add = |bytes: Option<&[u8]>| match bytes {
        None => context.update(&u64::MAX.to_le_bytes()),
        Some(bytes) => {
            context.update(&(bytes.len() as u64).to_le_bytes());
            context.update(bytes);
        }
    };
    match value {
        ColumnValue::Uuid(value) => add(value.as_ref().map(|id| id.as_bytes().as_slice())),
        ColumnValue::Time(value) => {
            let micros = value.map(|time| time.timestamp_micros().to_le_bytes());
            add(micros.as_ref().map(<[u8; 8]>::as_slice));
        }
        ColumnValue::Boolean(value) => add(value
            .map(|yes| [u8::from(yes)])
            .as_ref()
            .map(<[u8; 1]>::as_slice)),
        ColumnValue::Bytes(value) => add(value.as_deref()),
        ColumnValue::Text(value) => add(value.as_ref().map(String::as_bytes)),
        ColumnValue::Integer(value) => add(value
            .map(i64::to_le_bytes)
            .as_ref()
            .map(<[u8; 8]>::as_slice)),
        ColumnValue::SmallInteger(value) => {
            add(value
                .map(i32::to_le_bytes)
                .as_ref()
                .map(<[u8; 4]>::as_slice));
        }
        ColumnValue::Real(value) => add(value
            .map(f64::to_le_bytes)
            .as_ref()
            .map(<[u8; 8]>::as_slice)),
    }
}
