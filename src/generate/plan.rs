//! The records in the order of the log, with the faults put in. Pure: the same options give the same records.
//!
//! Sessions take turns, one step each. A fault drops a step's record, or holds a record or a copy of it back until a
//! later step; the record's time is that of the step at which it is let go, so times never fall along a partition.
//!
//! Faults must be tellable apart, so each keeps two numbers of its session clear on both sides, and none crosses a
//! session's ends or its reset. Only losses may touch each other: they are then one run. A fault that finds no room
//! waits for the next place that has some, and is left out when there is none.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::fault::FaultKind;
use super::layout::{Layout, Numbered, Slot};
use super::options::{Options, OptionsError};
use super::pace::{AbortPacer, Pacer};
use super::truth::{Mark, Position, Tally, Truth, VERSION, audit_options, sessions};
use super::worker::{self, Worker};

mod place;

pub(super) use place::is_hit;

/// One record to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Which session writes it: an index below the number of producers, or that number for a flow's worker.
    pub session: u32,
    /// Which of [`Plan::topics`] it goes to.
    pub stage: usize,
    pub partition: i32,
    pub timestamp: i64,
    pub key: String,
    pub value: Option<String>,
    pub headers: Vec<(&'static str, String)>,
    /// The truth wants to know where this record ended up: pass it to [`Plan::position`].
    pub mark: Option<Mark>,
}

pub struct Plan {
    topics: Vec<String>,
    layout: Layout,
    sessions: Vec<SessionState>,
    faults: Vec<FaultKind>,
    pacers: Vec<Option<Pacer>>,
    tally: Tally,
    held: BinaryHeap<Reverse<Held>>,
    worker: Option<Worker>,
    /// The next order of a flow, while answers go first.
    upcoming: Option<Planned>,
    /// Next step to be taken; at `records` and above the sessions' end markers.
    step: u64,
    sent: u64,
}

/// Where in a session faults may go.
#[derive(Default)]
struct SessionState {
    head: Option<(usize, u64)>,
    tail: Option<(usize, u64)>,
    /// Burst under way: which fault, and the ordinal after it.
    burst: Option<(usize, u64)>,
    /// First ordinal at which a loss may be placed, and any other fault.
    clear_for_loss: u64,
    clear: u64,
}

/// A record held back until it is due: microseconds after the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    due_us: u64,
    slot: Slot,
    altered: bool,
    mark: Option<Mark>,
}

/// What becomes of a step's own record.
enum Fate {
    Sent(Option<Mark>),
    Absent,
}

impl Plan {
    /// `now_ms` only matters when the options name no start.
    pub fn new(options: &Options, now_ms: i64) -> Result<Self, OptionsError> {
        let mut layout = Layout::new(options, now_ms)?;
        let faults: Vec<FaultKind> = options.faults.iter().map(|fault| fault.kind.clone()).collect();
        let kept = faults.iter().fold(1.0, |kept, fault| match fault {
            FaultKind::Tombstones(rate) => kept * (1.0 - rate),
            _ => kept,
        });
        layout.tombstones = 1.0 - kept;
        let mut plan = Self {
            topics: [options.topic.clone()]
                .into_iter()
                .chain(options.flow.iter().map(|flow| flow.answers.clone()))
                .collect(),
            worker: options.flow.as_ref().map(|_| Worker::default()),
            upcoming: None,
            sessions: (0..options.producers).map(|_| SessionState::default()).collect(),
            pacers: faults.iter().enumerate().map(|(index, fault)| Pacer::of(options.seed, index, fault)).collect(),
            tally: Tally::new(&options.faults),
            held: BinaryHeap::new(),
            step: 0,
            sent: 0,
            layout,
            faults,
        };
        plan.place_on_sessions();
        Ok(plan)
    }

    /// The topic, and that of the answers in a flow.
    pub fn topics(&self) -> &[String] {
        &self.topics
    }

    pub fn partitions(&self) -> i32 {
        self.layout.partitions
    }

    pub fn producers(&self) -> u32 {
        self.layout.producers as u32
    }

    pub fn wait_ms(&self) -> u64 {
        self.layout.wait_us / 1000
    }

    /// Whether several sessions write to one partition.
    pub fn shares_partitions(&self) -> bool {
        self.layout.spread || self.layout.producers > u64::from(self.layout.partitions.unsigned_abs())
    }

    /// Where a marked record ended up.
    pub fn position(&mut self, mark: Mark, position: Position) {
        self.tally.position(mark, position);
    }

    /// The rate at which transactions are to be aborted, as a pacer that counts transactions.
    pub(super) fn abort_pacer(&self) -> Option<AbortPacer> {
        let fault = self.faults.iter().position(|fault| matches!(fault, FaultKind::AbortTransaction(_)))?;
        let FaultKind::AbortTransaction(rate) = self.faults[fault] else { return None };
        Some(AbortPacer::new(self.layout.seed, fault, rate))
    }

    pub(super) fn transaction_aborted(&mut self, by: &AbortPacer) {
        self.tally.count(by.fault());
    }

    /// What was done. Complete once all records were taken and the positions of all marked ones were told.
    pub fn into_truth(self) -> Truth {
        Truth {
            version: VERSION,
            topic: self.topics[0].clone(),
            seed: self.layout.seed,
            records: self.layout.records,
            sent: self.sent,
            sessions: sessions(&self.layout),
            options: audit_options(&self.layout),
            flow: self.worker.is_some().then(|| worker::truth(&self.topics, self.layout.wait_us / 1000)),
            faults: self.tally.into_injected(&self.topics, &self.layout),
        }
    }

    fn record(&self, slot: Slot, due_us: u64, altered: bool, mark: Option<Mark>) -> Planned {
        let numbered = self.layout.numbered(slot);
        let null = self.layout.is_tombstone(slot) && !altered;
        Planned {
            session: slot.session,
            stage: 0,
            partition: self.layout.partition(slot),
            timestamp: self.layout.time_of(due_us),
            key: self.layout.key(slot),
            value: (!null).then(|| self.layout.value(slot, altered)),
            headers: vec![
                ("event-id", numbered.event_id()),
                ("producer", format!("p{}", slot.session)),
                ("seq", numbered.number.to_string()),
            ],
            mark,
        }
    }

    fn end_marker(&self, session: u32) -> Planned {
        let last: Numbered = self.layout.numbered(Slot { session, ordinal: self.layout.count(session) - 1 });
        let producer = format!("p{session}");
        Planned {
            session,
            stage: 0,
            partition: self.layout.end_partition(session),
            timestamp: self.layout.timestamp(self.step),
            key: producer.clone(),
            value: Some(format!(r#"{{"end":"{}"}}"#, last.label())),
            headers: vec![
                ("event-id", format!("{}-end", last.label())),
                ("producer", producer),
                ("seq-end", last.number.to_string()),
            ],
            mark: None,
        }
    }

    fn let_go(&mut self) -> Option<Planned> {
        let due = self.held.peek().is_some_and(|Reverse(held)| held.due_us < self.layout.due_us(self.step));
        let Reverse(held) = due.then(|| self.held.pop()).flatten()?;
        Some(self.record(held.slot, held.due_us, held.altered, held.mark))
    }

    /// Takes one step; `None` when its record does not come now.
    fn take_step(&mut self) -> Option<Planned> {
        let record = if self.step < self.layout.records {
            let slot = self.layout.slot(self.step);
            match self.decide(slot) {
                Fate::Sent(mark) => Some(self.record(slot, self.layout.due_us(self.step), false, mark)),
                Fate::Absent => None,
            }
        } else {
            Some(self.end_marker((self.step - self.layout.records) as u32))
        };
        self.step += 1;
        record
    }

    fn count_sent(&mut self, record: &Planned) {
        self.sent += 1;
        if record.value.is_none()
            && let Some(fault) = self.faults.iter().position(|fault| matches!(fault, FaultKind::Tombstones(_)))
        {
            self.tally.count(fault);
        }
    }

    /// The next record of the sessions.
    fn next_record(&mut self) -> Option<Planned> {
        let end = self.layout.records + if self.worker.is_some() { 0 } else { self.layout.producers };
        loop {
            match self.let_go() {
                Some(record) => return Some(record),
                None if self.step == end => return None,
                None => {
                    if let Some(record) = self.take_step() {
                        return Some(record);
                    }
                }
            }
        }
    }

    /// The next record of a flow: an order, or an answer that is due before it.
    fn next_of_flow(&mut self) -> Option<Planned> {
        if self.upcoming.is_none() {
            self.upcoming = self.next_record();
            if let (Some(order), Some(worker)) = (&mut self.upcoming, &mut self.worker) {
                let number = self.step - 1;
                worker.consume(number, order, &self.layout, &self.faults, &mut self.pacers, &mut self.tally);
            }
        }
        let before = self.upcoming.as_ref().map(|order| order.timestamp);
        self.worker.as_mut().and_then(|worker| worker.answer(before)).or_else(|| self.upcoming.take())
    }
}

impl Iterator for Plan {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        let record = if self.worker.is_some() { self.next_of_flow() } else { self.next_record() }?;
        self.count_sent(&record);
        Some(record)
    }
}
