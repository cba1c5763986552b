//! From a value as SQLite stores it to the text by which it is compared.

use rusqlite::types::ValueRef;

use crate::drift::canon::time::Unit;
use crate::drift::canon::{Canonical, Given, Misfit, Times, Type, hex};

#[derive(Clone, Debug)]
pub struct SqlColumn {
    /// Quoted.
    pub name: String,
    /// As values of which type it is compared.
    pub ty: Type,
    pub time: Option<Unit>,
}

impl SqlColumn {
    /// Appends the canonical text; `false` for null. A value that the type cannot hold, for SQLite takes any, gets a text that
    /// no value of the type has: it differs from all of them, and not from itself.
    pub fn canonical(&self, value: ValueRef<'_>, out: &mut Vec<u8>) -> bool {
        let from = out.len();
        match value {
            ValueRef::Null => return false,
            ValueRef::Blob(bytes) => blob(bytes, self.ty, out),
            ValueRef::Text(text) => match std::str::from_utf8(text) {
                // Base64 in a column of bytes is text.
                Ok(text) if self.ty == Type::Bytes || !self.fits(&Given::Text(text.into()), out) => {
                    out.truncate(from);
                    out.extend_from_slice(text.as_bytes());
                }
                Ok(_) => {}
                Err(_) => marked("text", text, out),
            },
            ValueRef::Integer(number) => {
                let text = number.to_string();
                let is_day = self.ty == Type::Date;
                if is_day || !self.fits(&Given::Number(&text), out) {
                    out.truncate(from);
                    out.extend_from_slice(text.as_bytes());
                }
            }
            ValueRef::Real(number) => self.real(number, out),
        }
        true
    }

    /// Whether the value is one of the column's type, to the last digit.
    fn fits(&self, given: &Given<'_>, out: &mut Vec<u8>) -> bool {
        let times = Times { unit: Some(self.time.unwrap_or(Unit::Seconds)), ..Times::default() };
        let canonical: Result<Canonical, Misfit> = self.ty.canonical(given, times, out);
        canonical == Ok(Canonical::Exact)
    }

    fn real(&self, number: f64, out: &mut Vec<u8>) {
        let from = out.len();
        let mut double = Vec::new();
        // A float's own text never fails.
        let _ = Type::Double.canonical(&Given::Number(&format!("{number:e}")), Times::default(), &mut double);
        let text = String::from_utf8_lossy(&double).into_owned();
        let is_one = match self.ty {
            // Times are no Julian days here.
            Type::Date | Type::Time(_) | Type::Timestamp(_) | Type::Instant(_) => false,
            Type::Single => {
                f64::from(number as f32) == number || format!("{:e}", number as f32) == format!("{number:e}")
            }
            _ => true,
        };
        if !is_one || !self.fits(&Given::Number(&text), out) {
            out.truncate(from);
            out.extend_from_slice(&double);
        }
    }
}

/// Bytes are printed as such, and those of a UUID as one; elsewhere they are marked.
fn blob(bytes: &[u8], ty: Type, out: &mut Vec<u8>) {
    match (ty, uuid::Uuid::from_slice(bytes)) {
        (Type::Uuid, Ok(uuid)) => out.extend_from_slice(uuid.to_string().as_bytes()),
        (Type::Bytes, _) => hex(bytes, out),
        _ => marked("blob", bytes, out),
    }
}

/// No store that holds text has one like it.
fn marked(what: &str, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(0);
    out.extend_from_slice(what.as_bytes());
    out.push(b' ');
    hex(bytes, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ty: Type, value: ValueRef<'_>) -> Option<String> {
        let mut out = Vec::new();
        let column = SqlColumn { name: String::new(), ty, time: None };
        column.canonical(value, &mut out).then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn values_are_read_as_the_columns_type() {
        use ValueRef::{Blob, Integer, Null, Real, Text};
        for (ty, value, expected) in [
            (Type::Integer, Integer(-3), "-3"),
            (Type::Integer, Real(1.5), "1.5"),
            (Type::Integer, Text(b"x"), "x"),
            (Type::Decimal(Some(2)), Real(10.5), "10.50"),
            (Type::Decimal(Some(2)), Integer(10), "10.00"),
            // Rounding would hide that it is another number.
            (Type::Decimal(Some(2)), Real(10.006), "10.006"),
            (Type::Double, Real(1e-20), "1e-20"),
            (Type::Double, Real(f64::INFINITY), "Infinity"),
            (Type::Single, Real(0.1), "0.1"),
            (Type::Single, Real(f64::from(0.1_f32)), "0.1"),
            (Type::Single, Real(0.100_000_001), "0.100000001"),
            (Type::Bool, Integer(1), "true"),
            (Type::Bool, Integer(2), "2"),
            (Type::Timestamp(6), Text(b"2024-01-01T00:00:00.50Z"), "2024-01-01 00:00:00.5"),
            (Type::Timestamp(6), Integer(1_704_067_200), "2024-01-01 00:00:00"),
            (Type::Date, Integer(19_723), "19723"),
            (Type::Uuid, Blob(&[1; 16]), "01010101-0101-0101-0101-010101010101"),
            (Type::Bytes, Blob(&[0, 255]), "00ff"),
            (Type::Text, Blob(b"ab"), "\0blob 6162"),
            (Type::Text, Text(b"x "), "x "),
            (Type::Text, Text(b"\xff"), "\0text ff"),
        ] {
            assert_eq!(text(ty, value).as_deref(), Some(expected), "{ty:?} {value:?}");
        }
        assert_eq!(text(Type::Text, Null), None);
    }
}
