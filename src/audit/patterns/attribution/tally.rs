//! What is counted while records pass: exact totals for each value, and samples for everything that asks for two attributes at once.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::bins::TimeBins;
use super::sample::{Sample, Unit};

/// Distinct values of a dimension that are told apart.
pub const MOST_VALUES: usize = 1024;

/// Any value beyond the first [`MOST_VALUES`] of a dimension. It is part of "the rest", never a cause.
pub const OTHER: u32 = u32::MAX - 1;

/// Units kept with all their attributes, of those that arrived and of those that were lost, at most.
pub const SAMPLE: usize = 16_384;

/// Of units that are lost together, so many are looked at: they are one witness anyway.
const TOGETHER: u64 = 1024;

/// An attribute of every unit, and what is counted of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dimension {
    pub(super) name: String,
    /// Values by code; of a numeric dimension, the lower edges of the bins from the second on.
    labels: Vec<String>,
    codes: FxHashMap<String, u32>,
    edges: Option<Vec<i64>>,
    /// Not every unit is counted: only the samples know.
    pub(super) is_sampled: bool,
    pub(super) arrived: Vec<u64>,
    pub(super) lost: Vec<u64>,
    other_arrived: u64,
    other_lost: u64,
}

impl Dimension {
    /// A dimension of names, such as a producer or a partition.
    pub fn names(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            labels: Vec::new(),
            codes: FxHashMap::default(),
            edges: None,
            is_sampled: false,
            arrived: Vec::new(),
            lost: Vec::new(),
            other_arrived: 0,
            other_lost: 0,
        }
    }

    /// The same, but known of sampled units only: see [`Tally::arrived_together`].
    pub fn sampled(self) -> Self {
        Self { is_sampled: true, ..self }
    }

    /// A number cut into bins at `edges`, each with the words for it ("64 KiB"), ascending and at most 63. Neighbouring bins
    /// are merged into the range that fits best.
    pub fn ranges(name: &str, edges: &[(i64, &str)]) -> Self {
        let edges = &edges[..edges.len().min(63)];
        let bins = edges.len() + 1;
        Self {
            labels: edges.iter().map(|(_, label)| (*label).to_owned()).collect(),
            edges: Some(edges.iter().map(|(edge, _)| *edge).collect()),
            arrived: vec![0; bins],
            lost: vec![0; bins],
            ..Self::names(name)
        }
    }

    /// The code of a number; only for [`Dimension::ranges`], else [`super::UNKNOWN`].
    pub fn bin(&self, value: i64) -> u32 {
        self.edges.as_ref().map_or(super::UNKNOWN, |edges| edges.partition_point(|edge| *edge <= value) as u32)
    }

    fn code(&mut self, label: &str) -> u32 {
        if let Some(code) = self.codes.get(label) {
            return *code;
        }
        if self.edges.is_some() || self.labels.len() >= MOST_VALUES {
            return OTHER;
        }
        let code = self.labels.len() as u32;
        self.labels.push(label.to_owned());
        self.codes.insert(label.to_owned(), code);
        self.arrived.push(0);
        self.lost.push(0);
        code
    }

    pub(super) fn is_numeric(&self) -> bool {
        self.edges.is_some()
    }

    pub(super) fn is_capped(&self) -> bool {
        self.other_arrived + self.other_lost > 0
    }

    pub(super) fn known_arrived(&self) -> u64 {
        self.arrived.iter().sum::<u64>() + self.other_arrived
    }

    pub(super) fn known_lost(&self) -> u64 {
        self.lost.iter().sum::<u64>() + self.other_lost
    }

    /// The words for the codes `low..=high`, which are one code unless the dimension is numeric.
    pub(super) fn label(&self, low: u32, high: u32) -> String {
        let edge = |i: u32| self.labels.get(i as usize).map_or("", String::as_str);
        if self.edges.is_none() {
            return edge(low).to_owned();
        }
        match (low, high as usize + 1 == self.arrived.len()) {
            (0, true) => "any".to_owned(),
            (0, false) => format!("< {}", edge(high)),
            (_, true) => format!("≥ {}", edge(low - 1)),
            _ => format!("{} to {}", edge(low - 1), edge(high)),
        }
    }

    fn count(&mut self, code: u32, lost: bool, units: u64) {
        let (counts, other) = match lost {
            false => (&mut self.arrived, &mut self.other_arrived),
            true => (&mut self.lost, &mut self.other_lost),
        };
        match counts.get_mut(code as usize) {
            Some(count) => *count += units,
            None if code == OTHER => *other += units,
            None => {}
        }
    }
}

/// A population of units, fed one at a time in any order. A unit that arrives costs one addition for each dimension, one for its time
/// and a hash; one in (arrived / 16,384) is kept whole. At most 2 × 16,384 units of 40 + 4 × dimensions bytes are kept: 3 MB
/// with 12 dimensions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub(super) dimensions: Vec<Dimension>,
    pub(super) arrivals: Sample,
    pub(super) losses: Sample,
    pub(super) times: TimeBins,
}

impl Tally {
    pub fn new(dimensions: Vec<Dimension>) -> Self {
        Self::with_sample(dimensions, SAMPLE)
    }

    /// With room for another number of units than [`SAMPLE`].
    pub fn with_sample(dimensions: Vec<Dimension>, units: usize) -> Self {
        let width = dimensions.len();
        let sample = Sample::new(units, width);
        Self { dimensions, arrivals: sample.clone(), losses: sample, times: TimeBins::default() }
    }

    /// The code of a value of a dimension of names; [`OTHER`] when it has too many. Look it up once for each batch, producer or
    /// partition rather than for each record.
    pub fn code(&mut self, dimension: usize, label: &str) -> u32 {
        self.dimensions.get_mut(dimension).map_or(super::UNKNOWN, |dimension| dimension.code(label))
    }

    /// Gives a dimension its name, where that is known only later.
    pub fn rename(&mut self, dimension: usize, name: &str) {
        if let Some(dimension) = self.dimensions.get_mut(dimension).filter(|dimension| dimension.name != name) {
            name.clone_into(&mut dimension.name);
        }
    }

    /// The code of a number in a numeric dimension.
    pub fn bin(&self, dimension: usize, value: i64) -> u32 {
        self.dimensions.get(dimension).map_or(super::UNKNOWN, |dimension| dimension.bin(value))
    }

    /// A unit that was sent and arrived.
    pub fn arrived(&mut self, unit: &Unit<'_>) {
        for (dimension, code) in self.dimensions.iter_mut().zip(unit.codes) {
            dimension.count(*code, false, 1);
        }
        self.times.add(unit.time_ms, 1, 0);
        self.arrivals.offer(unit);
    }

    /// A unit that was sent and is lost: not one that [`Tally::arrived`] was told of.
    pub fn lost(&mut self, unit: &Unit<'_>) {
        for (dimension, code) in self.dimensions.iter_mut().zip(unit.codes) {
            dimension.count(*code, true, 1);
        }
        self.times.add(unit.time_ms, 0, 1);
        self.losses.offer(unit);
    }

    /// Units that arrived and have these codes; whatever is not among them is known of [sampled](Tally::sampled) units only.
    pub fn arrived_together(&mut self, codes: &[u32], time_ms: i64, units: u64) {
        for (dimension, code) in self.dimensions.iter_mut().zip(codes) {
            dimension.count(*code, false, units);
        }
        self.times.add(time_ms, units, 0);
        self.arrivals.count(units);
    }

    /// One of those that arrived together, drawn so that each has `zeros` or more with a chance of 2^−`zeros`.
    pub fn sampled(&mut self, unit: &Unit<'_>, zeros: u32) {
        self.arrivals.keep(unit, zeros);
    }

    /// Keeps, of those that were drawn, the ones with so many zeros.
    pub fn thin_to(&mut self, zeros: u32) {
        self.arrivals.thin_to(zeros);
    }

    /// Units of which nothing tells one from another are lost.
    pub fn lost_together(&mut self, unit: &Unit<'_>, units: u64) {
        for (dimension, code) in self.dimensions.iter_mut().zip(unit.codes) {
            dimension.count(*code, true, units);
        }
        self.times.add(unit.time_ms, 0, units);
        (0..units.min(TOGETHER)).for_each(|_| self.losses.offer(unit));
        self.losses.count(units.saturating_sub(TOGETHER));
    }
}
