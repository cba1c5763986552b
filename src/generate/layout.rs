//! Which record stands where, by arithmetic alone: any record of the plan can be computed from its session and its
//! place in the session, in any order, without keeping it. Knows nothing of faults but null values.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::fault::Attribute;
use super::options::{Options, OptionsError};

/// The share of the values that are large, where a fault is tied to size.
const LARGE: f64 = 0.1;

/// What a random number is drawn for; keeps the draws of different purposes apart.
#[derive(Clone, Copy)]
pub(super) enum Salt {
    Key,
    Amount,
    Tombstone,
    Distance,
    Session,
    Large,
    Latency,
    Place(usize),
    Hit(usize),
    Jitter(usize),
}

impl Salt {
    fn code(self) -> u64 {
        match self {
            Salt::Key => 1,
            Salt::Amount => 2,
            Salt::Tombstone => 3,
            Salt::Distance => 4,
            Salt::Session => 5,
            Salt::Large => 6,
            Salt::Latency => 7,
            Salt::Place(fault) => 16 + fault as u64,
            Salt::Hit(fault) => (1 << 32) + fault as u64,
            Salt::Jitter(fault) => (2 << 32) + fault as u64,
        }
    }
}

/// A random number that depends on its arguments alone.
pub(super) fn draw(seed: u64, salt: Salt, a: u64, b: u64) -> u64 {
    let mut bytes = [0; 24];
    for (part, value) in bytes.chunks_exact_mut(8).zip([salt.code(), a, b]) {
        part.copy_from_slice(&value.to_le_bytes());
    }
    xxh3_64_with_seed(&bytes, seed)
}

/// The same, uniform in [0, 1).
pub(super) fn draw_unit(seed: u64, salt: Salt, a: u64, b: u64) -> f64 {
    (draw(seed, salt, a, b) >> 11) as f64 / (1u64 << 53) as f64
}

/// A place in a session: the `ordinal`-th record that the session plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Slot {
    pub session: u32,
    pub ordinal: u64,
}

/// How a record is numbered: `p3` 17, or `p3~1` 17 after a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Numbered {
    pub session: u32,
    pub incarnation: u32,
    pub number: u64,
}

impl Numbered {
    /// The session as findings name it.
    pub fn label(&self) -> String {
        label(self.session, self.incarnation)
    }

    pub fn event_id(&self) -> String {
        format!("{}-{}", self.label(), self.number)
    }
}

pub(super) fn label(session: u32, incarnation: u32) -> String {
    match incarnation {
        0 => format!("p{session}"),
        again => format!("p{session}~{again}"),
    }
}

pub(super) struct Layout {
    pub records: u64,
    pub producers: u64,
    pub partitions: i32,
    pub seed: u64,
    pub spread: bool,
    pub interval_us: u64,
    pub wait_us: u64,
    start_ms: i64,
    size: usize,
    keys: u64,
    /// The session that is reset, and at which ordinal.
    pub reset: Option<Slot>,
    /// Rate of null values.
    pub tombstones: f64,
    /// Values of at least this size are a tenth of all.
    large: Option<usize>,
}

impl Layout {
    pub fn new(options: &Options, now_ms: i64) -> Result<Self, OptionsError> {
        options.check()?;
        Ok(Self {
            records: options.records,
            producers: u64::from(options.producers),
            partitions: options.partitions,
            seed: options.seed,
            spread: options.is_spread(),
            interval_us: options.interval_us(),
            wait_us: options.wait_ms.saturating_mul(1000),
            start_ms: options.start_ms(now_ms)?,
            size: options.size,
            keys: (options.records / 10).max(1),
            reset: None,
            tombstones: 0.0,
            large: options.faults.iter().find_map(|fault| match fault.kind.attribute() {
                Some(Attribute::Larger(size)) => Some(*size),
                _ => None,
            }),
        })
    }

    /// Sessions take turns: step s of the plan is the next record of session s mod producers.
    pub fn slot(&self, step: u64) -> Slot {
        Slot { session: (step % self.producers) as u32, ordinal: step / self.producers }
    }

    pub fn step(&self, slot: Slot) -> u64 {
        slot.ordinal * self.producers + u64::from(slot.session)
    }

    /// Records that the session plans.
    pub fn count(&self, session: u32) -> u64 {
        self.records / self.producers + u64::from(u64::from(session) < self.records % self.producers)
    }

    pub fn numbered(&self, slot: Slot) -> Numbered {
        match self.reset {
            Some(reset) if reset.session == slot.session && slot.ordinal >= reset.ordinal => {
                Numbered { session: slot.session, incarnation: 1, number: slot.ordinal - reset.ordinal }
            }
            _ => Numbered { session: slot.session, incarnation: 0, number: slot.ordinal },
        }
    }

    pub fn timestamp(&self, step: u64) -> i64 {
        self.time_of(self.due_us(step))
    }

    /// When the step's record is due, microseconds after the first.
    pub fn due_us(&self, step: u64) -> u64 {
        step * self.interval_us
    }

    pub fn time_of(&self, due_us: u64) -> i64 {
        self.start_ms + (due_us / 1000) as i64
    }

    /// Sessions are spread, and a partition may see no record for a good part of the waiting time.
    pub fn is_sparse(&self) -> bool {
        let between_us = self.interval_us.saturating_mul(u64::from(self.partitions.unsigned_abs()));
        self.spread && between_us.saturating_mul(8) > self.wait_us
    }

    /// The partition of a session that stays on one.
    pub fn home(&self, session: u32) -> Option<i32> {
        (!self.spread).then(|| (i64::from(session) % i64::from(self.partitions)) as i32)
    }

    pub fn partition(&self, slot: Slot) -> i32 {
        self.home(slot.session).unwrap_or_else(|| by_key(self.key(slot).as_bytes(), self.partitions))
    }

    pub fn end_partition(&self, session: u32) -> i32 {
        self.home(session).unwrap_or_else(|| by_key(label(session, 0).as_bytes(), self.partitions))
    }

    /// Keys repeat, ten records each on average, and always live in one partition.
    pub fn key(&self, slot: Slot) -> String {
        let key = draw(self.seed, Salt::Key, u64::from(slot.session), slot.ordinal) % self.keys;
        match self.home(slot.session) {
            Some(home) => {
                format!("order-{}", key * u64::from(self.partitions.unsigned_abs()) + u64::from(home.unsigned_abs()))
            }
            None => format!("order-{key}"),
        }
    }

    pub fn is_tombstone(&self, slot: Slot) -> bool {
        self.tombstones > 0.0
            && draw_unit(self.seed, Salt::Tombstone, u64::from(slot.session), slot.ordinal) < self.tombstones
    }

    /// Whether the record has the attribute.
    pub fn has(&self, attribute: &Attribute, slot: Slot) -> bool {
        match *attribute {
            Attribute::Producer(producer) => slot.session == producer,
            Attribute::Partition(partition) => self.partition(slot) == partition,
            // 32 bits of the hash are kept of every key.
            Attribute::KeyClass { modulus, residue } => {
                u64::from(xxh3_64(self.key(slot).as_bytes()) as u32) % modulus == residue
            }
            Attribute::Larger(_) => self.is_large(slot),
            Attribute::After(share) => self.step(slot) >= self.first_after(share),
        }
    }

    /// The first step after a share of the records.
    pub fn first_after(&self, share: f64) -> u64 {
        (share * self.records as f64).ceil() as u64
    }

    fn is_large(&self, slot: Slot) -> bool {
        self.large.is_some() && draw_unit(self.seed, Salt::Large, u64::from(slot.session), slot.ordinal) < LARGE
    }

    /// Sizes of the two kinds of values, where there are two.
    pub fn sizes(&self) -> Option<(usize, usize)> {
        self.large.map(|large| (self.size, 2 * large))
    }

    /// The order's amount, in cents. `altered` gives the same event another one.
    pub fn cents(&self, slot: Slot, altered: bool) -> u64 {
        draw(self.seed, Salt::Amount, u64::from(slot.session), slot.ordinal) % 100_000 + u64::from(altered)
    }

    /// JSON of about the size asked for.
    pub fn value(&self, slot: Slot, altered: bool) -> String {
        let id = self.numbered(slot).event_id();
        let cents = self.cents(slot, altered);
        let mut value = format!(r#"{{"order":{{"id":"{id}"}},"amount":{}.{:02},"pad":""#, cents / 100, cents % 100);
        let size = self.sizes().filter(|_| self.is_large(slot)).map_or(self.size, |(_, large)| large);
        let pad = size.saturating_sub(value.len() + 2);
        value.extend(std::iter::repeat_n('x', pad));
        value.push_str("\"}");
        value
    }

    /// The next place of the session in the same partition.
    pub fn next_in_partition(&self, slot: Slot) -> Option<Slot> {
        let last = self.count(slot.session);
        let partition = self.partition(slot);
        // The chance to look further than this is e^-16: then there is none.
        let until = last.min(slot.ordinal + 2 + 16 * u64::from(self.partitions.unsigned_abs()));
        (slot.ordinal + 1..until)
            .map(|ordinal| Slot { session: slot.session, ordinal })
            .find(|&next| self.partition(next) == partition)
    }
}

/// Where Kafka's Java producer puts a key: `toPositive(murmur2(key)) % partitions`.
fn by_key(key: &[u8], partitions: i32) -> i32 {
    (murmur2(key) & i32::MAX) % partitions
}

fn murmur2(data: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = word.iter().rev().fold(0u32, |k, &byte| k << 8 | u32::from(byte)).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        hash ^= rest.iter().rev().fold(0u32, |k, &byte| k << 8 | u32::from(byte));
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    (hash ^ hash >> 15) as i32
}

#[cfg(test)]
mod tests {
    use super::murmur2;

    /// Values from Kafka's own `UtilsTest`.
    #[test]
    fn keys_hash_as_in_kafkas_java_client() {
        assert_eq!(murmur2(b"21"), -973_932_308);
        assert_eq!(murmur2(b"foobar"), -790_332_482);
        assert_eq!(murmur2(b"a-little-bit-long-string"), -985_981_536);
        assert_eq!(murmur2(b"abc"), 479_470_107);
    }
}
