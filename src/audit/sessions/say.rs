//! The findings of a session, in words.

use serde_json::json;

use super::SessionRules;
use super::holes::{Filled, Loss};
use super::session::Session;
use crate::audit::finding::{Finding, Grade, Kind, Span, State};

/// Late numbers listed in a finding; beyond them only their count.
const LATE_LISTED: usize = 1000;

impl Session {
    /// The session's name in findings; a session that began again is `name~1`, `name~2` …
    pub(super) fn name(&self) -> String {
        match self.incarnation {
            0 => self.label.clone(),
            n => format!("{}~{n}", self.label),
        }
    }

    fn finding(&self, kind: Kind, from: i64, until: i64, why: String) -> Finding {
        let name = self.name();
        let place = self.partition.map_or_else(String::new, |p| p.to_string());
        let mut finding = Finding::new(kind, &self.topic_name, &[&place, &name, &from, &until], why);
        finding.partition = self.partition;
        finding.session = Some(name);
        finding.numbers = Some(Span::new(from, until));
        finding
    }

    pub(super) fn loss_finding(&self, from: i64, loss: &Loss, rules: &SessionRules) -> Finding {
        let kind = if self.declared_start == Some(from) {
            Kind::HeadLoss
        } else if self.declared_end.is_some_and(|end| end + 1 == loss.until) {
            Kind::TailLoss
        } else {
            Kind::SequenceGap
        };
        let missing = loss.missing(from);
        let numbers = match loss.until - from {
            1 => format!("number {from}"),
            _ => format!("numbers {from} to {}", loss.until - 1),
        };
        let what = match kind {
            Kind::HeadLoss => format!("{numbers} of session {}, which should start at {from}", self.name()),
            Kind::TailLoss => {
                format!("{numbers} of session {}, which declared {} as its last", self.name(), loss.until - 1)
            }
            _ => format!("{numbers} of session {}, while later ones were", self.name()),
        };
        let waited = humantime::format_duration(std::time::Duration::from_millis(rules.wait_ms.max(0) as u64));
        let why = match (missing, loss.late.len()) {
            (0, _) => format!("{numbers} of session {} arrived after the waiting time of {waited}", self.name()),
            (_, 0) => format!("not seen within {waited}: {what}"),
            (missing, late) => format!("not seen within {waited}: {what}; {late} arrived late, {missing} are missing"),
        };
        let mut finding = self.finding(kind, from, loss.until, why);
        finding.count = missing;
        finding.first_seen = Some(loss.revealed);
        finding.last_seen = Some(loss.last_arrival.unwrap_or(loss.revealed));
        if kind == Kind::HeadLoss && !self.from_beginning {
            finding.grade = Grade::Possible;
        }
        if missing == 0 {
            finding.state = State::Resolved;
            finding.count = loss.late.len() as u64;
        }
        if !loss.late.is_empty() {
            finding.cause = Some("late".to_owned());
            let listed: Vec<i64> = loss.late.iter().copied().take(LATE_LISTED).collect();
            finding = finding.evidence("late", json!(listed)).evidence("late_count", loss.late.len());
        }
        if loss.between.0 >= 0 {
            finding = finding.evidence("before_offset", loss.between.0);
        }
        if loss.between.1 >= 0 {
            finding = finding.evidence("after_offset", loss.between.1);
        }
        finding.evidence("wait_ms", rules.wait_ms)
    }

    pub(super) fn reorder_finding(&self, number: i64, filled: &Filled) -> Finding {
        let extent = filled.extent.unwrap_or_default();
        let why = format!(
            "number {number} of session {} arrived at offset {} of {}[{}], {extent} record{} after a larger one",
            self.name(),
            filled.offset,
            self.topic_name,
            filled.partition,
            if extent == 1 { "" } else { "s" }
        );
        let mut finding = self.finding(Kind::Reorder, number, number + 1, why);
        finding.partition = Some(filled.partition);
        finding.offsets = Some(Span::new(filled.offset, filled.offset + 1));
        finding.first_seen = Some(filled.timestamp);
        finding.last_seen = Some(filled.timestamp);
        let bounded = self.partition.is_none().then_some("lower bound");
        let finding =
            finding.evidence("extent", extent).evidence("late_ms", filled.late_by).evidence("n", filled.degree);
        match bounded {
            Some(note) => finding.evidence("extent_is", note),
            None => finding,
        }
    }
}
