//! Several counters of the same losses: each is searched, and what one of them explains is not told again by the others.

use serde_json::{Value, json};

use super::losses::Segment;
use super::periodic::{Judgement, Periodic};
use super::say::Subject;
use super::summary::{Found, Searched};
use super::{bursts, periodic};

/// A period that explains so much of the loss leaves nothing for another counter to say.
const EXPLAINS: f64 = 0.5;

/// `looks`: how often counters that grow are looked at.
pub fn search(counters: &[(Subject, Vec<Segment>)], looks: u64, found: &mut Found) {
    let settings = periodic::Settings { counters: counters.len() as u64 * looks, ..Default::default() };
    let mut judged: Vec<(&(Subject, Vec<Segment>), Judgement)> =
        counters.iter().map(|counter| (counter, periodic::judge(&counter.1, &settings))).collect();
    for ((subject, _), judgement) in &judged {
        found.searched.push(Searched::new(subject, judgement.limits.clone()));
    }
    judged.retain(|(_, judgement)| judgement.periods.iter().any(|period| !period.burst_like));
    judged.sort_by(|(_, a), (_, b)| strongest(a).total_cmp(&strongest(b)));
    let mut also: Vec<Value> = Vec::new();
    let mut told = Vec::new();
    for (number, ((subject, segments), judgement)) in judged.iter().enumerate() {
        let is_explained = number > 0 && share(&judged[0].1) >= EXPLAINS;
        for period in &judgement.periods {
            match subject.periodic(period, segments) {
                Some(finding) if !is_explained => told.push(finding),
                Some(_) => also.push(in_short(subject, period)),
                None => {}
            }
        }
    }
    if let Some(first) = told.first_mut()
        && !also.is_empty()
    {
        first.evidence.insert("also".to_owned(), json!(also));
    }
    found.findings.extend(told);
    burst(counters, &settings, found);
}

/// The counter along which losses meet most; one that is covered by fewer numbers sees the same bursts less well.
fn burst(counters: &[(Subject, Vec<Segment>)], settings: &periodic::Settings, found: &mut Found) {
    let settings = bursts::Settings { counters: settings.counters, ..Default::default() };
    let judged = counters.iter().map(|(subject, segments)| (subject, segments, bursts::judge(segments, &settings)));
    if let Some((subject, segments, burst)) = judged.min_by(|(.., a), (.., b)| a.ln_p.total_cmp(&b.ln_p)) {
        found.findings.extend(subject.burst(&burst, segments));
    }
}

fn strongest(judgement: &Judgement) -> f64 {
    judgement.periods.iter().filter(|period| !period.burst_like).map(|period| period.ln_p).fold(0.0, f64::min)
}

fn share(judgement: &Judgement) -> f64 {
    judgement.periods.iter().filter(|period| !period.burst_like).map(|period| period.share).sum()
}

fn in_short(subject: &Subject, period: &Periodic) -> Value {
    json!({"counter": subject.counter, "of": subject.place, "n": period.n, "residue": period.residue})
}
