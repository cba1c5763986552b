//! The worker of a flow: it answers every order in another topic a moment later, and reports success even for those it
//! does not. Knows nothing of how orders come about.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::fault::FaultKind;
use super::layout::{Layout, Salt, draw_unit};
use super::pace::Pacer;
use super::plan::{Planned, is_hit};
use super::truth::{FlowTruth, Mark, Tally};

const CORRELATION: &str = "correlation-id";
const NUMBER: &str = "number";
/// Most answers take about so long, milliseconds, and none more than a quarter of the deadline.
const USUAL_MS: f64 = 20.0;
/// What is late is so many deadlines late.
const LATE: i64 = 3;

#[derive(Default)]
pub(super) struct Worker {
    ready: BinaryHeap<Reverse<Answer>>,
    answers: u64,
}

/// By time, then in the order they were made.
struct Answer {
    at_ms: i64,
    turn: u64,
    record: Planned,
}

/// What the worker does to one order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    Answer,
    Drop,
    Swap,
    Late,
    Unasked,
}

pub(super) fn truth(topics: &[String], deadline_ms: u64) -> FlowTruth {
    FlowTruth {
        stages: topics.to_vec(),
        id: format!("header:{CORRELATION}"),
        number: format!("header:{NUMBER}"),
        agree: "json:/amount".to_owned(),
        deadline_ms,
    }
}

impl Worker {
    /// Takes an order in: gives it its ids, and answers or not. `number` is its step in the plan.
    pub fn consume(
        &mut self,
        number: u64,
        order: &mut Planned,
        layout: &Layout,
        faults: &[FaultKind],
        pacers: &mut [Option<Pacer>],
        tally: &mut Tally,
    ) {
        let slot = layout.slot(number);
        let id = layout.numbered(slot).event_id();
        let (fault, deed) = choose(number, layout, faults, pacers);
        let wait_ms = (layout.wait_us / 1000) as i64;
        let usual = -(1.0 - draw_unit(layout.seed, Salt::Latency, number, 0)).ln() * USUAL_MS;
        let mut at_ms = order.timestamp + 1 + (usual as i64).min(wait_ms / 4);
        let mut cents = layout.cents(slot, false);
        let mark =
            (deed != Deed::Answer && deed != Deed::Unasked).then(|| tally.transaction(fault, id.clone(), Some(number)));
        match deed {
            Deed::Swap => cents = layout.cents(layout.slot(other(number, layout)), false),
            Deed::Late => at_ms += LATE * wait_ms,
            Deed::Unasked => {
                let nobody = format!("unasked-{number}");
                let mark = tally.transaction(fault, nobody.clone(), None);
                self.make(at_ms, order, layout, &nobody, cents, Some(mark));
            }
            Deed::Answer | Deed::Drop => {}
        }
        if deed != Deed::Drop {
            self.make(at_ms, order, layout, &id, cents, mark);
        }
        order.mark = mark;
        order.headers.extend([(CORRELATION, id), (NUMBER, number.to_string())]);
    }

    fn make(&mut self, at_ms: i64, order: &Planned, layout: &Layout, id: &str, cents: u64, mark: Option<Mark>) {
        let amount = format!("{}.{:02}", cents / 100, cents % 100);
        let record = Planned {
            session: layout.producers as u32,
            stage: 1,
            partition: order.partition,
            timestamp: at_ms,
            key: order.key.clone(),
            value: Some(format!(r#"{{"order":{{"id":"{id}"}},"amount":{amount},"status":"done"}}"#)),
            headers: vec![(CORRELATION, id.to_owned())],
            mark: mark.map(|mark| Mark { stage: 1, ..mark }),
        };
        self.answers += 1;
        self.ready.push(Reverse(Answer { at_ms, turn: self.answers, record }));
    }

    /// The next answer, when it is due at `before` or nothing else is to come.
    pub fn answer(&mut self, before: Option<i64>) -> Option<Planned> {
        let is_due = |Reverse(answer): &Reverse<Answer>| before.is_none_or(|before| answer.at_ms <= before);
        self.ready.peek().filter(|answer| is_due(answer))?;
        self.ready.pop().map(|Reverse(answer)| answer.record)
    }
}

/// At most one fault an order. What follows a pattern goes first, so that none of its hits is taken by another fault.
fn choose(number: u64, layout: &Layout, faults: &[FaultKind], pacers: &mut [Option<Pacer>]) -> (usize, Deed) {
    let slot = layout.slot(number);
    // The orders of all sessions are one counter, which no session's draws belong to.
    if let Some(fault) = (0..faults.len()).find(|&f| is_hit(&faults[f], f, layout, slot, layout.producers, number)) {
        return (fault, Deed::Drop);
    }
    for (fault, kind) in faults.iter().enumerate() {
        let deed = match kind {
            FaultKind::Drop(_) => Deed::Drop,
            FaultKind::SwapField(_) => Deed::Swap,
            FaultKind::AnswerLate(_) => Deed::Late,
            FaultKind::AnswerUnasked(_) => Deed::Unasked,
            _ => continue,
        };
        let Some(pacer) = pacers[fault].as_mut().filter(|pacer| pacer.is_due(number)) else { continue };
        // Another order with the same amount would not show.
        if deed == Deed::Swap && layout.cents(layout.slot(other(number, layout)), false) == layout.cents(slot, false) {
            continue;
        }
        pacer.advance();
        return (fault, deed);
    }
    (0, Deed::Answer)
}

/// The order whose amount gets into this one's answer.
fn other(number: u64, layout: &Layout) -> u64 {
    if number + 1 < layout.records { number + 1 } else { number.saturating_sub(1) }
}

impl PartialEq for Answer {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Answer {}

impl PartialOrd for Answer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Answer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ms, self.turn).cmp(&(other.at_ms, other.turn))
    }
}
