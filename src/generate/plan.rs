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
use super::layout::{Layout, Numbered, Salt, Slot, draw};
use super::options::{Options, OptionsError};
use super::pace::{AbortPacer, Pacer};
use super::truth::{Mark, Position, Tally, Truth, VERSION, audit_options, sessions};

/// Numbers kept clear around each fault.
const CLEAR: u64 = 2;
/// Steps within which a copy follows.
const SOON: u64 = 90;

/// One record to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Which session writes it: an index below the number of producers.
    pub session: u32,
    pub partition: i32,
    pub timestamp: i64,
    pub key: String,
    pub value: Option<String>,
    pub headers: Vec<(&'static str, String)>,
    /// The truth wants to know where this record ended up: pass it to [`Plan::position`].
    pub mark: Option<Mark>,
}

pub struct Plan {
    topic: String,
    layout: Layout,
    sessions: Vec<SessionState>,
    faults: Vec<FaultKind>,
    pacers: Vec<Option<Pacer>>,
    tally: Tally,
    held: BinaryHeap<Reverse<Held>>,
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

/// A record held back until a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    until: u64,
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
        let faults: Vec<FaultKind> = options.faults.iter().map(|fault| fault.kind).collect();
        let kept = faults.iter().fold(1.0, |kept, fault| match fault {
            FaultKind::Tombstones(rate) => kept * (1.0 - rate),
            _ => kept,
        });
        layout.tombstones = 1.0 - kept;
        let mut plan = Self {
            topic: options.topic.clone(),
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

    pub fn topic(&self) -> &str {
        &self.topic
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
            topic: self.topic,
            seed: self.layout.seed,
            records: self.layout.records,
            sent: self.sent,
            sessions: sessions(&self.layout),
            options: audit_options(&self.layout),
            faults: self.tally.into_injected(),
        }
    }

    /// Faults that concern one session each: every further one takes the next session.
    fn place_on_sessions(&mut self) {
        let base = draw(self.layout.seed, Salt::Session, 0, 0) % self.layout.producers;
        for (turn, fault) in (0u64..).zip(0..self.faults.len()) {
            let session = ((base + turn) % self.layout.producers) as u32;
            let count = self.layout.count(session);
            let state = &mut self.sessions[session as usize];
            match self.faults[fault] {
                FaultKind::HeadLoss(n) if state.head.is_none() && count >= 16 => {
                    state.head = Some((fault, n.min(count / 4)));
                }
                FaultKind::TailLoss(n) if state.tail.is_none() && count >= 16 => {
                    state.tail = Some((fault, n.min(count / 4)));
                }
                FaultKind::MisnumberReset if self.layout.reset.is_none() && count >= 32 => {
                    let reset = Slot { session, ordinal: count / 2 };
                    self.layout.reset = Some(reset);
                    self.tally.number(fault, self.layout.numbered(reset));
                }
                _ => {}
            }
        }
    }

    /// The ordinals around `slot` that faults may touch: its incarnation without its ends.
    fn inner(&self, slot: Slot) -> std::ops::Range<u64> {
        let count = self.layout.count(slot.session);
        let (first, end) = match self.layout.reset.filter(|reset| reset.session == slot.session) {
            Some(reset) if slot.ordinal < reset.ordinal => (0, reset.ordinal),
            Some(reset) => (reset.ordinal, count),
            None => (0, count),
        };
        let state = &self.sessions[slot.session as usize];
        let head = state.head.map_or(0, |(_, n)| if first == 0 { n } else { 0 });
        let tail = state.tail.map_or(0, |(_, n)| if end == count { n } else { 0 });
        first + head + CLEAR + 1..end.saturating_sub(tail + CLEAR + 1)
    }

    /// The fault that loses every n-th number, when this is one of them.
    fn periodic(&self, slot: Slot) -> Option<usize> {
        let number = self.layout.numbered(slot).number;
        let hit = |fault: &FaultKind| matches!(fault, FaultKind::LoseEvery(n) if number % n == n - 1);
        self.faults.iter().position(hit).filter(|_| self.inner(slot).contains(&slot.ordinal))
    }

    /// Whether a fault other than a loss may take the numbers from `slot` to `last`.
    fn is_clear(&self, slot: Slot, last: u64) -> bool {
        let inner = self.inner(slot);
        let around = slot.ordinal.saturating_sub(CLEAR)..=last + CLEAR;
        slot.ordinal >= inner.start.max(self.sessions[slot.session as usize].clear)
            && last < inner.end
            && !around.into_iter().any(|ordinal| self.periodic(Slot { ordinal, ..slot }).is_some())
    }

    fn occupy(&mut self, session: u32, last: u64) {
        let state = &mut self.sessions[session as usize];
        state.clear = last + CLEAR + 1;
        state.clear_for_loss = state.clear;
    }

    /// Decides what becomes of the record whose turn it is.
    fn decide(&mut self, slot: Slot) -> Fate {
        if let Some(fault) = self.already_lost(slot) {
            return self.lose(fault, slot);
        }
        for fault in 0..self.faults.len() {
            if self.pacers[fault].as_ref().is_some_and(|pacer| pacer.is_due(self.step))
                && let Some(fate) = self.place(fault, slot)
            {
                if let Some(pacer) = &mut self.pacers[fault] {
                    pacer.advance();
                }
                return fate;
            }
        }
        Fate::Sent(None)
    }

    /// The loss decided on before this step that covers the slot.
    fn already_lost(&self, slot: Slot) -> Option<usize> {
        let state = &self.sessions[slot.session as usize];
        let head = state.head.filter(|&(_, n)| slot.ordinal < n);
        let tail = state.tail.filter(|&(_, n)| slot.ordinal + n >= self.layout.count(slot.session));
        let burst = state.burst.filter(|&(_, end)| slot.ordinal < end);
        head.or(tail).map(|(fault, _)| fault).or_else(|| self.periodic(slot)).or(burst.map(|(fault, _)| fault))
    }

    fn lose(&mut self, fault: usize, slot: Slot) -> Fate {
        let state = &mut self.sessions[slot.session as usize];
        state.clear = state.clear.max(slot.ordinal + CLEAR + 1);
        self.tally.number(fault, self.layout.numbered(slot));
        Fate::Absent
    }

    /// Puts a fault on the slot, if there is room.
    fn place(&mut self, fault: usize, slot: Slot) -> Option<Fate> {
        match self.faults[fault] {
            FaultKind::Lose(_) => self.place_loss(fault, slot, 1),
            FaultKind::LoseBurst { length, .. } => self.place_loss(fault, slot, length),
            FaultKind::Duplicate(_) => self.place_copy(fault, slot, self.soon(slot), false),
            FaultKind::Conflict(_) => self.place_copy(fault, slot, self.soon(slot), true),
            FaultKind::DuplicateFar(_) => self.place_copy(fault, slot, self.far(slot)?, false),
            FaultKind::Swap(_) => {
                let next = self.layout.next_in_partition(slot)?;
                self.place_hold(fault, slot, self.layout.step(next))
            }
            FaultKind::Late(_) => {
                self.place_hold(fault, slot, self.step + self.layout.wait_us / 3 / self.layout.interval_us)
            }
            // The audit's clock is that of the slowest partition: with records far apart it may not have noticed the gap.
            FaultKind::LateBeyond(_) if self.layout.is_sparse() => None,
            FaultKind::LateBeyond(_) => {
                let enough = (3 * self.layout.wait_us).div_ceil(self.layout.interval_us) + 1;
                self.place_hold(fault, slot, self.step + enough)
            }
            _ => None,
        }
    }

    fn place_loss(&mut self, fault: usize, slot: Slot, length: u64) -> Option<Fate> {
        let inner = self.inner(slot);
        let end = slot.ordinal.saturating_add(length);
        let state = &mut self.sessions[slot.session as usize];
        if slot.ordinal < inner.start.max(state.clear_for_loss) || end > inner.end {
            return None;
        }
        state.burst = Some((fault, end));
        Some(self.lose(fault, slot))
    }

    fn place_copy(&mut self, fault: usize, slot: Slot, until: u64, altered: bool) -> Option<Fate> {
        if !self.is_clear(slot, slot.ordinal) || until >= self.last_step(slot) {
            return None;
        }
        self.occupy(slot.session, slot.ordinal);
        let mark = self.tally.copy(fault, self.layout.numbered(slot));
        self.hold(Held { until, slot, altered, mark: Some(mark) });
        Some(Fate::Sent(Some(mark)))
    }

    /// Holds the record back until the step `until`, by when the next of its partition must have passed it. That one
    /// must come well inside the waiting time, for that is when the gap is noticed.
    fn place_hold(&mut self, fault: usize, slot: Slot, until: u64) -> Option<Fate> {
        let next = self.layout.next_in_partition(slot)?;
        let passed = self.layout.step(next);
        let noticed_us = (passed - self.step).saturating_mul(self.layout.interval_us);
        if passed > until
            || until >= self.last_step(slot)
            || noticed_us > self.layout.wait_us / 2
            || !self.is_clear(slot, next.ordinal)
        {
            return None;
        }
        self.occupy(slot.session, next.ordinal);
        self.tally.number(fault, self.layout.numbered(slot));
        self.hold(Held { until, slot, altered: false, mark: None });
        Some(Fate::Absent)
    }

    fn hold(&mut self, held: Held) {
        self.held.push(Reverse(held));
    }

    /// The step by which whatever was held back of the slot's incarnation must be let go.
    fn last_step(&self, slot: Slot) -> u64 {
        self.layout.step(Slot { ordinal: self.inner(slot).end, ..slot })
    }

    fn soon(&self, slot: Slot) -> u64 {
        self.step + 1 + draw(self.layout.seed, Salt::Distance, u64::from(slot.session), slot.ordinal) % SOON
    }

    fn far(&self, slot: Slot) -> Option<u64> {
        let least = self.step + self.layout.records.div_ceil(5);
        let room = self.last_step(slot).checked_sub(least).filter(|&room| room > 0)?;
        Some(least + draw(self.layout.seed, Salt::Distance, u64::from(slot.session), slot.ordinal) % room)
    }

    fn record(&self, slot: Slot, step: u64, altered: bool, mark: Option<Mark>) -> Planned {
        let numbered = self.layout.numbered(slot);
        let null = self.layout.is_tombstone(slot) && !altered;
        Planned {
            session: slot.session,
            partition: self.layout.partition(slot),
            timestamp: self.layout.timestamp(step),
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
        let due = self.held.peek().is_some_and(|Reverse(held)| held.until < self.step);
        let Reverse(held) = due.then(|| self.held.pop()).flatten()?;
        Some(self.record(held.slot, held.until, held.altered, held.mark))
    }

    /// Takes one step; `None` when its record does not come now.
    fn take_step(&mut self) -> Option<Planned> {
        let record = if self.step < self.layout.records {
            let slot = self.layout.slot(self.step);
            match self.decide(slot) {
                Fate::Sent(mark) => Some(self.record(slot, self.step, false, mark)),
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
}

impl Iterator for Plan {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        loop {
            let record = match self.let_go() {
                Some(record) => Some(record),
                None if self.step == self.layout.records + self.layout.producers => return None,
                None => self.take_step(),
            };
            if let Some(record) = record {
                self.count_sent(&record);
                return Some(record);
            }
        }
    }
}
