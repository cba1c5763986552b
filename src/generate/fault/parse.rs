//! Faults as they are written: `name=value`, with a pattern's own parameters after colons.

use std::str::FromStr;

use super::{Attribute, Comb, Every, Fault, FaultKind, Where};
use crate::config::{parse_duration, parse_size};

/// Key classes that can be told apart by their losses.
const MOST_CLASSES: u64 = 64;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    #[error(
        "unknown fault {0:?}; known are lose-every=N, lose-where=WHAT, lose=RATE, lose-burst=RATExLEN, duplicate=RATE, \
         duplicate-far=RATE, retry-comb=RATE:DELAYS, conflict=RATE, swap=RATE, late=RATE, late-beyond=RATE, head-loss=N, \
         tail-loss=N, misnumber-reset, abort-transaction=RATE, tombstones=RATE; and with --flow drop-every=N, \
         drop-where=WHAT, drop=RATE, swap-field=RATE, answer-late=RATE, answer-unasked=RATE"
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
    #[error("{spec:?}: {what}; write {name}=N:rate=RATE:residue=R:jitter=J:restart=M, where all but N may be left out")]
    Every { spec: String, name: String, what: String },
    #[error(
        "{spec:?}: {what}; write {name}=producer:p2, partition:1, key-class:8:3, larger:4KiB or after:60%, \
         and @RATE behind it when not all of them are lost"
    )]
    Where { spec: String, name: String, what: String },
    #[error(
        "{spec:?}: {what}; write a rate and rising delays, such as retry-comb=1%:1s,2s,4s, and :jitter to blur them"
    )]
    Comb { spec: String, what: String },
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(spec: &str) -> Result<Self, FaultError> {
        let (name, value) = spec.split_once('=').unwrap_or((spec, ""));
        let of = Spec { spec, name, value };
        let rate = || of.rate(value);
        let kind = match name {
            "lose-every" => FaultKind::LoseEvery(of.every()?),
            "lose-where" => FaultKind::LoseWhere(of.tied()?),
            "lose" => FaultKind::Lose(rate()?),
            "lose-burst" => {
                let (rate, length) =
                    value.split_once('x').ok_or_else(|| FaultError::Burst { spec: spec.to_owned() })?;
                FaultKind::LoseBurst { rate: of.rate(rate)?, length: of.count(length, 1)? }
            }
            "duplicate" => FaultKind::Duplicate(rate()?),
            "duplicate-far" => FaultKind::DuplicateFar(rate()?),
            "retry-comb" => FaultKind::RetryComb(of.comb()?),
            "conflict" => FaultKind::Conflict(rate()?),
            "swap" => FaultKind::Swap(rate()?),
            "late" => FaultKind::Late(rate()?),
            "late-beyond" => FaultKind::LateBeyond(rate()?),
            "head-loss" => FaultKind::HeadLoss(of.count(value, 1)?),
            "tail-loss" => FaultKind::TailLoss(of.count(value, 1)?),
            "misnumber-reset" if spec.contains('=') => return Err(FaultError::NoValue { spec: spec.to_owned() }),
            "misnumber-reset" => FaultKind::MisnumberReset,
            "abort-transaction" => FaultKind::AbortTransaction(rate()?),
            "tombstones" => FaultKind::Tombstones(rate()?),
            "drop-every" => FaultKind::DropEvery(of.every()?),
            "drop-where" => FaultKind::DropWhere(of.tied()?),
            "drop" => FaultKind::Drop(rate()?),
            "swap-field" => FaultKind::SwapField(rate()?),
            "answer-late" => FaultKind::AnswerLate(rate()?),
            "answer-unasked" => FaultKind::AnswerUnasked(rate()?),
            _ => return Err(FaultError::Unknown(spec.to_owned())),
        };
        Ok(Fault { kind, spec: spec.to_owned() })
    }
}

/// What is being read, for the errors.
struct Spec<'a> {
    spec: &'a str,
    name: &'a str,
    value: &'a str,
}

impl Spec<'_> {
    fn rate(&self, value: &str) -> Result<f64, FaultError> {
        share(value).ok_or_else(|| FaultError::Rate { spec: self.spec.to_owned(), value: value.to_owned() })
    }

    fn count(&self, value: &str, least: u64) -> Result<u64, FaultError> {
        value.parse().ok().filter(|&count| count >= least).ok_or_else(|| FaultError::Count {
            spec: self.spec.to_owned(),
            value: value.to_owned(),
            least,
        })
    }

    /// `N`, and then `name=value` each after a colon.
    fn every(&self) -> Result<Every, FaultError> {
        let wrong = |what: String| FaultError::Every { spec: self.spec.to_owned(), name: self.name.to_owned(), what };
        let mut parts = self.value.split(':');
        let n = self.count(parts.next().unwrap_or_default(), 2)?;
        let mut every = Every { n, rate: 1.0, residue: n - 1, jitter: 0, restart: None };
        for part in parts {
            match part.split_once('=') {
                Some(("rate", rate)) => every.rate = self.rate(rate)?,
                Some(("residue", residue)) => every.residue = self.count(residue, 0)?,
                Some(("jitter", jitter)) => every.jitter = self.count(jitter, 0)?,
                Some(("restart", restart)) => every.restart = Some(self.count(restart, n)?),
                _ => return Err(wrong(format!("{part:?} is no parameter"))),
            }
        }
        if every.residue >= n {
            return Err(wrong(format!("the residue is below {n}")));
        }
        if every.jitter >= n.div_ceil(2) {
            return Err(wrong(format!("a jitter of {} blurs every {n}th away", every.jitter)));
        }
        Ok(every)
    }

    /// `ATTRIBUTE:VALUE`, and `@RATE`.
    fn tied(&self) -> Result<Where, FaultError> {
        let wrong = |what: String| FaultError::Where { spec: self.spec.to_owned(), name: self.name.to_owned(), what };
        let (what, rate) = match self.value.split_once('@') {
            Some((what, rate)) => (what, self.rate(rate)?),
            None => (self.value, 1.0),
        };
        let (attribute, value) = what.split_once(':').unwrap_or((what, ""));
        let attribute = match attribute {
            "producer" => {
                let number = value.strip_prefix('p').and_then(|number| number.parse().ok());
                Attribute::Producer(number.ok_or_else(|| wrong(format!("{value:?} is no producer")))?)
            }
            "partition" => {
                let number = value.parse().ok().filter(|&partition| partition >= 0);
                Attribute::Partition(number.ok_or_else(|| wrong(format!("{value:?} is no partition")))?)
            }
            "key-class" => {
                let (modulus, residue) = value.split_once(':').unwrap_or((value, ""));
                let (modulus, residue) = (self.count(modulus, 2)?, self.count(residue, 0)?);
                if modulus > MOST_CLASSES || residue >= modulus {
                    return Err(wrong(format!("{modulus}:{residue} is no residue modulo 2 to {MOST_CLASSES}")));
                }
                Attribute::KeyClass { modulus, residue }
            }
            "larger" => Attribute::Larger(parse_size(value).map_err(wrong)?),
            "after" => {
                let moment = share(value).filter(|&moment| moment < 1.0);
                Attribute::After(moment.ok_or_else(|| wrong(format!("{value:?} is no share of the traffic")))?)
            }
            _ => return Err(wrong(format!("{attribute:?} is no attribute"))),
        };
        Ok(Where { attribute, rate })
    }

    /// `RATE:DELAY,DELAY`, and `:jitter`.
    fn comb(&self) -> Result<Comb, FaultError> {
        let wrong = |what: String| FaultError::Comb { spec: self.spec.to_owned(), what };
        let mut parts = self.value.split(':');
        let rate = self.rate(parts.next().unwrap_or_default())?;
        let delays = parts.next().ok_or_else(|| wrong("the delays are missing".to_owned()))?;
        let delay = |text| parse_duration(text).map(|delay| delay.as_millis() as u64).map_err(&wrong);
        let delays_ms: Vec<u64> = delays.split(',').map(delay).collect::<Result<_, _>>()?;
        let has_jitter = match (parts.next(), parts.next()) {
            (None, _) => false,
            (Some("jitter"), None) => true,
            (Some(other), _) => return Err(wrong(format!("{other:?} is not known"))),
        };
        if delays_ms[0] == 0 || !delays_ms.is_sorted_by(|a, b| a < b) {
            return Err(wrong("the delays do not rise".to_owned()));
        }
        Ok(Comb { rate, delays_ms, has_jitter })
    }
}

/// A percentage or a fraction, above 0 and at most 1.
fn share(value: &str) -> Option<f64> {
    let (digits, unit) = match value.strip_suffix('%') {
        Some(digits) => (digits, 0.01),
        None => (value, 1.0),
    };
    digits.parse::<f64>().ok().map(|share| share * unit).filter(|&rate| rate > 0.0 && rate <= 1.0)
}

#[cfg(test)]
mod tests;
