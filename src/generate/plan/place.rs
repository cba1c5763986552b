//! Where faults go: what is hit for what it is, what has room at a place, and what is kept clear around it.

use std::cmp::Reverse;

use super::{Fate, Held, Plan};
use crate::generate::fault::{Comb, FaultKind};
use crate::generate::layout::{Layout, Salt, Slot, draw, draw_unit};

/// Numbers kept clear around each fault.
const CLEAR: u64 = 2;
/// Steps within which a copy follows.
const SOON: u64 = 90;

impl Plan {
    /// Faults that concern one session each: every further one takes the next session.
    pub(super) fn place_on_sessions(&mut self) {
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

    /// The fault that loses this record for where it stands or what it is.
    fn destined(&self, slot: Slot) -> Option<usize> {
        let number = self.layout.numbered(slot).number;
        let hit =
            |fault: usize| is_hit(&self.faults[fault], fault, &self.layout, slot, u64::from(slot.session), number);
        (0..self.faults.len())
            .find(|&fault| !self.faults[fault].is_of_flow() && hit(fault))
            .filter(|_| self.inner(slot).contains(&slot.ordinal))
    }

    /// Whether a fault other than a loss may take the numbers from `slot` to `last`.
    fn is_clear(&self, slot: Slot, last: u64) -> bool {
        let inner = self.inner(slot);
        let around = slot.ordinal.saturating_sub(CLEAR)..=last + CLEAR;
        slot.ordinal >= inner.start.max(self.sessions[slot.session as usize].clear)
            && last < inner.end
            && !around.into_iter().any(|ordinal| self.destined(Slot { ordinal, ..slot }).is_some())
    }

    fn occupy(&mut self, session: u32, last: u64) {
        let state = &mut self.sessions[session as usize];
        state.clear = last + CLEAR + 1;
        state.clear_for_loss = state.clear;
    }

    /// Decides what becomes of the record whose turn it is.
    pub(super) fn decide(&mut self, slot: Slot) -> Fate {
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
        head.or(tail).map(|(fault, _)| fault).or_else(|| self.destined(slot)).or(burst.map(|(fault, _)| fault))
    }

    fn lose(&mut self, fault: usize, slot: Slot) -> Fate {
        let state = &mut self.sessions[slot.session as usize];
        state.clear = state.clear.max(slot.ordinal + CLEAR + 1);
        self.tally.number(fault, self.layout.numbered(slot));
        Fate::Absent
    }

    /// Puts a fault on the slot, if there is room.
    fn place(&mut self, fault: usize, slot: Slot) -> Option<Fate> {
        match &self.faults[fault] {
            FaultKind::Lose(_) => self.place_loss(fault, slot, 1),
            &FaultKind::LoseBurst { length, .. } => self.place_loss(fault, slot, length),
            FaultKind::Duplicate(_) => self.place_copies(fault, slot, &[self.soon(slot)], false),
            FaultKind::Conflict(_) => self.place_copies(fault, slot, &[self.soon(slot)], true),
            FaultKind::DuplicateFar(_) => self.place_copies(fault, slot, &[self.far(slot)?], false),
            FaultKind::RetryComb(comb) => self.place_copies(fault, slot, &self.retries(fault, slot, comb), false),
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

    /// Copies, each when it is due.
    fn place_copies(&mut self, fault: usize, slot: Slot, due_us: &[u64], altered: bool) -> Option<Fate> {
        let last = due_us.iter().max()?;
        if !self.is_clear(slot, slot.ordinal) || *last >= self.layout.due_us(self.last_step(slot)) {
            return None;
        }
        self.occupy(slot.session, slot.ordinal);
        let mark = self.tally.copy(fault, self.layout.numbered(slot));
        due_us.iter().for_each(|&due_us| self.hold(Held { due_us, slot, altered, mark: Some(mark) }));
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
        self.hold(Held { due_us: self.layout.due_us(until), slot, altered: false, mark: None });
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
        let steps = 1 + draw(self.layout.seed, Salt::Distance, u64::from(slot.session), slot.ordinal) % SOON;
        self.layout.due_us(self.step + steps)
    }

    fn far(&self, slot: Slot) -> Option<u64> {
        let least = self.step + self.layout.records.div_ceil(5);
        let room = self.last_step(slot).checked_sub(least).filter(|&room| room > 0)?;
        let steps = draw(self.layout.seed, Salt::Distance, u64::from(slot.session), slot.ordinal) % room;
        Some(self.layout.due_us(least + steps))
    }

    /// When the client tries again, counted from the first time.
    fn retries(&self, fault: usize, slot: Slot, comb: &Comb) -> Vec<u64> {
        let layout = &self.layout;
        let spread = |retry: usize| match comb.has_jitter {
            true => 0.5 + draw_unit(layout.seed, Salt::Jitter(fault), layout.step(slot), retry as u64),
            false => 1.0,
        };
        let due = |(retry, &delay_ms): (usize, &u64)| (delay_ms as f64 * 1e3 * spread(retry)) as u64;
        comb.delays_ms.iter().enumerate().map(due).map(|delay| layout.due_us(self.step).saturating_add(delay)).collect()
    }
}

/// Whether a fault that has no pace of its own hits the record: every n-th, or those with an attribute. `counter` keeps
/// the draws of one counter apart from those of others.
pub(in crate::generate) fn is_hit(
    kind: &FaultKind,
    fault: usize,
    layout: &Layout,
    slot: Slot,
    counter: u64,
    number: u64,
) -> bool {
    let random = |salt, at| draw_unit(layout.seed, salt, counter, at);
    match kind {
        FaultKind::LoseEvery(every) | FaultKind::DropEvery(every) => {
            every.hits(number, |turn| (random(Salt::Hit(fault), turn), random(Salt::Jitter(fault), turn)))
        }
        FaultKind::LoseWhere(tied) | FaultKind::DropWhere(tied) => {
            random(Salt::Hit(fault), layout.step(slot)) < tied.rate && layout.has(&tied.attribute, slot)
        }
        _ => false,
    }
}
