//! When the next fault of a rate is due. Knows nothing of whether there is room for it.

use super::fault::FaultKind;
use super::layout::{Salt, draw_unit};

/// Spreads a rate evenly: one random place in every 1/rate, so that even a short plan holds what was asked for.
pub(super) struct Pacer {
    seed: u64,
    fault: usize,
    rate: f64,
    block: u64,
    due: u64,
}

impl Pacer {
    pub fn of(seed: u64, index: usize, fault: &FaultKind) -> Option<Self> {
        match *fault {
            FaultKind::Lose(rate)
            | FaultKind::LoseBurst { rate, .. }
            | FaultKind::Duplicate(rate)
            | FaultKind::DuplicateFar(rate)
            | FaultKind::Conflict(rate)
            | FaultKind::Swap(rate)
            | FaultKind::Late(rate)
            | FaultKind::LateBeyond(rate)
            | FaultKind::Drop(rate)
            | FaultKind::SwapField(rate)
            | FaultKind::AnswerLate(rate)
            | FaultKind::AnswerUnasked(rate) => Some(Self::new(seed, index, rate)),
            FaultKind::RetryComb(ref comb) => Some(Self::new(seed, index, comb.rate)),
            _ => None,
        }
    }

    pub fn new(seed: u64, fault: usize, rate: f64) -> Self {
        let mut pacer = Self { seed, fault, rate, block: 0, due: 0 };
        pacer.aim();
        pacer
    }

    pub fn is_due(&self, step: u64) -> bool {
        self.due <= step
    }

    pub fn advance(&mut self) {
        self.block += 1;
        self.aim();
    }

    fn aim(&mut self) {
        let within = draw_unit(self.seed, Salt::Place(self.fault), self.block, 0);
        self.due = ((self.block as f64 + within) / self.rate) as u64;
    }
}

/// Decides for one transaction after the other whether it is to be aborted first.
pub(super) struct AbortPacer {
    fault: usize,
    pacer: Pacer,
    transactions: u64,
}

impl AbortPacer {
    pub fn new(seed: u64, fault: usize, rate: f64) -> Self {
        Self { fault, pacer: Pacer::new(seed, fault, rate), transactions: 0 }
    }

    /// Which of the plan's faults this is.
    pub fn fault(&self) -> usize {
        self.fault
    }

    pub fn is_doomed(&mut self) -> bool {
        let doomed = self.pacer.is_due(self.transactions);
        if doomed {
            self.pacer.advance();
        }
        self.transactions += 1;
        doomed
    }
}
