//! What can go wrong on request, as a closed list, and how it is written on a command line: `name=value`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One fault to inject. Rates are shares of the records planned, above 0 and at most 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub kind: FaultKind,
    /// As it was asked for.
    pub spec: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FaultKind {
    /// Every n-th number of each session never arrives.
    LoseEvery(u64),
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
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::LoseEvery(_) => "lose-every",
            FaultKind::Lose(_) => "lose",
            FaultKind::LoseBurst { .. } => "lose-burst",
            FaultKind::Duplicate(_) => "duplicate",
            FaultKind::DuplicateFar(_) => "duplicate-far",
            FaultKind::Conflict(_) => "conflict",
            FaultKind::Swap(_) => "swap",
            FaultKind::Late(_) => "late",
            FaultKind::LateBeyond(_) => "late-beyond",
            FaultKind::HeadLoss(_) => "head-loss",
            FaultKind::TailLoss(_) => "tail-loss",
            FaultKind::MisnumberReset => "misnumber-reset",
            FaultKind::AbortTransaction(_) => "abort-transaction",
            FaultKind::Tombstones(_) => "tombstones",
        }
    }

    pub fn expect(self) -> Expect {
        match self {
            FaultKind::LoseEvery(_)
            | FaultKind::Lose(_)
            | FaultKind::LoseBurst { .. }
            | FaultKind::HeadLoss(_)
            | FaultKind::TailLoss(_) => Expect::Lost,
            FaultKind::Duplicate(_) | FaultKind::DuplicateFar(_) => Expect::Duplicate,
            FaultKind::Conflict(_) => Expect::Conflict,
            FaultKind::Swap(_) | FaultKind::Late(_) => Expect::Reorder,
            FaultKind::LateBeyond(_) => Expect::Late,
            FaultKind::MisnumberReset => Expect::Reset,
            FaultKind::AbortTransaction(_) | FaultKind::Tombstones(_) => Expect::None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    #[error(
        "unknown fault {0:?}; known are lose-every=N, lose=RATE, lose-burst=RATExLEN, duplicate=RATE, \
         duplicate-far=RATE, conflict=RATE, swap=RATE, late=RATE, late-beyond=RATE, head-loss=N, tail-loss=N, \
         misnumber-reset, abort-transaction=RATE, tombstones=RATE"
    )]
    Unknown(String),
    #[error("{spec:?}: {value:?} is no rate; write a share such as 0.1% or 0.001, above 0 and at most 100%")]
    Rate { spec: String, value: String },
    #[error("{spec:?}: {value:?} is no count; write a whole number of at least {least}")]
    Count { spec: String, value: String, least: u64 },
    #[error("{spec:?}: write a rate and a length, such as lose-burst=0.01%x50")]
    Burst { spec: String },
    #[error("{spec:?}: this fault takes no value; write misnumber-reset")]
    NoValue { spec: String },
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(spec: &str) -> Result<Self, FaultError> {
        let (name, value) = spec.split_once('=').unwrap_or((spec, ""));
        let rate = || parse_rate(spec, value);
        let kind = match name {
            "lose-every" => FaultKind::LoseEvery(parse_count(spec, value, 2)?),
            "lose" => FaultKind::Lose(rate()?),
            "lose-burst" => {
                let (rate, length) =
                    value.split_once('x').ok_or_else(|| FaultError::Burst { spec: spec.to_owned() })?;
                FaultKind::LoseBurst { rate: parse_rate(spec, rate)?, length: parse_count(spec, length, 1)? }
            }
            "duplicate" => FaultKind::Duplicate(rate()?),
            "duplicate-far" => FaultKind::DuplicateFar(rate()?),
            "conflict" => FaultKind::Conflict(rate()?),
            "swap" => FaultKind::Swap(rate()?),
            "late" => FaultKind::Late(rate()?),
            "late-beyond" => FaultKind::LateBeyond(rate()?),
            "head-loss" => FaultKind::HeadLoss(parse_count(spec, value, 1)?),
            "tail-loss" => FaultKind::TailLoss(parse_count(spec, value, 1)?),
            "misnumber-reset" if spec.contains('=') => return Err(FaultError::NoValue { spec: spec.to_owned() }),
            "misnumber-reset" => FaultKind::MisnumberReset,
            "abort-transaction" => FaultKind::AbortTransaction(rate()?),
            "tombstones" => FaultKind::Tombstones(rate()?),
            _ => return Err(FaultError::Unknown(spec.to_owned())),
        };
        Ok(Fault { kind, spec: spec.to_owned() })
    }
}

fn parse_rate(spec: &str, value: &str) -> Result<f64, FaultError> {
    let (digits, unit) = match value.strip_suffix('%') {
        Some(digits) => (digits, 0.01),
        None => (value, 1.0),
    };
    digits
        .parse::<f64>()
        .ok()
        .map(|share| share * unit)
        .filter(|&rate| rate > 0.0 && rate <= 1.0)
        .ok_or_else(|| FaultError::Rate { spec: spec.to_owned(), value: value.to_owned() })
}

fn parse_count(spec: &str, value: &str, least: u64) -> Result<u64, FaultError> {
    value.parse().ok().filter(|&count| count >= least).ok_or_else(|| FaultError::Count {
        spec: spec.to_owned(),
        value: value.to_owned(),
        least,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(spec: &str) -> FaultKind {
        spec.parse::<Fault>().unwrap().kind
    }

    #[test]
    fn rates_are_shares_or_percentages() {
        assert_eq!(kind("lose=0.25"), FaultKind::Lose(0.25));
        assert_eq!(kind("swap=25%"), FaultKind::Swap(0.25));
        assert_eq!(kind("lose-burst=50%x7"), FaultKind::LoseBurst { rate: 0.5, length: 7 });
        for wrong in ["lose=0", "lose=101%", "lose=-1%", "lose=NaN", "lose=inf", "lose=", "lose", "lose=x"] {
            assert!(matches!(wrong.parse::<Fault>(), Err(FaultError::Rate { .. })), "{wrong}");
        }
    }

    #[test]
    fn a_wrong_fault_says_what_is_right() {
        assert!(matches!("lose-every=1".parse::<Fault>(), Err(FaultError::Count { least: 2, .. })));
        assert!(matches!("head-loss=-3".parse::<Fault>(), Err(FaultError::Count { .. })));
        assert!(matches!("lose-burst=1%".parse::<Fault>(), Err(FaultError::Burst { .. })));
        assert!(matches!("misnumber-reset=1".parse::<Fault>(), Err(FaultError::NoValue { .. })));
        assert!("drop=1%".parse::<Fault>().unwrap_err().to_string().contains("lose=RATE"));
    }

    #[test]
    fn the_name_of_a_kind_is_the_name_it_was_parsed_from() {
        let specs = [
            "lose-every=7",
            "lose=1%",
            "lose-burst=1%x5",
            "duplicate=1%",
            "duplicate-far=1%",
            "conflict=1%",
            "swap=1%",
            "late=1%",
            "late-beyond=1%",
            "head-loss=3",
            "tail-loss=3",
            "misnumber-reset",
            "abort-transaction=1%",
            "tombstones=1%",
        ];
        for spec in specs {
            assert_eq!(spec.split('=').next(), Some(kind(spec).name()));
        }
    }
}
