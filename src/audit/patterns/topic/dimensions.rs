//! The dimensions of a topic's losses, and the codes of their values.

use rustc_hash::FxHashMap;

use super::super::attribution::{Dimension, Tally, UNKNOWN};
use super::super::origins::codec_name;
use crate::identify::facts::BatchFacts;

const PARTITION: usize = 0;
const PRODUCER: usize = 1;
const LEADER_EPOCH: usize = 2;
const CODEC: usize = 3;
const HOUR: usize = 4;
const SESSION: usize = 5;
const WIDTH: usize = 6;

const HOURS: [&str; 24] = [
    "0 h UTC", "1 h UTC", "2 h UTC", "3 h UTC", "4 h UTC", "5 h UTC", "6 h UTC", "7 h UTC", "8 h UTC", "9 h UTC",
    "10 h UTC", "11 h UTC", "12 h UTC", "13 h UTC", "14 h UTC", "15 h UTC", "16 h UTC", "17 h UTC", "18 h UTC",
    "19 h UTC", "20 h UTC", "21 h UTC", "22 h UTC", "23 h UTC",
];

/// What is known of a record.
pub struct Beside<'a> {
    pub partition: Option<i32>,
    pub facts: BatchFacts,
    pub at_ms: i64,
    /// Known of what is looked at or lost, not of what is counted by batch.
    pub session: Option<&'a str>,
}

pub fn tally(sample: usize) -> Tally {
    let hours: Vec<(i64, &str)> = (1..24).map(|hour| (hour, HOURS[hour as usize])).collect();
    let dimensions = vec![
        Dimension::names("partition"),
        Dimension::names("producer"),
        Dimension::names("leader-epoch"),
        Dimension::names("codec"),
        Dimension::ranges("hour", &hours),
        Dimension::names("session").sampled(),
    ];
    Tally::with_sample(dimensions, sample)
}

/// Codes that were asked for before: a batch costs no text.
#[derive(Clone, Debug, Default)]
pub struct Codes {
    numbers: FxHashMap<(usize, i64), u32>,
}

impl Codes {
    pub fn of(&mut self, tally: &mut Tally, beside: &Beside<'_>) -> [u32; WIDTH] {
        let mut codes = [UNKNOWN; WIDTH];
        let mut put = |tally: &mut Tally, dimension: usize, number: i64| {
            let known = self.numbers.entry((dimension, number));
            codes[dimension] = *known.or_insert_with(|| tally.code(dimension, &number.to_string()));
        };
        if let Some(partition) = beside.partition {
            put(tally, PARTITION, i64::from(partition));
        }
        if beside.facts.producer >= 0 {
            put(tally, PRODUCER, beside.facts.producer);
        }
        if beside.facts.leader_epoch >= 0 {
            put(tally, LEADER_EPOCH, i64::from(beside.facts.leader_epoch));
        }
        if let Some(codec) = beside.facts.codec {
            codes[CODEC] = tally.code(CODEC, codec_name(codec as u8));
        }
        codes[HOUR] = tally.bin(HOUR, beside.at_ms.div_euclid(3_600_000).rem_euclid(24));
        if let Some(session) = beside.session {
            codes[SESSION] = tally.code(SESSION, session);
        }
        codes
    }
}
