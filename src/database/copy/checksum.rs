use ring::digest::{Context, SHA256};

use super::value::Value;

/// How many rows a table has, and a sum over what they hold. The order in which rows
/// come does not matter: the engines sort text differently.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Checksum {
    pub rows: u64,
    sum: u128,
}

impl Checksum {
    /// Adds a row.
    pub fn add(&mut self, row: &[Value]) {
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

/// Each value is preceded by its length, so that no two rows look alike.
fn digest(value: &Value, context: &mut Context) {
    let mut add = |bytes: Option<&[u8]>| match bytes {
        None => context.update(&u64::MAX.to_le_bytes()),
        Some(bytes) => {
            context.update(&(bytes.len() as u64).to_le_bytes());
            context.update(bytes);
        }
    };
    match value {
        Value::Uuid(value) => add(value.as_ref().map(|id| id.as_bytes().as_slice())),
        Value::Time(value) => {
            let micros = value.map(|time| time.timestamp_micros().to_le_bytes());
            add(micros.as_ref().map(<[u8; 8]>::as_slice));
        }
        Value::Boolean(value) => add(value
            .map(|yes| [u8::from(yes)])
            .as_ref()
            .map(<[u8; 1]>::as_slice)),
        Value::Bytes(value) => add(value.as_deref()),
        Value::Text(value) => add(value.as_ref().map(String::as_bytes)),
        Value::Integer(value) => add(value
            .map(i64::to_le_bytes)
            .as_ref()
            .map(<[u8; 8]>::as_slice)),
        Value::SmallInteger(value) => {
            add(value
                .map(i32::to_le_bytes)
                .as_ref()
                .map(<[u8; 4]>::as_slice));
        }
        Value::Real(value) => add(value
            .map(f64::to_le_bytes)
            .as_ref()
            .map(<[u8; 8]>::as_slice)),
    }
}
