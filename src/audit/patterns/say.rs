//! The findings of patterns. Their ids name the counter and the period, or the cause: what the figures are may change from one
//! report to the next, which pattern it is does not.

use serde_json::{Map, Value, json};

use super::attribution::{self, Cause};
use super::bursts::Burst;
use super::combs::{Comb, Sequence};
use super::losses::Segment;
use super::periodic::{Periodic, Residues, Unit};
use crate::audit::finding::{Finding, Grade, Kind};
use crate::report::format::{duration, percent, thousands};

/// A pattern this unlikely by chance is proven; above it, it is possible.
const PROVEN_LN_P: f64 = -13.8;
/// Phases listed in a finding.
const PHASES: usize = 16;

/// What was counted, and of what.
#[derive(Clone, Debug)]
pub struct Subject {
    pub topic: String,
    /// Flow and stage.
    pub stage: Option<(String, String)>,
    /// `session-number`, `partition-rank`, `transaction-number`, `offset`.
    pub counter: &'static str,
    /// A partition or a session, where the counter is only of it.
    pub place: String,
    /// What happens to the numbers: `lost`, `duplicated`, `conflicting`, `late`, `reordered`.
    pub what: &'static str,
}

impl Subject {
    fn finding(&self, kind: Kind, says: &str, why: String, ln_p: f64) -> Finding {
        let (flow, stage) = self.stage.as_ref().map_or(("", ""), |(flow, stage)| (flow, stage));
        let mut finding =
            Finding::new(kind, &self.topic, &[&flow, &stage, &self.counter, &self.place, &self.what, &says], why);
        finding.grade = if ln_p < PROVEN_LN_P { Grade::Proven } else { Grade::Possible };
        finding.cause = Some(self.what.to_owned());
        if !flow.is_empty() {
            finding = finding.evidence("flow", flow).evidence("stage", stage);
        }
        let finding = finding.evidence("counter", self.counter).evidence("ln_p", round(ln_p));
        if self.place.is_empty() { finding } else { finding.evidence("of", self.place.as_str()) }
    }

    fn counted(&self) -> String {
        let counter = self.counter.replace('-', " ");
        if self.place.is_empty() { counter } else { format!("{counter} of {}", self.place) }
    }

    /// `None` for what clusters of losses explain. `segments`: those it was found in.
    pub fn periodic(&self, found: &Periodic, segments: &[Segment]) -> Option<Finding> {
        if found.burst_like {
            return None;
        }
        let unit = match found.unit {
            Unit::Number => format!("every {} {}", ordinal(found.n), self.counted()),
            Unit::Outage => format!("an outage at every {} {}", ordinal(found.n), self.counted()),
        };
        let rate = |share: f64| percent_of(share);
        let next: Vec<String> = found.next.iter().map(|number| number.to_string()).collect();
        let why = format!(
            "{unit} is {}: {} of {} with residue {} modulo {} ({}), {} of all others; the next to be {} are {}",
            self.what,
            thousands(found.hits),
            thousands(found.eligible),
            found.residue,
            found.n,
            rate(found.hit_rate),
            rate(found.background),
            self.what,
            next.join(", ")
        );
        let says = format!("{}{}", found.n, if found.unit == Unit::Outage { " outages" } else { "" });
        let mut finding = self.finding(Kind::PeriodicLoss, &says, why, found.ln_p);
        finding.count = found.hits;
        finding.first_seen = Some(found.first.ms);
        finding.last_seen = Some(found.last.ms);
        let (low, high) = found.hit_rate_interval;
        let phases: Vec<Value> =
            found.phases.iter().take(PHASES).map(|p| json!({"segment": p.segment, "residue": p.residue})).collect();
        let mut finding = finding
            .evidence("n", found.n)
            .evidence("residue", found.residue)
            .evidence("hits", found.hits)
            .evidence("eligible", found.eligible)
            .evidence("hit_rate", round(found.hit_rate))
            .evidence("hit_rate_interval", json!([round(low), round(high)]))
            .evidence("background_rate", round(found.background))
            .evidence("share_of_loss", round(found.share))
            .evidence("first_number", found.first.number)
            .evidence("last_number", found.last.number)
            .evidence("next", json!(found.next))
            .evidence("exact", found.exact)
            .evidence("residues", json!(Residues::of(found, segments)));
        if found.width > 1 {
            finding = finding.evidence("width", found.width);
        }
        Some(if phases.is_empty() { finding } else { finding.evidence("phases", json!(phases)) })
    }

    pub fn burst(&self, found: &Burst, segments: &[Segment]) -> Option<Finding> {
        let longest = found.longest.as_ref().filter(|_| found.bursty)?;
        let mean = found.mean_length;
        let why = format!(
            "what is {} by {} comes in bursts: {} numbers in {} loss periods (RFC 3357), {mean:.1} on average, up to {}; independent ones would not meet so often",
            self.what,
            self.counted(),
            thousands(found.lost),
            thousands(found.periods),
            thousands(longest.run.count())
        );
        let mut finding = self.finding(Kind::Burst, "", why, found.ln_p);
        finding.count = found.lost;
        let runs = || segments.iter().flat_map(|segment| &segment.losses);
        finding.first_seen = runs().map(|run| run.first_ms).min();
        finding.last_seen = runs().map(|run| run.last_ms).max();
        Some(
            finding
                .evidence("loss_periods", found.periods)
                .evidence("mean_length", round(mean))
                .evidence("longest", longest.run.count())
                .evidence("longest_from", longest.run.from)
                .evidence("noticeable_rate", round(found.noticeable)),
        )
    }

    /// Retries without jitter.
    pub fn comb(&self, found: &Comb) -> Finding {
        let delays: Vec<String> =
            found.teeth.iter().map(|tooth| duration(tooth.delay_ms.max(0).unsigned_abs())).collect();
        let ln_p = found.teeth.iter().map(|tooth| tooth.ln_p).fold(0.0, f64::min);
        let how = match found.sequence {
            Sequence::Fixed { pause_ms } => format!("a fixed pause of {}", duration(pause_ms.max(0).unsigned_abs())),
            Sequence::Exponential { base } => format!("pauses that grow {base:.1} times each"),
            Sequence::Unknown => "no pattern between the pauses".to_owned(),
        };
        let mut why = format!(
            "the same records come again {} after their first, across many moments: retries in step, with {how} and without jitter; they are {} of the traffic",
            delays.join(", "),
            percent_of(found.share_of_traffic)
        );
        if let Some(peak) = &found.peak {
            why.push_str(&format!(", up to {} in one second of the sample", thousands(peak.repeats)));
        }
        let mut finding = self.finding(Kind::RetryComb, "", why, ln_p);
        finding.count = found.identities;
        finding
            .evidence("delays_ms", json!(found.teeth.iter().map(|tooth| tooth.delay_ms).collect::<Vec<_>>()))
            .evidence("teeth", json!(found.teeth))
            .evidence("shares", json!(found.teeth.iter().map(|tooth| round(tooth.share)).collect::<Vec<_>>()))
            .evidence("sequence", json!(found.sequence))
            .evidence("jitter", round(found.jitter))
            .evidence("share_of_traffic", round(found.share_of_traffic))
            .evidence("peak", json!(found.peak))
            .evidence("sampled", "one identity in 16")
    }

    pub fn cause(&self, found: &Cause) -> Finding {
        let named = |dimension: &str, value: &str| match dimension.split_once(':') {
            Some((what, name)) => format!("{what} {name} {value}"),
            None => format!("{} {value}", dimension.replace('-', " ")),
        };
        let mut name = named(&found.dimension, &found.value);
        if let Some(pair) = &found.pair {
            name = format!("{name} together with {}", named(&pair.dimension, &pair.value));
        }
        let mut why = format!(
            "{name}: {} of {} are {} ({}), {} of all others; this explains {} of them",
            thousands(found.lost),
            thousands(found.sent),
            self.what,
            percent_of(found.rate),
            percent_of(found.rest_rate),
            percent_of(found.explained)
        );
        let ties: Vec<String> = found.ties.iter().map(|tie| named(&tie.dimension, &tie.value)).collect();
        if !ties.is_empty() {
            why.push_str(&format!("; {} cannot be told from it", ties.join(", ")));
        }
        let mut finding = self.finding(Kind::DimensionalLoss, &name, why, found.ln_p);
        finding.count = found.lost;
        let mut pair = Map::new();
        if let Some(second) = &found.pair {
            pair.insert("dimension".to_owned(), second.dimension.clone().into());
            pair.insert("value".to_owned(), second.value.clone().into());
        }
        finding = finding
            .evidence("dimension", found.dimension.as_str())
            .evidence("value", found.value.as_str())
            .evidence("lost", found.lost)
            .evidence("sent", found.sent)
            .evidence("rate", round(found.rate))
            .evidence("rest_rate", round(found.rest_rate))
            .evidence("risk_ratio", round(found.risk_ratio))
            .evidence("explained", round(found.explained));
        if !pair.is_empty() {
            finding = finding.evidence("together_with", pair);
        }
        if !ties.is_empty() {
            let ties = found.ties.iter().map(|tie| json!({"dimension": tie.dimension, "value": tie.value}));
            finding = finding.evidence("ties", ties.collect::<Vec<Value>>());
        }
        if let Some(attribution::Since { time_ms, before_rate, after_rate, .. }) = found.since {
            finding.first_seen = Some(time_ms);
            finding = finding
                .evidence("since_ms", time_ms)
                .evidence("rate_before", round(before_rate))
                .evidence("rate_after", round(after_rate));
        }
        finding
    }
}

/// Six significant digits: more would differ from one machine to the next.
fn round(value: f64) -> Value {
    match format!("{value:.5e}").parse::<f64>() {
        Ok(rounded) if rounded.is_finite() => json!(rounded),
        _ => Value::Null,
    }
}

fn percent_of(share: f64) -> String {
    const PARTS: f64 = 1e6;
    percent((share.clamp(0.0, 1.0) * PARTS).round() as u64, PARTS as u64)
}

/// 1st, 2nd, 3rd, 4th.
fn ordinal(n: u64) -> String {
    let ending = match (n % 100, n % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{n}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_read_as_people_write_them() {
        for (n, expected) in [(2, "2nd"), (3, "3rd"), (11, "11th"), (100, "100th"), (101, "101st"), (112, "112th")] {
            assert_eq!(ordinal(n), expected);
        }
    }
}
