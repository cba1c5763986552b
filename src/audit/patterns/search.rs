//! Several counters of the same losses: each is searched, and what one of them explains is not told again by the others.

use serde_json::{Value, json};

use super::losses::Segment;
use super::periodic::{Judgement, Periodic};
use super::say::Subject;
use super::summary::{Found, Searched};
use super::{bursts, local, periodic};

/// A period that explains so much of the loss leaves nothing for another counter to say.
const EXPLAINS: f64 = 0.5;
/// A counter that was made from what was seen must be so much stronger than one that records carry.
const HANDICAP: f64 = 0.9;

/// A counter to be searched.
pub struct Counter {
    pub subject: Subject,
    pub segments: Vec<Segment>,
    /// Made from what was seen, not carried by records: its numbers are worth less than those of others.
    pub is_derived: bool,
    /// Many short segments: a loss rate that changes along them must not be taken for a period.
    pub is_short: bool,
    /// Records that it does not cover.
    pub uncovered: u64,
}

impl Counter {
    pub fn new(subject: Subject, segments: Vec<Segment>) -> Self {
        Self { subject, segments, is_derived: false, is_short: false, uncovered: 0 }
    }

    fn judge(&self, settings: &periodic::Settings) -> Judgement {
        if !self.is_short {
            return periodic::judge(&self.segments, settings);
        }
        // Where the longest segment has not two cycles, no number can be told from every nth.
        let longest = self.segments.iter().map(Segment::trials).max().unwrap_or(0);
        let largest_period = settings.largest_period.min(u32::try_from(longest / 2).unwrap_or(u32::MAX));
        let mut judgement = periodic::judge(&self.segments, &periodic::Settings { largest_period, ..*settings });
        judgement.periods.retain(|period| local::stands_out(period, &self.segments));
        judgement
    }
}

/// `looks`: how often counters that grow are looked at.
pub fn search(counters: &[Counter], looks: u64, found: &mut Found) {
    let settings = periodic::Settings { counters: counters.len() as u64 * looks, ..Default::default() };
    let mut judged: Vec<(&Counter, Judgement)> =
        counters.iter().map(|counter| (counter, counter.judge(&settings))).collect();
    for (counter, judgement) in &judged {
        found.searched.push(Searched::new(counter, judgement.limits.clone()));
    }
    judged.retain(|(_, judgement)| judgement.periods.iter().any(|period| !period.burst_like));
    judged.sort_by(|a, b| strength(a).total_cmp(&strength(b)));
    let mut also: Vec<Value> = Vec::new();
    let mut told = Vec::new();
    let mut named: Vec<u64> = Vec::new();
    for (number, (counter, judgement)) in judged.iter().enumerate() {
        let is_explained = number > 0 && share(&judged[0].1) >= EXPLAINS;
        for period in &judgement.periods {
            // The same losses, counted in another way.
            let is_same = counter.is_derived && named.iter().any(|n| n % period.n == 0 || period.n % n == 0);
            match counter.subject.periodic(period, &counter.segments) {
                Some(finding) if !is_explained && !is_same => told.push((period.n, finding)),
                Some(_) => also.push(in_short(&counter.subject, period)),
                None => {}
            }
        }
        named.extend(told[named.len()..].iter().map(|(n, _)| *n));
    }
    if let Some((_, first)) = told.first_mut()
        && !also.is_empty()
    {
        first.evidence.insert("also".to_owned(), json!(also));
    }
    found.findings.extend(told.into_iter().map(|(_, finding)| finding));
    burst(counters, &settings, found);
}

/// The counter along which losses meet most; one that is covered by fewer numbers sees the same bursts less well. Along a counter that
/// was made, a bad key or a bad partition is no burst.
fn burst(counters: &[Counter], settings: &periodic::Settings, found: &mut Found) {
    let settings = bursts::Settings { counters: settings.counters, ..Default::default() };
    let own = counters.iter().filter(|counter| !counter.is_derived);
    let judged = own.map(|counter| (counter, bursts::judge(&counter.segments, &settings)));
    if let Some((counter, burst)) = judged.min_by(|(.., a), (.., b)| a.ln_p.total_cmp(&b.ln_p)) {
        found.findings.extend(counter.subject.burst(&burst, &counter.segments));
    }
}

fn strength((counter, judgement): &(&Counter, Judgement)) -> f64 {
    let strongest = judgement.periods.iter().filter(|period| !period.burst_like).map(|period| period.ln_p);
    strongest.fold(0.0, f64::min) * if counter.is_derived { HANDICAP } else { 1.0 }
}

fn share(judgement: &Judgement) -> f64 {
    judgement.periods.iter().filter(|period| !period.burst_like).map(|period| period.share).sum()
}

fn in_short(subject: &Subject, period: &Periodic) -> Value {
    json!({"counter": subject.counter, "of": subject.place, "n": period.n, "residue": period.residue})
}
