//! Numbered sessions of an application: loss, reordering, late arrivals, resets.
//!
//! Loss is undefined without a waiting time (RFC 7680): a number is lost when it has not arrived although the stream
//! time has passed the moment its absence became visible by more than that. The verdict is a function of what was read
//! and not of when the checks ran, so a restart, or two partitions read at different speeds, changes nothing:
//!
//! * `A(n)` is the stream time of its partition when n arrived; `R(n)` the smallest `A(m)` over all m > n of the session.
//! * n is *lost* when every partition's stream time has passed `R(n) + wait` without it;
//!   *late* when it arrived with `A(n) > R(n) + wait`; merely *reordered* when it arrived in time (RFC 4737).
//!
//! Until the slowest partition has passed `R(n) + wait`, `R(n)` may still fall, so what arrived in the meantime is kept
//! beside the hole it filled and judged with it. Memory is O(holes), never O(records): whatever lies between the first
//! and the largest number and in no hole has been received.

mod density;
mod holes;
mod say;
mod session;

#[cfg(test)]
mod tests;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

use super::finding::{Finding, Span};
use super::patterns::sessions::Numbered;
use crate::identify::Arrival;
use session::Session;

pub use density::Density;

#[derive(Clone, Copy, Debug)]
pub struct SessionRules {
    pub wait_ms: i64,
    /// Number every session starts with, when declared.
    pub start: Option<i64>,
    /// Sessions run over all partitions of the topic.
    pub topic_scope: bool,
}

/// Where an arrival belongs.
#[derive(Clone, Copy, Debug)]
pub struct Lane<'a> {
    /// The engine's number of the topic.
    pub topic: u32,
    pub topic_name: &'a str,
    pub partition: i32,
    /// Smallest stream time among the partitions the session may run over.
    pub slowest: i64,
    /// Whether reading began at the very beginning of the log: what came first then really was first.
    pub from_beginning: bool,
}

/// What a verdict is given by, and where it goes.
struct Context<'a> {
    rules: &'a SessionRules,
    figures: &'a mut SessionFigures,
    out: &'a mut Vec<Finding>,
    /// Numbers that an arrival turned out to lack before it.
    opened: Option<Span>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionFigures {
    pub sessions: u64,
    pub lost: u64,
    pub reordered: u64,
    pub late: u64,
    pub resets: u64,
    /// Numbers that had arrived before. The ledger says whether with equal content.
    pub repeated: u64,
    pub density: Density,
}

#[derive(Default, Serialize, Deserialize)]
pub struct Sessions {
    current: FxHashMap<u64, Session>,
    labels: FxHashMap<u64, String>,
    /// Sessions replaced by a reset whose holes still wait for their verdict.
    retired: Vec<Session>,
    /// Names of current sessions with holes to judge.
    waiting: FxHashSet<u64>,
    pub figures: SessionFigures,
    /// What the last arrival turned out to lack before it, and the session's name.
    #[serde(skip)]
    opened: Option<(String, Span)>,
}

impl Sessions {
    /// The session and the numbers that the last arrival showed to be absent so far.
    pub fn opened(&mut self) -> Option<(String, Span)> {
        self.opened.take()
    }

    pub fn label(&mut self, session: u64, label: String) {
        self.labels.entry(session).or_insert(label);
    }

    pub fn label_of(&self, session: u64) -> &str {
        self.labels.get(&session).map_or("", String::as_str)
    }

    /// How often a session has begun anew so far.
    pub fn incarnation_of(&self, session: u64) -> u32 {
        self.current.get(&session).map_or(0, |session| session.incarnation)
    }

    /// Takes one arrival. Returns the session's incarnation, which is part of a (session, number) identity.
    pub fn arrive(&mut self, arrival: &Arrival, lane: &Lane<'_>, rules: &SessionRules, out: &mut Vec<Finding>) -> u32 {
        let figures = &mut self.figures;
        let session = self.current.entry(arrival.session).or_insert_with(|| {
            figures.sessions += 1;
            let label = self.labels.get(&arrival.session).cloned().unwrap_or_default();
            Session::new(label, lane, rules)
        });
        if session.is_reset(arrival, rules) {
            figures.resets += 1;
            let next = session.next_incarnation(lane, rules);
            let old = std::mem::replace(session, next);
            if old.is_waiting() {
                self.retired.push(old);
            }
        }
        let mut cx = Context { rules, figures, out, opened: None };
        session.arrive(arrival, lane, &mut cx);
        self.opened = cx.opened.map(|numbers| (session.name(), numbers));
        if session.is_waiting() {
            self.waiting.insert(arrival.session);
        }
        session.incarnation
    }

    /// Whether time alone can bring a verdict.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.retired.is_empty()
    }

    /// Gives the verdicts that are due. `slowest(topic, partition)` is the smallest stream time among the partitions a
    /// session of that place runs over.
    pub fn judge(&mut self, slowest: &dyn Fn(u32, Option<i32>) -> i64, rules: &SessionRules, out: &mut Vec<Finding>) {
        let Self { current, retired, waiting, figures, .. } = self;
        let mut cx = Context { rules, figures, out, opened: None };
        waiting.retain(|name| {
            let Some(session) = current.get_mut(name) else { return false };
            session.judge(slowest(session.topic, session.partition), &mut cx);
            session.is_waiting()
        });
        retired.retain_mut(|session| {
            session.judge(slowest(session.topic, session.partition), &mut cx);
            session.is_waiting()
        });
    }

    /// Numbers of every current session that were eligible to be lost.
    pub fn numbered(&self) -> impl Iterator<Item = Numbered> {
        self.current.values().filter_map(Session::numbered)
    }

    /// What would be lost if nothing more came: holes still inside their waiting time, as *possible* findings.
    pub fn pending(&self, rules: &SessionRules, out: &mut Vec<Finding>) {
        let current = self.waiting.iter().filter_map(|name| self.current.get(name));
        for session in current.chain(&self.retired) {
            session.pending(rules, out);
        }
    }
}
