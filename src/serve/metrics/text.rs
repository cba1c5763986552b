//! From families and values to lines. A label is escaped, a series is printed once whatever the caller does (a scraper
//! refuses everything when one is there twice), and a value that is unknown never gets here.

use std::io::{self, Write};

use rustc_hash::FxHashSet;
use xxhash_rust::xxh3::xxh3_64;

use super::segments::{Packer, Segment};
use super::table::{Family, Kind};

const FLUSH: usize = 32 << 10;

pub enum Label<'a> {
    Text(&'a str),
    Number(i64),
}

impl<'a> From<&'a str> for Label<'a> {
    fn from(text: &'a str) -> Self {
        Label::Text(text)
    }
}

impl From<i32> for Label<'_> {
    fn from(number: i32) -> Self {
        Label::Number(number.into())
    }
}

pub enum Value {
    Int(i64),
    Unsigned(u64),
    Float(f64),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Value::Unsigned(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Value::Unsigned(value as u64)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Float(value)
    }
}

/// The lines of one family.
pub struct Samples {
    family: &'static Family,
    packer: Packer,
    text: Vec<u8>,
    seen: FxHashSet<u64>,
    failed: Option<io::Error>,
}

impl Samples {
    pub fn of(family: &'static Family) -> Self {
        Self {
            family,
            packer: Packer::new(),
            text: Vec::with_capacity(FLUSH + 1024),
            seen: FxHashSet::default(),
            failed: None,
        }
    }

    pub fn add<const N: usize>(&mut self, labels: [Label<'_>; N], value: impl Into<Value>) {
        debug_assert_eq!(self.family.labels.len(), N, "{}", self.family.name);
        let start = self.text.len();
        self.text.extend(self.family.name.as_bytes());
        for (i, (name, label)) in self.family.labels.iter().zip(&labels).enumerate() {
            self.text.push(if i == 0 { b'{' } else { b',' });
            self.text.extend(name.as_bytes());
            self.text.extend(b"=\"");
            match label {
                Label::Text(text) => escape(text, &mut self.text),
                Label::Number(number) => integer(*number, &mut self.text),
            }
            self.text.push(b'"');
        }
        if N > 0 {
            self.text.push(b'}');
        }
        if !self.seen.insert(xxh3_64(&self.text[start..])) {
            self.text.truncate(start);
            return;
        }
        self.text.push(b' ');
        let written = match value.into() {
            Value::Int(value) => {
                integer(value, &mut self.text);
                Ok(())
            }
            Value::Unsigned(value) => write!(self.text, "{value}"),
            Value::Float(value) => write!(self.text, "{value}"),
        };
        self.text.push(b'\n');
        if self.text.len() >= FLUSH {
            let flushed = self.packer.write_all(&self.text);
            self.failed = self.failed.take().or(written.err()).or(flushed.err());
            self.text.clear();
        }
    }

    /// Nothing when there was no sample: a family without a value is not mentioned.
    pub fn finish(mut self) -> io::Result<Option<(&'static Family, Segment)>> {
        if self.seen.is_empty() {
            return Ok(None);
        }
        self.packer.write_all(&self.text)?;
        match self.failed {
            Some(error) => Err(error),
            None => Ok(Some((self.family, self.packer.finish()?))),
        }
    }
}

fn integer(value: i64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend(&digits[at..]);
}

fn escape(text: &str, out: &mut Vec<u8>) {
    if !text.bytes().any(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
        return out.extend(text.as_bytes());
    }
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend(b"\\\\"),
            b'"' => out.extend(b"\\\""),
            b'\n' => out.extend(b"\\n"),
            byte => out.push(byte),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus text 0.0.4, for whoever does not ask for the other.
    Plain,
}

impl Format {
    pub fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// What a scraper's Accept header asks for.
    pub fn asked(accept: Option<&str>) -> Self {
        let quality = |wanted: &[&str]| {
            let ranges = accept.unwrap_or_default().split(',').filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let media = parts.next()?.to_ascii_lowercase();
                let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
                wanted.contains(&media.as_str()).then_some(quality.unwrap_or(1.0))
            });
            ranges.fold(0.0, f32::max)
        };
        let open = quality(&["application/openmetrics-text"]);
        if open > 0.0 && open >= quality(&["text/plain", "text/*"]) { Format::OpenMetrics } else { Format::Plain }
    }

    /// The lines above a family's samples.
    pub fn head(self, family: &Family) -> String {
        // Both formats escape these two; OpenMetrics the quotation mark too, which no help has.
        let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
        match self {
            Format::OpenMetrics => {
                let base = family.base();
                let unit =
                    if family.unit.is_empty() { String::new() } else { format!("# UNIT {base} {}\n", family.unit) };
                format!("# TYPE {base} {}\n{unit}# HELP {base} {help}\n", family.kind.name())
            }
            Format::Plain => {
                let kind = match family.kind {
                    Kind::Counter => "counter",
                    Kind::Gauge | Kind::Info => "gauge",
                };
                format!("# HELP {0} {help}\n# TYPE {0} {kind}\n", family.name)
            }
        }
    }

    pub fn end(self) -> &'static str {
        match self {
            Format::OpenMetrics => "# EOF\n",
            Format::Plain => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_the_standard_library_writes_them() {
        for value in [0, 7, -1, 10, 1234567890, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            integer(value, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }

    #[test]
    fn the_format_is_what_accept_asks_for_most() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,application/openmetrics-text;version=0.0.1;\
                          q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.2";
        assert_eq!(Format::asked(Some(prometheus)), Format::OpenMetrics);
        for plain in [
            None,
            Some("*/*"),
            Some("text/html"),
            Some("text/plain"),
            Some("application/openmetrics-text;q=0.1,text/plain"),
            Some("application/openmetrics-text;q=0"),
        ] {
            assert_eq!(Format::asked(plain), Format::Plain, "{plain:?}");
        }
    }
}
