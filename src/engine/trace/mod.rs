//! Where an identity was seen: the questions, and the two who can answer them, a ledger at rest and the auditor of a
//! live process. Questions carry hashes only, so the secret stays with whoever asks.
//!
//! `sought` turns what the user knows (an id, a session and number, a hash) into identities; `socket` carries
//! questions to a live process. `found` and `transaction` answer from what the ledger holds; of the answers `path`
//! makes the way of a transaction through its flow, with what `coverage` says was read.

pub mod coverage;
mod found;
mod look_up;
pub mod path;
mod socket;
mod sought;
mod transaction;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::EngineError;
use super::auditor::{Auditor, damage_finding};
use super::partitions::States;
use super::state::{self, Entry, FlowPlan, State};
use crate::audit::duplicates::Case;
use crate::audit::finding::Finding;
use crate::ledger::{Damage, Key, Ledger, LedgerError};
use coverage::Covered;
use found::found;

pub use look_up::{Traced, find, look_up, trace};
pub use socket::Live;
pub(super) use socket::{Ask, Listener};
pub use sought::{Candidate, Sought, candidates};
pub use transaction::Transaction;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Question {
    /// Which ledger this is.
    About,
    /// How often each of these sessions began anew.
    Incarnations { sessions: Vec<Hash> },
    /// Where these identities were seen.
    Find { identities: Vec<Hash> },
    /// What was found of these transactions of a flow, and what they wait for.
    Follow { transactions: Vec<Hash> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    About(About),
    Incarnations { incarnations: Vec<u32> },
    Found { found: Vec<Found> },
    Followed { transactions: Vec<Transaction> },
    Failed { why: String },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// The rules the ledger was made with, as flags.
    pub rules: String,
    /// Names the secret without giving it away.
    pub secret: Hash,
    pub partitions: Vec<(String, i32)>,
    /// What was read of them, in the same order; older processes do not say.
    #[serde(default)]
    pub coverage: Vec<Covered>,
    /// Of a flow's ledger: its stages.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub flow: Option<FlowPlan>,
}

/// What is known of one identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    pub identity: Hash,
    /// Ascending by time and place.
    pub arrivals: Vec<Arrival>,
    /// Arrivals that were counted; more than are listed when there are very many.
    pub counted: u64,
    /// What may hide more, in words.
    pub damage: Vec<String>,
    /// Duplicates and conflicts.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub findings: Vec<Finding>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// Seconds since 1970.
    pub second: u32,
    pub checksum: Hash,
    /// Producer id and epoch, where the batch names them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub producer: Option<(i64, i16)>,
    pub state: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// The ledger keeps it: later arrivals are compared with it.
    Kept,
    /// It came again; listed in the finding.
    Repeat,
    /// Read and not compared yet.
    Buffered,
}

/// A hash, in hexadecimal digits where it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash(pub u128);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(Hash).map_err(serde::de::Error::custom)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(
        "the ledger {} is in use by a process that answers no questions ({why}); try again, or wait until it has ended",
        path.display()
    )]
    NoAnswer { path: PathBuf, why: String },
    #[error("the process that uses the ledger could not answer: {why}; try again")]
    Failed { why: String },
    #[error("the key is not the one of the process that uses the ledger; name the key the ledger was made with")]
    OtherKey,
    #[error("{why}")]
    Unfit { why: String },
}

/// Who answers.
pub trait Holder {
    fn ask(&mut self, question: &Question) -> Result<Answer, TraceError>;
}

/// A ledger that no process uses.
pub struct AtRest {
    pub ledger: Ledger,
    state: State,
}

impl AtRest {
    /// Opens a ledger without loading any of its runs.
    pub fn open(dir: &Path, key: Option<&Key>) -> Result<Self, TraceError> {
        Self::of(Ledger::open_to_read(dir, key)?, dir)
    }

    /// Of a ledger that was opened to be changed.
    pub fn of(ledger: Ledger, dir: &Path) -> Result<Self, TraceError> {
        let state = state::read(ledger.state(), dir)?.unwrap_or_default();
        Ok(Self { ledger, state })
    }

    pub fn partitions(&self) -> &[crate::audit::partition::PartitionState] {
        &self.state.partitions
    }

    pub fn rules(&self) -> &str {
        &self.state.rules
    }

    /// Topic and partition of the ledger's number.
    pub fn name(&self, partition: u32) -> (&str, i32) {
        States(&self.state.partitions).place(partition)
    }

    /// Damage in words.
    pub fn words(damage: &Damage) -> String {
        damage_finding(damage).why
    }

    /// Journal entries whose bytes are sound and that still cannot be read.
    pub fn unreadable(&self) -> Result<Vec<String>, TraceError> {
        let mut unreadable = Vec::new();
        for entry in self.ledger.entries()? {
            let (key, bytes) = entry?;
            if let Err(why) = Entry::decode(&bytes) {
                unreadable.push(format!("the journal's entry {key:032x} does not parse ({why})"));
            }
        }
        Ok(unreadable)
    }
}

impl Holder for AtRest {
    fn ask(&mut self, question: &Question) -> Result<Answer, TraceError> {
        if let Question::Follow { transactions } = question {
            return Ok(Answer::Followed { transactions: self.follow(transactions)? });
        }
        let mut cases = BTreeMap::new();
        if let Question::Find { identities } = question {
            let keys: Vec<u128> = identities.iter().map(|identity| identity.0).collect();
            for (key, bytes) in self.ledger.entries_of(&keys)? {
                if let Ok(Entry::Case(case)) = Entry::decode(&bytes) {
                    cases.insert(key, case);
                }
            }
        }
        Ok(answer(question, &self.ledger, &self.state, &|identity| cases.get(&identity))?)
    }
}

impl Auditor<'_> {
    /// Answers between two chunks, from what was read so far.
    pub(super) fn answer(&self, question: &Question) -> Answer {
        let answered = match question {
            Question::Follow { transactions } => {
                self.follow(transactions).map(|transactions| Answer::Followed { transactions })
            }
            _ => answer(question, &self.ledger, &self.state, &|identity| self.duplicates.case(identity)),
        };
        answered.unwrap_or_else(|error| Answer::Failed { why: error.to_string() })
    }
}

fn answer<'a>(
    question: &Question,
    ledger: &Ledger,
    state: &State,
    case: &dyn Fn(u128) -> Option<&'a Case>,
) -> Result<Answer, LedgerError> {
    match question {
        Question::About => Ok(Answer::About(About {
            rules: state.rules.clone(),
            secret: Hash(ledger.secret_id().into()),
            partitions: state.partitions.iter().map(|p| (p.topic.clone(), p.partition)).collect(),
            coverage: state.partitions.iter().map(Covered::of).collect(),
            flow: state.plan.clone(),
        })),
        Question::Incarnations { sessions } => {
            let of = |session: &Hash| state.sessions.incarnation_of(session.0 as u64);
            Ok(Answer::Incarnations { incarnations: sessions.iter().map(of).collect() })
        }
        Question::Find { identities } => {
            let find = |identity: &Hash| found(*identity, ledger, state, case(identity.0));
            Ok(Answer::Found { found: identities.iter().map(find).collect::<Result<_, _>>()? })
        }
        // Whoever holds the flow's state answers that.
        Question::Follow { .. } => Ok(Answer::Followed { transactions: Vec::new() }),
    }
}
