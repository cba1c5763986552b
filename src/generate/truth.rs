//! What was really done to the traffic, as JSON: the sessions, the options an audit of it needs, and every fault with
//! what it hit.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

use super::fault::{Expect, Fault};
use super::layout::{Layout, Numbered, label};
use super::pattern::Pattern;

pub const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    pub version: u32,
    pub topic: String,
    pub seed: u64,
    /// Records planned.
    pub records: u64,
    /// Records in the topic, or in both of a flow: the planned ones without the lost, with the copies, the end markers
    /// and the answers. Attempts that were aborted are not in it.
    pub sent: u64,
    pub sessions: Vec<Session>,
    pub options: AuditOptions,
    /// Where a worker answers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub flow: Option<FlowTruth>,
    pub faults: Vec<Injected>,
}

/// What `flows` must be told to see the transactions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowTruth {
    /// Topics, in the order of the flow.
    pub stages: Vec<String>,
    pub id: String,
    /// At the first stage.
    pub number: String,
    pub agree: String,
    pub deadline_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub session: String,
    /// Absent when the session writes to all partitions.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub partition: Option<i32>,
    /// First and last number planned.
    pub first: u64,
    pub last: u64,
}

/// What an audit must be told to see these sessions and identities.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditOptions {
    pub id: String,
    pub session: String,
    pub sequence: String,
    pub sequence_end: String,
    pub sequence_start: u64,
    pub scope: Scope,
    pub wait_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    Partition,
    Topic,
}

/// One fault asked for and what it hit; fewer than asked where it would have touched another fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Injected {
    pub fault: String,
    pub spec: String,
    pub expect: Expect,
    /// Numbers lost, late or out of order; records copied; sessions reset; transactions aborted; null values;
    /// transactions of a flow.
    pub count: u64,
    /// What they have in common.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pattern: Option<Pattern>,
    /// Empty for what is no anomaly.
    pub items: Vec<Item>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Item {
    Number {
        session: String,
        number: u64,
    },
    /// Half-open: `[from, until)`.
    Numbers {
        session: String,
        from: u64,
        until: u64,
    },
    Copies {
        event_id: String,
        positions: Vec<Position>,
    },
    /// Of a flow, and where its stages hold it.
    Transaction {
        transaction: String,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        number: Option<u64>,
        seen: Vec<Seen>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seen {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    pub partition: i32,
    pub offset: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum TruthError {
    #[error("the truth cannot be read: {0}; pass the file that generate wrote")]
    Json(#[from] serde_json::Error),
    #[error("the truth has version {0}, but this program reads version {VERSION}; generate it again")]
    Version(u32),
}

impl Truth {
    pub fn read(input: impl io::Read) -> Result<Self, TruthError> {
        let truth: Truth = serde_json::from_reader(input)?;
        if truth.version != VERSION {
            return Err(TruthError::Version(truth.version));
        }
        Ok(truth)
    }

    /// Resets that an audit is expected to count.
    pub fn resets(&self) -> u64 {
        self.faults.iter().filter(|fault| fault.expect == Expect::Reset).map(|fault| fault.count).sum()
    }
}

/// Names copies, or a transaction's records, whose positions are only known once they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    pub(super) fault: usize,
    pub(super) item: usize,
    /// Which of the plan's topics the record goes to.
    pub(super) stage: usize,
}

/// The faults as they are being injected.
pub(super) struct Tally {
    faults: Vec<Entry>,
}

struct Entry {
    fault: Fault,
    count: u64,
    numbers: Vec<Numbered>,
    copies: Vec<(Numbered, Vec<Position>)>,
    transactions: Vec<Transaction>,
}

struct Transaction {
    id: String,
    number: Option<u64>,
    /// By stage.
    seen: Vec<(usize, Position)>,
}

impl Tally {
    pub fn new(faults: &[Fault]) -> Self {
        let entry = |fault: &Fault| Entry {
            fault: fault.clone(),
            count: 0,
            numbers: Vec::new(),
            copies: Vec::new(),
            transactions: Vec::new(),
        };
        Self { faults: faults.iter().map(entry).collect() }
    }

    pub fn count(&mut self, fault: usize) {
        self.faults[fault].count += 1;
    }

    pub fn number(&mut self, fault: usize, numbered: Numbered) {
        self.count(fault);
        self.faults[fault].numbers.push(numbered);
    }

    pub fn copy(&mut self, fault: usize, numbered: Numbered) -> Mark {
        self.count(fault);
        let copies = &mut self.faults[fault].copies;
        copies.push((numbered, Vec::with_capacity(2)));
        Mark { fault, item: copies.len() - 1, stage: 0 }
    }

    pub fn transaction(&mut self, fault: usize, id: String, number: Option<u64>) -> Mark {
        self.count(fault);
        let transactions = &mut self.faults[fault].transactions;
        transactions.push(Transaction { id, number, seen: Vec::with_capacity(2) });
        Mark { fault, item: transactions.len() - 1, stage: 0 }
    }

    pub fn position(&mut self, mark: Mark, position: Position) {
        let entry = &mut self.faults[mark.fault];
        match entry.transactions.get_mut(mark.item) {
            Some(transaction) => transaction.seen.push((mark.stage, position)),
            None => entry.copies[mark.item].1.push(position),
        }
    }

    pub fn into_injected(self, topics: &[String], layout: &Layout) -> Vec<Injected> {
        self.faults.into_iter().map(|entry| entry.into_injected(topics, layout)).collect()
    }
}

impl Entry {
    fn into_injected(mut self, topics: &[String], layout: &Layout) -> Injected {
        self.numbers.sort_unstable();
        let runs = self
            .numbers
            .chunk_by(|a, b| (a.session, a.incarnation, a.number + 1) == (b.session, b.incarnation, b.number));
        let mut items: Vec<Item> = runs
            .map(|run| match run {
                [one] => Item::Number { session: one.label(), number: one.number },
                _ => Item::Numbers {
                    session: run[0].label(),
                    from: run[0].number,
                    until: run[0].number + run.len() as u64,
                },
            })
            .collect();
        items.extend(self.copies.into_iter().map(|(numbered, mut positions)| {
            positions.sort_unstable();
            Item::Copies { event_id: numbered.event_id(), positions }
        }));
        items.extend(self.transactions.into_iter().map(|transaction| {
            let place = |(stage, at): &(usize, Position)| Seen {
                topic: topics[*stage].clone(),
                partition: at.partition,
                offset: at.offset,
            };
            let mut seen: Vec<Seen> = transaction.seen.iter().map(place).collect();
            seen.sort_unstable();
            Item::Transaction { transaction: transaction.id, number: transaction.number, seen }
        }));
        Injected {
            pattern: Pattern::of(&self.fault.kind, layout),
            fault: self.fault.kind.name().to_owned(),
            spec: self.fault.spec,
            expect: self.fault.kind.expect(),
            count: self.count,
            items,
        }
    }
}

pub(super) fn sessions(layout: &Layout) -> Vec<Session> {
    let mut runs = BTreeMap::new();
    for session in 0..layout.producers as u32 {
        let reset = layout.reset.filter(|reset| reset.session == session).map(|reset| reset.ordinal);
        let count = layout.count(session);
        runs.insert((session, 0), reset.unwrap_or(count) - 1);
        if let Some(reset) = reset {
            runs.insert((session, 1), count - reset - 1);
        }
    }
    let named = |((session, incarnation), last)| Session {
        session: label(session, incarnation),
        partition: layout.home(session),
        first: 0,
        last,
    };
    runs.into_iter().map(named).collect()
}

pub(super) fn audit_options(layout: &Layout) -> AuditOptions {
    AuditOptions {
        id: "header:event-id".to_owned(),
        session: "header:producer".to_owned(),
        sequence: "header:seq".to_owned(),
        sequence_end: "header:seq-end".to_owned(),
        sequence_start: 0,
        scope: if layout.spread { Scope::Topic } else { Scope::Partition },
        wait_ms: layout.wait_us / 1000,
    }
}
