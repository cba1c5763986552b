//! One text for each value, driven by the SQL type of the column it belongs to: the text PostgreSQL prints with
//! `TimeZone=UTC, DateStyle=ISO, extra_float_digits=1`. Two stores agree on a value when they agree on its text.
//!
//! It knows neither stores nor records: a value comes in as JSON tells it, its text goes out.

pub mod float;
pub mod json;
pub mod number;
pub mod time;

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use time::{Fractions, Unit};

/// What a column holds, as far as its text depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Type {
    Integer,
    /// With digits behind the point, or with as many as each number needs.
    Decimal(Option<u16>),
    /// `real`
    Single,
    /// `double precision`
    Double,
    Bool,
    Text,
    /// `char(n)`: trailing blanks mean nothing.
    Padded,
    Uuid,
    Bytes,
    Json,
    Date,
    /// Digits of a second.
    Time(u8),
    Timestamp(u8),
    /// `timestamp with time zone`
    Instant(u8),
}

/// Whether the value's text says all that the value said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canonical {
    Exact,
    /// Rounded to what the column can hold.
    Narrowed,
    Null,
}

/// Why a value cannot be one of the column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error("is no number")]
    NoNumber,
    #[error("is no whole number")]
    NotWhole,
    #[error("is out of the type's range")]
    OutOfRange,
    #[error("is no date or time")]
    NoTime,
    #[error("is neither true nor false")]
    NoBool,
    #[error("is no UUID")]
    NoUuid,
    #[error("is neither base64 nor \\x and hexadecimal digits")]
    NoBytes,
    #[error("does not parse as JSON")]
    NoJson,
    #[error("is JSON of more than 256 levels")]
    TooDeep,
    #[error("is an object or an array, and the column holds none")]
    Nested,
    #[error("is not in the event: Debezium could not read the unchanged value")]
    Unavailable,
}

/// A value as JSON tells it.
#[derive(Clone, Debug, PartialEq)]
pub enum Given<'a> {
    Null,
    Bool(bool),
    /// The digits of the source.
    Number(&'a str),
    Text(Cow<'a, str>),
    /// An object or an array, as its text.
    Nested(&'a str),
}

impl<'a> Given<'a> {
    pub fn of(raw: &'a str) -> Result<Self, Misfit> {
        Ok(match raw.as_bytes().first() {
            Some(b'"') => Given::Text(json::Text::of(raw)?),
            Some(b'n') => Given::Null,
            Some(b't') => Given::Bool(true),
            Some(b'f') => Given::Bool(false),
            Some(b'{' | b'[') => Given::Nested(raw),
            _ => Given::Number(raw),
        })
    }

    fn text(&self) -> Result<&str, Misfit> {
        match self {
            Given::Text(text) => Ok(text),
            Given::Number(text) => Ok(text),
            Given::Bool(flag) => Ok(if *flag { "true" } else { "false" }),
            Given::Nested(_) | Given::Null => Err(Misfit::Nested),
        }
    }
}

/// How times are read where their text alone does not say it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// What a number counts; by the column where nobody has said so.
    pub unit: Option<Unit>,
    /// The same of a time of day alone.
    pub of_day: Option<Unit>,
    pub fractions: Fractions,
}

/// What Debezium writes for a large value that the change left as it was.
const UNAVAILABLE: &str = "__debezium_unavailable_value";
/// The same as the bytes of a column of bytes, by `binary.handling.mode`.
const UNAVAILABLE_BASE64: &str = "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==";
const UNAVAILABLE_HEX: &str = "\\x5f5f646562657a69756d5f756e617661696c61626c655f76616c7565";

impl Type {
    /// Appends the value's text.
    pub fn canonical(self, given: &Given<'_>, times: Times, out: &mut Vec<u8>) -> Result<Canonical, Misfit> {
        if *given == Given::Null {
            return Ok(Canonical::Null);
        }
        if matches!(given, Given::Text(text) if text == UNAVAILABLE) {
            return Err(Misfit::Unavailable);
        }
        match self {
            Type::Integer => match given {
                Given::Bool(flag) => number::integer(if *flag { "1" } else { "0" }, out),
                _ => number::integer(given.text()?, out),
            },
            Type::Decimal(scale) => number::decimal(given.text()?, scale, out),
            Type::Single => float::float(given.text()?, true, out),
            Type::Double => float::float(given.text()?, false, out),
            Type::Bool => boolean(given, out),
            Type::Text => plain(given, out),
            Type::Padded => {
                let canonical = plain(given, out)?;
                out.truncate(out.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1));
                Ok(canonical)
            }
            Type::Uuid => uuid(given.text()?, out),
            Type::Bytes => bytes(given.text()?, out),
            Type::Json => json_value(given, out),
            Type::Date => time::date(given.text()?, matches!(given, Given::Number(_)), out),
            Type::Time(precision) => {
                let unit = self.unit(times.unit.or(times.of_day));
                time::time(given.text()?, unit, (precision, times.fractions), out)
            }
            Type::Timestamp(precision) => {
                time::timestamp(given.text()?, self.unit(times.unit), (precision, times.fractions), false, out)
            }
            Type::Instant(precision) => {
                time::timestamp(given.text()?, self.unit(times.unit), (precision, times.fractions), true, out)
            }
        }
    }

    /// What a number counts where nobody has said so: Debezium's rule, by the column's precision.
    fn unit(self, said: Option<Unit>) -> Unit {
        said.unwrap_or(match self {
            Type::Time(precision) | Type::Timestamp(precision) if precision > 3 => Unit::Micros,
            _ => Unit::Millis,
        })
    }
}

fn plain(given: &Given<'_>, out: &mut Vec<u8>) -> Result<Canonical, Misfit> {
    match given {
        Given::Nested(raw) => out.extend_from_slice(raw.as_bytes()),
        _ => out.extend_from_slice(given.text()?.as_bytes()),
    }
    Ok(Canonical::Exact)
}

fn boolean(given: &Given<'_>, out: &mut Vec<u8>) -> Result<Canonical, Misfit> {
    let is_true = match given {
        Given::Bool(flag) => *flag,
        _ => match given.text()? {
            "1" | "t" | "true" | "TRUE" => true,
            "0" | "f" | "false" | "FALSE" => false,
            _ => return Err(Misfit::NoBool),
        },
    };
    out.extend_from_slice(if is_true { b"true" } else { b"false" });
    Ok(Canonical::Exact)
}

fn uuid(text: &str, out: &mut Vec<u8>) -> Result<Canonical, Misfit> {
    let parsed = uuid::Uuid::try_parse(text).map_err(|_| Misfit::NoUuid)?;
    out.extend_from_slice(parsed.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()).as_bytes());
    Ok(Canonical::Exact)
}

fn bytes(text: &str, out: &mut Vec<u8>) -> Result<Canonical, Misfit> {
    use base64::Engine as _;
    // The placeholder of a large value, as bytes.
    if matches!(text, UNAVAILABLE_BASE64 | UNAVAILABLE_HEX) {
        return Err(Misfit::Unavailable);
    }
    if let Some(digits) = text.strip_prefix("\\x") {
        let is_hex = digits.len() % 2 == 0 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex {
            return Err(Misfit::NoBytes);
        }
        out.extend(digits.bytes().map(|byte| byte.to_ascii_lowercase()));
        return Ok(Canonical::Exact);
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| Misfit::NoBytes)?;
    hex(&decoded, out);
    Ok(Canonical::Exact)
}

/// As every database prints bytes.
pub fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            out.push(b"0123456789abcdef"[usize::from(digit)]);
        }
    }
}

/// A value inside the record, or a text that holds JSON, as Debezium sends it.
fn json_value(given: &Given<'_>, out: &mut Vec<u8>) -> Result<Canonical, Misfit> {
    match given {
        Given::Text(text) => json::jsonb(text, out),
        Given::Nested(raw) | Given::Number(raw) => json::jsonb(raw, out),
        Given::Bool(_) => json::jsonb(given.text()?, out),
        Given::Null => Ok(Canonical::Null),
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Integer => f.write_str("integer"),
            Type::Decimal(None) => f.write_str("decimal"),
            Type::Decimal(Some(scale)) => write!(f, "decimal with {scale} digits behind the point"),
            Type::Single => f.write_str("single float"),
            Type::Double => f.write_str("double float"),
            Type::Bool => f.write_str("boolean"),
            Type::Text => f.write_str("text"),
            Type::Padded => f.write_str("padded text"),
            Type::Uuid => f.write_str("uuid"),
            Type::Bytes => f.write_str("bytes"),
            Type::Json => f.write_str("json"),
            Type::Date => f.write_str("date"),
            Type::Time(_) => f.write_str("time"),
            Type::Timestamp(_) => f.write_str("timestamp"),
            Type::Instant(_) => f.write_str("timestamp with time zone"),
        }
    }
}
