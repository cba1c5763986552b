//! What a record says as a stage of a flow: whose transaction it is, and what of it must agree with other stages.

use xxhash_rust::xxh3::xxh3_64;

use super::extract::{Misfit, field};
use super::facts::NO_FACTS;
use super::hash::key_hash;
use super::spec::Spec;
use crate::wire::Record;

/// Bytes of a lane, and lanes.
const LANE_BITS: u32 = 8;
const LANES: u32 = 4;

/// A stage's rules beside the correlation id, which is the topic's `id`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageRules {
    pub agree: Vec<Spec>,
    pub amount: Option<Spec>,
    pub number: Option<Spec>,
    /// The header that tells which deployment wrote a record.
    pub deploy: Option<String>,
}

/// One record of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The same at every stage.
    pub id: u128,
    pub offset: i64,
    pub timestamp: i64,
    pub stream_time: i64,
    /// Records observed on the partition before it.
    pub rank: u64,
    pub checksum: u64,
    /// Number of what else the record says, among those of its stretch.
    pub facts: u32,
    /// Hash of everything that must agree, and 8 bits of each of the first four parts.
    pub agree: u64,
    pub lanes: u32,
    pub key: u32,
    /// log₂ of the value's size.
    pub size: u8,
    /// Millionths.
    pub amount: Option<i64>,
    pub number: Option<i64>,
}

impl StageRules {
    /// Everything but where and when it was seen.
    pub fn step(&self, record: &Record<'_>, id: u128, checksum: u64) -> Result<Step, Misfit> {
        let (mut agree, mut lanes) = (0u64, 0u32);
        for (spec, n) in self.agree.iter().zip(0u32..) {
            // What is absent on one side must be absent on the other.
            let hash = match field(spec, record)? {
                Some(bytes) => xxh3_64(&bytes),
                None => 1,
            };
            agree = agree.rotate_left(13) ^ hash;
            lanes ^= (hash as u8 as u32) << (LANE_BITS * (n % LANES));
        }
        Ok(Step {
            id,
            offset: record.offset,
            timestamp: record.timestamp,
            stream_time: 0,
            rank: 0,
            checksum,
            facts: NO_FACTS,
            agree,
            lanes,
            key: key_hash(record),
            size: (usize::BITS - record.value.map_or(0, <[u8]>::len).leading_zeros()) as u8,
            amount: read(self.amount.as_ref(), record, millionths)?,
            number: read(self.number.as_ref(), record, |text| text.parse().ok())?,
        })
    }
}

fn read(spec: Option<&Spec>, record: &Record<'_>, parse: fn(&str) -> Option<i64>) -> Result<Option<i64>, Misfit> {
    let Some(spec) = spec else { return Ok(None) };
    let Some(bytes) = field(spec, record)? else { return Ok(None) };
    let parsed = std::str::from_utf8(&bytes).ok().and_then(parse);
    let wrong = || Misfit::NoNumber { rule: spec.to_string(), found: String::from_utf8_lossy(&bytes).into_owned() };
    parsed.map(Some).ok_or_else(wrong)
}

/// A decimal number as millionths; finer digits must be zero.
fn millionths(text: &str) -> Option<i64> {
    const DIGITS: usize = 6;
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(part) || part.bytes().skip(DIGITS).any(|byte| byte != b'0') {
        return None;
    }
    let part = &part[..part.len().min(DIGITS)];
    let part: i64 = format!("{part:0<DIGITS$}").parse().ok()?;
    whole.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(part)?.checked_mul(sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        for (text, expected) in [
            ("10", Some(10_000_000)),
            ("10.00", Some(10_000_000)),
            ("-0.5", Some(-500_000)),
            ("0.000001", Some(1)),
            ("1.0000010000", Some(1_000_001)),
            ("1.0000001", None),
            ("1e3", None),
            ("", None),
            (".5", None),
            ("--1", None),
            ("9223372036854.775807", Some(i64::MAX)),
            ("9223372036855", None),
        ] {
            assert_eq!(millionths(text), expected, "{text}");
        }
    }
}
