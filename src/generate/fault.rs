//! What can go wrong on request, as a closed list, and how it is written on a command line: `name=value`.

use std::fmt;

use serde::{Deserialize, Serialize};

mod parse;
mod pattern;

pub use parse::FaultError;
pub use pattern::{Attribute, Comb, Every, Where};

/// One fault to inject. Rates are shares of the records planned, above 0 and at most 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub kind: FaultKind,
    /// As it was asked for.
    pub spec: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum FaultKind {
    /// Every n-th number of each session never arrives.
    LoseEvery(Every),
    /// What has an attribute never arrives.
    LoseWhere(Where),
    Lose(f64),
    /// Runs of so many numbers, beginning at this rate.
    LoseBurst {
        rate: f64,
        length: u64,
    },
    /// A copy soon after.
    Duplicate(f64),
    /// A copy at least a fifth of the records later.
    DuplicateFar(f64),
    /// Copies at fixed delays, as of clients that retry.
    RetryComb(Comb),
    /// The same id and number again, with another payload.
    Conflict(f64),
    /// Two neighbours of a session in one partition exchange places.
    Swap(f64),
    /// Arrives out of order, well inside the waiting time.
    Late(f64),
    /// Arrives after the waiting time.
    LateBeyond(f64),
    /// The first numbers of one session never arrive.
    HeadLoss(u64),
    /// The last numbers of one session never arrive; its end marker does.
    TailLoss(u64),
    /// One session falls back to number 0 in its middle, with new content. No anomaly by identity.
    MisnumberReset,
    /// Transactions aborted and then sent again. No anomaly on the committed view.
    AbortTransaction(f64),
    /// Null values. No anomaly.
    Tombstones(f64),
    /// Of a flow: the worker reports success for every n-th transaction and answers nothing.
    DropEvery(Every),
    DropWhere(Where),
    Drop(f64),
    /// The answer carries the next order's amount.
    SwapField(f64),
    /// The answer comes after the deadline.
    AnswerLate(f64),
    /// An answer that nobody asked for.
    AnswerUnasked(f64),
}

/// What an audit is expected to call the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    Lost,
    Late,
    Reorder,
    Duplicate,
    Conflict,
    Reset,
    MissingStage,
    UnexpectedRecord,
    StageMismatch,
    None,
}

impl Expect {
    pub fn name(self) -> &'static str {
        match self {
            Expect::Lost => "lost",
            Expect::Late => "late",
            Expect::Reorder => "reorder",
            Expect::Duplicate => "duplicate",
            Expect::Conflict => "conflict",
            Expect::Reset => "reset",
            Expect::MissingStage => "missing-stage",
            Expect::UnexpectedRecord => "unexpected-record",
            Expect::StageMismatch => "stage-mismatch",
            Expect::None => "none",
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FaultKind {
    pub fn name(&self) -> &'static str {
        match self {
            FaultKind::LoseEvery(_) => "lose-every",
            FaultKind::LoseWhere(_) => "lose-where",
            FaultKind::Lose(_) => "lose",
            FaultKind::LoseBurst { .. } => "lose-burst",
            FaultKind::Duplicate(_) => "duplicate",
            FaultKind::DuplicateFar(_) => "duplicate-far",
            FaultKind::RetryComb(_) => "retry-comb",
            FaultKind::Conflict(_) => "conflict",
            FaultKind::Swap(_) => "swap",
            FaultKind::Late(_) => "late",
            FaultKind::LateBeyond(_) => "late-beyond",
            FaultKind::HeadLoss(_) => "head-loss",
            FaultKind::TailLoss(_) => "tail-loss",
            FaultKind::MisnumberReset => "misnumber-reset",
            FaultKind::AbortTransaction(_) => "abort-transaction",
            FaultKind::Tombstones(_) => "tombstones",
            FaultKind::DropEvery(_) => "drop-every",
            FaultKind::DropWhere(_) => "drop-where",
            FaultKind::Drop(_) => "drop",
            FaultKind::SwapField(_) => "swap-field",
            FaultKind::AnswerLate(_) => "answer-late",
            FaultKind::AnswerUnasked(_) => "answer-unasked",
        }
    }

    pub fn expect(&self) -> Expect {
        match self {
            FaultKind::LoseEvery(_)
            | FaultKind::LoseWhere(_)
            | FaultKind::Lose(_)
            | FaultKind::LoseBurst { .. }
            | FaultKind::HeadLoss(_)
            | FaultKind::TailLoss(_) => Expect::Lost,
            FaultKind::Duplicate(_) | FaultKind::DuplicateFar(_) | FaultKind::RetryComb(_) => Expect::Duplicate,
            FaultKind::Conflict(_) => Expect::Conflict,
            FaultKind::Swap(_) | FaultKind::Late(_) => Expect::Reorder,
            FaultKind::LateBeyond(_) | FaultKind::AnswerLate(_) => Expect::Late,
            FaultKind::DropEvery(_) | FaultKind::DropWhere(_) | FaultKind::Drop(_) => Expect::MissingStage,
            FaultKind::SwapField(_) => Expect::StageMismatch,
            FaultKind::AnswerUnasked(_) => Expect::UnexpectedRecord,
            FaultKind::MisnumberReset => Expect::Reset,
            FaultKind::AbortTransaction(_) | FaultKind::Tombstones(_) => Expect::None,
        }
    }

    /// Whether it is the worker of a flow that fails.
    pub fn is_of_flow(&self) -> bool {
        matches!(
            self,
            FaultKind::DropEvery(_)
                | FaultKind::DropWhere(_)
                | FaultKind::Drop(_)
                | FaultKind::SwapField(_)
                | FaultKind::AnswerLate(_)
                | FaultKind::AnswerUnasked(_)
        )
    }

    /// The attribute it is tied to.
    pub fn attribute(&self) -> Option<&Attribute> {
        match self {
            FaultKind::LoseWhere(tied) | FaultKind::DropWhere(tied) => Some(&tied.attribute),
            _ => None,
        }
    }
}
