//! The figures of one hop: from a stage to the one that comes after it.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer as HdrDeserializer, Serializer as _, V2Serializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::plan::Slo;

/// Minutes kept: six hours and one, as far as burn rates look back.
const MINUTES: usize = 361;
const MINUTE_MS: i64 = 60_000;

/// What happened in one minute of the upstream's record time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minute {
    /// Transactions whose fate is known.
    pub judged: u64,
    /// Of these: missing, late, or slower than the objective.
    pub bad: u64,
    pub latency_ms: u64,
    pub matched: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hop {
    pub matched: u64,
    /// Missing now: what arrived later does not count.
    pub missing: u64,
    /// Seen after the deadline.
    pub late: u64,
    pub mismatched: u64,
    pub unexpected: u64,
    /// Beyond the clock bound before its cause.
    pub early: u64,
    /// Could not be decided: the other side was not read so far back, or its memory was given up.
    pub uncovered: u64,
    /// Record time of the effect less that of the cause, milliseconds; never below zero.
    /// Two digits are exact. None only if it could not be made at all.
    #[serde(serialize_with = "write", deserialize_with = "read")]
    latency: Option<Histogram<u32>>,
    /// By minutes since 1970.
    minutes: BTreeMap<i64, Minute>,
}

impl Default for Hop {
    fn default() -> Self {
        Self {
            matched: 0,
            missing: 0,
            late: 0,
            mismatched: 0,
            unexpected: 0,
            early: 0,
            uncovered: 0,
            latency: Histogram::new(2).ok(),
            minutes: BTreeMap::new(),
        }
    }
}

impl Hop {
    /// An effect was seen `latency_ms` after its cause.
    pub fn matched(&mut self, cause_ms: i64, latency_ms: i64, slo: Option<&Slo>, is_late: bool) {
        self.matched += 1;
        self.late += u64::from(is_late);
        let latency = latency_ms.max(0).unsigned_abs();
        if let Some(all) = &mut self.latency {
            // It grows; what no histogram holds is a clock that is wrong by ages.
            let _ = all.record(latency);
        }
        let is_slow = slo.is_some_and(|slo| latency_ms > slo.latency_ms);
        let minute = self.minute(cause_ms);
        minute.judged += 1;
        minute.matched += 1;
        minute.latency_ms = minute.latency_ms.saturating_add(latency);
        minute.bad += u64::from(is_late || is_slow);
    }

    pub fn missed(&mut self, cause_ms: i64) {
        self.missing += 1;
        let minute = self.minute(cause_ms);
        minute.judged += 1;
        minute.bad += 1;
    }

    fn minute(&mut self, at_ms: i64) -> &mut Minute {
        let minute = at_ms.div_euclid(MINUTE_MS);
        while self.minutes.len() >= MINUTES && !self.minutes.contains_key(&minute) {
            self.minutes.pop_first();
        }
        self.minutes.entry(minute).or_default()
    }

    /// Most effects lie before their causes: that is a matter of clocks.
    pub fn has_other_clock(&self) -> bool {
        self.early > self.matched / 2
    }

    pub fn quantile(&self, share: f64) -> Option<u64> {
        self.latency.as_ref().filter(|all| !all.is_empty()).map(|all| all.value_at_quantile(share))
    }

    pub fn max(&self) -> Option<u64> {
        self.latency.as_ref().filter(|all| !all.is_empty()).map(Histogram::max)
    }

    /// Transactions a second over the minutes that are kept.
    pub fn per_second(&self) -> Option<f64> {
        let (first, last) = (self.minutes.keys().next()?, self.minutes.keys().next_back()?);
        let judged: u64 = self.minutes.values().map(|minute| minute.judged).sum();
        Some(judged as f64 / ((last - first + 1) * 60) as f64)
    }

    /// How many times faster than allowed the error budget of the objective goes, over the last `minutes`. Google's SRE
    /// Workbook, chapter 5: page when one hour and five minutes both burn at 14.4, or six hours and thirty minutes at 6.
    pub fn burn_rate(&self, objective: f64, minutes: i64) -> Option<f64> {
        let last = *self.minutes.keys().next_back()?;
        let window = self.minutes.range(last - minutes + 1..).map(|(_, minute)| minute);
        let (judged, bad) = window.fold((0, 0), |(judged, bad), m| (judged + m.judged, bad + m.bad));
        let budget = 1.0 - objective;
        (judged > 0 && budget > 0.0).then(|| bad as f64 / judged as f64 / budget)
    }

    /// Since which minute (milliseconds since 1970) the mean latency has stayed above three times what was usual before,
    /// for five minutes or more: the hop no longer keeps up, whatever the upstream sends.
    pub fn slower_since(&self) -> Option<i64> {
        const LEAST: usize = 5;
        let means: Vec<(i64, f64)> = self
            .minutes
            .iter()
            .filter(|(_, minute)| minute.matched > 0)
            .map(|(at, minute)| (*at, minute.latency_ms as f64 / minute.matched as f64))
            .collect();
        let (before, after) = (LEAST..=means.len().checked_sub(LEAST)?).find_map(|split| {
            let (before, after) = means.split_at(split);
            let mut usual: Vec<f64> = before.iter().map(|(_, mean)| *mean).collect();
            usual.sort_unstable_by(f64::total_cmp);
            let usual = usual[usual.len() / 2].max(1.0);
            after.iter().all(|(_, mean)| *mean > 3.0 * usual).then_some((usual, after))
        })?;
        (before > 0.0).then(|| after[0].0 * MINUTE_MS)
    }
}

fn write<S: Serializer>(latency: &Option<Histogram<u32>>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut bytes = Vec::new();
    if let Some(latency) = latency {
        V2Serializer::new().serialize(latency, &mut bytes).map_err(serde::ser::Error::custom)?;
    }
    bytes.serialize(serializer)
}

fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Histogram<u32>>, D::Error> {
    let bytes = Vec::<u8>::deserialize(deserializer)?;
    if bytes.is_empty() {
        return Ok(Histogram::new(2).ok());
    }
    let mut latency: Histogram<u32> =
        HdrDeserializer::new().deserialize(&mut bytes.as_slice()).map_err(serde::de::Error::custom)?;
    // A histogram that was read does not grow by itself.
    latency.auto(true);
    Ok(Some(latency))
}
