//! Several pairs of one file as one report: each judged by itself, all of them told together.

use super::place::Place;
use super::{DriftError, Settings};
use crate::audit::drift::PairSummary;
use crate::audit::finding::Finding;
use crate::audit::verdict::{Figures, Report, Summary, Unread, Verdict};
use crate::report::plural;

/// As sentences name it: never with a password.
pub fn store(place: &Place) -> String {
    match place {
        Place::Topic(topic) => format!("topic {}", topic.topic),
        Place::Postgres(place) => format!("table {}", place.table),
        Place::Mysql(place) => format!("table {}", place.table),
        Place::Sqlite(place) => format!("table {}", place.table),
    }
}

impl Settings {
    /// Marks what is said of this pair with its name.
    pub(super) fn sign(&self, mut report: Report) -> Report {
        report.findings = report.findings.into_iter().map(|finding| self.mark(finding)).collect();
        if let Some(drift) = &mut report.summary.drift {
            drift.pair.clone_from(&self.pair);
        }
        report
    }

    pub(super) fn mark(&self, finding: Finding) -> Finding {
        match &self.pair {
            Some(pair) => finding.evidence("pair", pair.as_str()),
            None => finding,
        }
    }
}

/// What there is to say of a pair that could not be compared.
pub fn failed(settings: &Settings, error: &DriftError) -> Report {
    unread(settings, error.to_string())
}

pub fn unread(settings: &Settings, why: String) -> Report {
    report_of(Verdict::Unverified, vec![not_read(settings, why)])
}

/// Something of the pair.
pub fn not_read(settings: &Settings, why: String) -> Unread {
    let topic = settings.pair.clone().unwrap_or_else(|| store(&settings.first));
    Unread { topic, partition: None, from: None, until: None, why }
}

fn report_of(verdict: Verdict, unread: Vec<Unread>) -> Report {
    let summary = Summary {
        verdict,
        exit: verdict.exit(),
        figures: Figures::default(),
        unread,
        not_checked: Vec::new(),
        notes: Vec::new(),
        samples: Vec::new(),
        searched: Vec::new(),
        flow: None,
        drift: None,
        pairs: Vec::new(),
        seconds: 0.0,
        ledger: None,
    };
    Report { findings: Vec::new(), coverage: Vec::new(), pictures: Vec::new(), summary }
}

/// The worst verdict is that of all: unverified before findings before inconclusive.
pub fn together(pairs: &[(String, Report)]) -> Report {
    let has = |verdict: &Verdict| pairs.iter().any(|(_, report)| report.summary.verdict == *verdict);
    let order = [Verdict::Unverified, Verdict::Findings, Verdict::Inconclusive];
    let mut all = report_of(order.into_iter().find(has).unwrap_or(Verdict::Clean), Vec::new());
    for (name, report) in pairs {
        let summary = &report.summary;
        all.findings.extend(report.findings.iter().cloned());
        all.coverage.extend(report.coverage.iter().cloned());
        let (into, from) = (&mut all.summary.figures, &summary.figures);
        (into.records, into.bytes, into.batches) =
            (into.records + from.records, into.bytes + from.bytes, into.batches + from.batches);
        all.summary.unread.extend(summary.unread.iter().cloned());
        let named = |text: &String| format!("{name}: {text}");
        all.summary.notes.extend(summary.notes.iter().map(named));
        all.summary.samples.extend(summary.samples.iter().map(named));
        all.summary.seconds += summary.seconds;
        all.summary.pairs.push(PairSummary {
            pair: name.clone(),
            verdict: summary.verdict,
            exit: summary.exit,
            drift: summary.drift.clone(),
        });
    }
    all
}

impl Report {
    /// So many pairs were not begun, because somebody stopped the run.
    pub fn leave_out(&mut self, pairs: usize) {
        if pairs > 0 {
            self.summary.verdict = Verdict::Unverified;
            self.summary.exit = Verdict::Unverified.exit();
            self.summary.notes.push(format!("stopped before the last {} began", plural(pairs as u64, "pair")));
        }
    }
}
