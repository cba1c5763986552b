//! Made-up traffic: 16 partitions, fetched 4,000 records at a time, 1,000 records a second and partition.

use sordini::ledger::{Producer, Sightings};
use xxhash_rust::xxh3::xxh3_128_with_seed;

pub const STRETCH: u64 = 4000;
const PARTITIONS: u64 = 16;

pub fn identity(row: u64) -> u128 {
    xxh3_128_with_seed(&row.to_le_bytes(), 7)
}

/// Rows `from..from + STRETCH`. With `shift` they stand at later offsets, as when a producer sends everything again.
pub fn stretch(from: u64, shift: i64, identity_of: &dyn Fn(u64) -> u64, out: &mut Sightings) {
    let partition = from / STRETCH % PARTITIONS;
    let first = (from / (PARTITIONS * STRETCH) * STRETCH) as i64;
    out.partition = partition as u32;
    out.offsets.clear();
    out.offsets.extend((0..STRETCH as i64).map(|at| first + at + shift));
    out.timestamps.clear();
    out.timestamps.extend((0..STRETCH as i64).map(|at| 1_700_000_000_000 + first + at));
    out.identities.clear();
    out.identities.extend((from..from + STRETCH).map(|row| identity(identity_of(row))));
    out.checksums.clear();
    out.checksums.extend(from..from + STRETCH);
    out.producers.clear();
    out.producers.push((0, Producer { id: 4 + partition as i64, epoch: 0 }));
}

/// `10M`, `1G`.
pub fn count(text: &str) -> u64 {
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'M') => (&text[..text.len() - 1], 1_000_000),
        Some(b'G') => (&text[..text.len() - 1], 1_000_000_000),
        _ => (text, 1),
    };
    digits.parse::<u64>().expect("a size like 10M") * factor / STRETCH * STRETCH
}

/// Pseudo-random rows below `below`: a multiplicative walk, so that no list is held in memory.
pub fn shuffled(at: u64, below: u64) -> u64 {
    ((u128::from(at.wrapping_mul(0x9e37_79b9_7f4a_7c15)) * u128::from(below)) >> 64) as u64
}
