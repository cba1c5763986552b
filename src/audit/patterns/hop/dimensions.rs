//! The dimensions that losses of a hop are compared on.

use super::super::attribution::{Dimension, Tally, UNKNOWN};
use super::super::origins::{AGES, NAMES, NO_AGE, Origins, Traits, codec_name};
use super::Sent;

const SIZES: [(i64, &str); 6] =
    [(11, "1 KiB"), (13, "4 KiB"), (15, "16 KiB"), (17, "64 KiB"), (19, "256 KiB"), (21, "1 MiB")];

const PARTITION: usize = 0;
const SIZE: usize = 1;
const HOUR: usize = 2;
const SINCE_PRODUCER: usize = 3;
const SINCE_DEPLOY: usize = 4;
/// From here on what traits say.
const PRODUCER: usize = 5;
const LEADER_EPOCH: usize = 6;
const CODEC: usize = 7;
const SCHEMA: usize = 8;
const DEPLOY: usize = 9;
const HEADERS: usize = 10;
const WIDTH: usize = HEADERS + NAMES;

/// The codes of what a record shares with others.
pub type TraitCodes = [u32; WIDTH - PRODUCER];

pub const NO_TRAITS: TraitCodes = [UNKNOWN; WIDTH - PRODUCER];

pub fn tally() -> Tally {
    let mut dimensions = vec![
        Dimension::names("partition"),
        Dimension::ranges("size", &SIZES),
        Dimension::ranges("hour", &HOURS),
        Dimension::ranges("since-producer", &AGES),
        Dimension::ranges("since-deploy", &AGES),
    ];
    dimensions.extend(["producer", "leader-epoch", "codec", "schema-id", "deploy"].map(Dimension::names));
    // Each has the header's name once it is known.
    dimensions.extend((0..NAMES).map(|_| Dimension::names("header")));
    Tally::new(dimensions)
}

/// Hours of the day in UTC.
const HOURS: [(i64, &str); 23] = {
    const NAMES: [&str; 23] = [
        "1 h UTC", "2 h UTC", "3 h UTC", "4 h UTC", "5 h UTC", "6 h UTC", "7 h UTC", "8 h UTC", "9 h UTC", "10 h UTC",
        "11 h UTC", "12 h UTC", "13 h UTC", "14 h UTC", "15 h UTC", "16 h UTC", "17 h UTC", "18 h UTC", "19 h UTC",
        "20 h UTC", "21 h UTC", "22 h UTC", "23 h UTC",
    ];
    let mut hours = [(0, ""); 23];
    let mut hour = 0;
    while hour < 23 {
        hours[hour] = (hour as i64 + 1, NAMES[hour]);
        hour += 1;
    }
    hours
};

pub fn partition(tally: &mut Tally, partition: i32) -> u32 {
    tally.code(PARTITION, &partition.to_string())
}

/// What traits say, in codes. A header name that is met later was absent until then, so that codes hold until there is one more name.
pub fn traits(tally: &mut Tally, traits: &Traits, origins: &Origins) -> TraitCodes {
    let mut codes = NO_TRAITS;
    let mut put = |tally: &mut Tally, dimension: usize, label: Option<&str>| {
        if let Some(label) = label {
            codes[dimension - PRODUCER] = tally.code(dimension, label);
        }
    };
    let said = &traits.said;
    let producer = (traits.producer >= 0).then(|| traits.producer.to_string());
    put(tally, PRODUCER, producer.as_deref());
    let epoch = (traits.leader_epoch >= 0).then(|| traits.leader_epoch.to_string());
    put(tally, LEADER_EPOCH, epoch.as_deref());
    put(tally, CODEC, traits.codec.map(codec_name));
    put(tally, SCHEMA, said.schema.map(|id| id.to_string()).as_deref());
    put(tally, DEPLOY, said.deploy.and_then(|index| origins.deploys.get(usize::from(index))).map(String::as_str));
    for (bit, name) in origins.names.iter().enumerate().filter(|_| said.is_known) {
        tally.rename(HEADERS + bit, &format!("header:{name}"));
        put(tally, HEADERS + bit, Some(if said.headers >> bit & 1 == 1 { "present" } else { "absent" }));
    }
    codes
}

/// The codes of one record on all dimensions.
pub fn codes(tally: &Tally, sent: &Sent) -> [u32; WIDTH] {
    let mut codes = [UNKNOWN; WIDTH];
    codes[PARTITION] = sent.partition_code;
    codes[SIZE] = tally.bin(SIZE, i64::from(sent.size));
    codes[HOUR] = tally.bin(HOUR, sent.at_ms.div_euclid(3_600_000).rem_euclid(24));
    let age = |age: u8| if age == NO_AGE { UNKNOWN } else { u32::from(age) };
    codes[SINCE_PRODUCER] = age(sent.producer_age);
    codes[SINCE_DEPLOY] = age(sent.deploy_age);
    codes[PRODUCER..].copy_from_slice(&sent.traits);
    codes
}
