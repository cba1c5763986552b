//! Identities seen more than once: duplicates and conflicts, with their cause.
//!
//! The ledger reports every arrival of a known identity together with the sighting it keeps. Which of the arrivals it
//! keeps depends on the order in which partitions were read; a [`Case`] gathers them all, so the findings do not.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::finding::{Finding, Grade, Identity, Kind, Rung, Sighting};
use crate::ledger::{Producer, Repeat, Seen};

/// Cases listed; beyond them arrivals are counted and not listed.
pub const CASES_KEPT: usize = 500_000;
/// Sightings listed per finding.
const SIGHTINGS_KEPT: usize = 16;
/// Copies in step that make a replay: that many duplicates in a row at one distance from their originals.
const REPLAY_RUN: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Place {
    second: u32,
    partition: u32,
    offset: i64,
    producer: (i64, i16),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Copies {
    count: u64,
    /// The earliest ones.
    places: Vec<Place>,
}

/// All arrivals of one identity, by content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    contents: BTreeMap<u64, Copies>,
    /// In clear, only with `--show-keys`.
    pub value: Option<String>,
}

impl Case {
    fn add(&mut self, seen: &Seen) {
        let place = Place {
            second: seen.second,
            partition: seen.partition,
            offset: seen.offset,
            producer: (seen.producer.id, seen.producer.epoch),
        };
        let copies = self.contents.entry(seen.checksum).or_default();
        if let Err(at) = copies.places.binary_search(&place) {
            copies.count += 1;
            copies.places.insert(at, place);
            copies.places.truncate(SIGHTINGS_KEPT);
        }
    }

    /// The arrivals that are listed, and how many there were.
    pub fn arrivals(&self) -> (Vec<Seen>, u64) {
        let seen = |(&checksum, place): (&u64, &Place)| Seen {
            partition: place.partition,
            offset: place.offset,
            second: place.second,
            checksum,
            producer: Producer { id: place.producer.0, epoch: place.producer.1 },
        };
        let all = self.contents.iter().flat_map(|(checksum, copies)| copies.places.iter().map(move |p| (checksum, p)));
        (all.map(seen).collect(), self.contents.values().map(|copies| copies.count).sum())
    }

    /// What is said of it; a replay shows itself only among many cases.
    pub fn findings(&self, identity: u128, rung: Rung, names: &dyn Names) -> Vec<Finding> {
        let mut out = Vec::new();
        findings_of(identity, self, rung, &FxHashMap::default(), names, &mut out);
        out
    }

    /// Content of the earliest arrival.
    fn original(&self) -> Option<u64> {
        self.contents.iter().min_by_key(|(_, copies)| copies.places.first().copied()).map(|(&checksum, _)| checksum)
    }
}

/// Where the ledger's partition numbers lead.
pub trait Names {
    /// Topic and partition of the engine's number.
    fn name(&self, partition: u32) -> (&str, i32);
}

#[derive(Default)]
pub struct Duplicates {
    cases: FxHashMap<u128, Case>,
    changed: Vec<u128>,
    /// Arrivals counted beyond [`CASES_KEPT`].
    pub unlisted: u64,
}

impl Duplicates {
    /// A case from the ledger's journal.
    pub fn restore(&mut self, identity: u128, case: Case) {
        self.cases.insert(identity, case);
    }

    /// Returns whether the arrival is listed.
    pub fn add(&mut self, repeat: &Repeat, value: Option<String>) {
        let room = self.cases.len() < CASES_KEPT;
        let case = match self.cases.entry(repeat.identity) {
            std::collections::hash_map::Entry::Occupied(case) => case.into_mut(),
            std::collections::hash_map::Entry::Vacant(free) if room => {
                let case = free.insert(Case::default());
                case.add(&repeat.first);
                case
            }
            std::collections::hash_map::Entry::Vacant(_) => {
                self.unlisted += 1;
                return;
            }
        };
        case.add(&repeat.again);
        case.value = case.value.take().or(value);
        self.changed.push(repeat.identity);
    }

    pub fn case(&self, identity: u128) -> Option<&Case> {
        self.cases.get(&identity)
    }

    /// Cases that changed since the last call.
    pub fn take_changed(&mut self) -> Vec<(u128, &Case)> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        changed.into_iter().filter_map(|id| self.cases.get(&id).map(|case| (id, case))).collect()
    }

    /// Σ (arrivals − 1) over equal contents, and arrivals with other content than the original.
    pub fn counts(&self) -> (u64, u64) {
        let mut counts = (0, 0);
        for case in self.cases.values() {
            counts.0 += case.contents.values().map(|copies| copies.count - 1).sum::<u64>();
            counts.1 += case.contents.len() as u64 - 1;
        }
        counts
    }

    pub fn findings(&self, rung: Rung, names: &dyn Names, out: &mut Vec<Finding>) {
        let replays = self.replays();
        for (&identity, case) in &self.cases {
            findings_of(identity, case, rung, &replays, names, out);
        }
    }

    /// Only those of one case, as it becomes known; a replay shows itself later.
    pub fn findings_of(&self, identity: u128, rung: Rung, names: &dyn Names, out: &mut Vec<Finding>) {
        if let Some(case) = self.cases.get(&identity) {
            findings_of(identity, case, rung, &FxHashMap::default(), names, out);
        }
    }

    /// Identities whose copies stand in step with their originals: a source range that was sent again.
    fn replays(&self) -> FxHashMap<u128, usize> {
        let mut copies: Vec<(u32, i64, u32, i64, u128)> = Vec::new();
        for (&identity, case) in &self.cases {
            for equal in case.contents.values() {
                if let [first, .., again] = equal.places[..] {
                    copies.push((again.partition, again.offset, first.partition, first.offset, identity));
                }
            }
        }
        copies.sort_unstable();
        let in_step = |a: &(u32, i64, u32, i64, u128), b: &(u32, i64, u32, i64, u128)| {
            (a.0, a.2) == (b.0, b.2) && b.1 - a.1 == b.3 - a.3
        };
        copies
            .chunk_by(in_step)
            .filter(|run| run.len() >= REPLAY_RUN)
            .flat_map(|run| run.iter().map(|copy| (copy.4, run.len())))
            .collect()
    }
}

fn findings_of(
    identity: u128,
    case: &Case,
    rung: Rung,
    replays: &FxHashMap<u128, usize>,
    names: &dyn Names,
    out: &mut Vec<Finding>,
) {
    for (&checksum, copies) in case.contents.iter().filter(|(_, copies)| copies.count > 1) {
        let (cause, how) = cause(copies, replays.get(&identity).copied());
        let why = format!("one record stands {} times in the log, with equal content: {how}", copies.count);
        let sightings = copies.places.iter().map(|place| sighting(place, checksum, names)).collect();
        let hash = format!("{checksum:016x}");
        let mut finding = finding(Kind::Duplicate, identity, case, rung, &hash, sightings, why);
        finding.count = copies.count - 1;
        finding.cause = Some(cause.to_owned());
        out.push(finding);
    }
    if case.contents.len() > 1 {
        let original = case.original();
        let why = format!("one identity stands in the log with {} different contents", case.contents.len());
        let mut firsts: Vec<(Place, u64)> = Vec::new();
        for (&checksum, copies) in &case.contents {
            firsts.extend(copies.places.first().map(|&place| (place, checksum)));
        }
        firsts.sort_unstable();
        let sightings = firsts.iter().map(|(place, checksum)| sighting(place, *checksum, names)).collect();
        let mut finding = finding(Kind::Conflict, identity, case, rung, "", sightings, why);
        finding.count = case.contents.len() as u64 - 1;
        out.push(finding.evidence("original_checksum", json!(original.map(|c| format!("{c:016x}")))));
    }
}

fn finding(
    kind: Kind,
    identity: u128,
    case: &Case,
    rung: Rung,
    says: &str,
    sightings: Vec<Sighting>,
    why: String,
) -> Finding {
    let hash = format!("{identity:032x}");
    let topic = sightings.first().map_or_else(String::new, |s| s.topic.clone());
    let mut finding = Finding::new(kind, &topic, &[&hash, &says], why);
    let partition = sightings.first().map(|s| s.partition);
    finding.partition = partition.filter(|p| sightings.iter().all(|s| s.partition == *p));
    finding.first_seen = sightings.iter().map(|s| s.timestamp).min();
    finding.last_seen = sightings.iter().map(|s| s.timestamp).max();
    finding.identity = Some(Identity { rung, hash, value: case.value.clone() });
    finding.sightings = sightings;
    if rung == Rung::Content {
        finding.grade = Grade::Possible;
        finding.why.push_str("; without an id, equal contents may be two events");
    }
    finding
}

fn sighting(place: &Place, checksum: u64, names: &dyn Names) -> Sighting {
    let (topic, partition) = names.name(place.partition);
    Sighting::new(topic, partition, place.offset, i64::from(place.second) * 1000, checksum)
}

fn cause(copies: &Copies, replay: Option<usize>) -> (&'static str, String) {
    if let Some(run) = replay {
        return ("replay", format!("{run} records in a row were sent again in the same order"));
    }
    let mut producers = copies.places.iter().map(|place| place.producer);
    let first = producers.next().unwrap_or((-1, -1));
    if first.0 == Producer::NONE.id || copies.places.iter().any(|place| place.producer.0 < 0) {
        ("unknown", "the batches name no producer, so who repeated it is not known".to_owned())
    } else if producers.all(|producer| producer == first) {
        ("resend", format!("producer {} epoch {} sent it again under new sequence numbers", first.0, first.1))
    } else {
        ("retry", "another producer id or epoch sent it again: a retry after a restart, or two writers".to_owned())
    }
}
