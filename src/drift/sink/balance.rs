//! What must be conserved between a topic and its table: the table adds up in SQL, and the records that the topic's state
//! comes from are read again and added up here. Keys in flight are taken out of both sides.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use super::state::open_of;
use super::{Bracket, Sink};
use crate::audit::drift::Claim;
use crate::audit::finding::Grade;
use crate::drift::conserve::judge::{Imbalance, Judged, judge};
use crate::drift::conserve::law::{Bound, Sign};
use crate::drift::conserve::say;
use crate::drift::conserve::total::{Group, Totals};
use crate::drift::cut::Sight;
use crate::drift::digest::Spans;
use crate::drift::fold::places::Places;
use crate::drift::fold::{Fold, State};
use crate::drift::record::Says;
use crate::drift::shape::{Row, Shape};
use crate::drift::table::Table;
use crate::drift::topic::{self, Read, Take};
use crate::drift::witness::Witness;
use crate::drift::{DriftError, Told};
use crate::source::Start;
use crate::wire::Record;

/// A look at everything, while the table's snapshot stands.
pub(super) struct View<'l> {
    pub fold: &'l Fold,
    pub sight: &'l Sight,
    pub shape: &'l Shape,
    pub read: &'l Read,
    /// Keys that are not certain, and the rows of those whose texts are known.
    pub open: &'l FxHashMap<u64, State>,
    pub keys: &'l [Vec<String>],
    pub rows: &'l [Row],
}

impl View<'_> {
    /// Why nothing can be said.
    fn is_short(&self) -> Option<&'static str> {
        match () {
            () if !self.read.unread.is_empty() => Some("some records of the topic could not be read"),
            () if self.read.is_trimmed => Some("records have left the topic, and what they were of is not known"),
            () if self.keys.len() < self.open.len() => Some("a key has records in several partitions"),
            () => None,
        }
    }
}

/// Adds up again what is certain.
struct Recount<'r> {
    witness: Witness<'r>,
    places: &'r Places,
    /// Columns of the key, which come first.
    keys: usize,
    laws: &'r [Bound],
    sums: Sums,
    spans: Spans,
}

/// By law.
#[derive(Clone, Default)]
struct Sums {
    totals: Vec<Totals>,
    /// Groups that records on their way belong to.
    touched: Vec<Totals>,
    /// A record on its way does not tell its group.
    vague: Vec<bool>,
    rows: u64,
}

impl Sums {
    fn new(laws: usize) -> Self {
        let none = vec![Totals::default(); laws];
        Self { totals: none.clone(), touched: none, vague: vec![false; laws], rows: 0 }
    }

    fn merge(&mut self, laws: &[Bound], other: Sums) -> Result<(), DriftError> {
        self.vague.iter_mut().zip(&other.vague).for_each(|(ours, theirs)| *ours |= theirs);
        self.rows += other.rows;
        for (index, (totals, touched)) in other.totals.into_iter().zip(other.touched).enumerate() {
            self.totals[index].merge(&laws[index], totals)?;
            self.touched[index].merge(&laws[index], touched)?;
        }
        Ok(())
    }
}

impl Take for Recount<'_> {
    fn take(&mut self, partition: i32, record: &Record<'_>) -> Result<(), DriftError> {
        let is_certain = self.places.certain.has(partition, record.offset);
        if !is_certain && !self.places.others.has(partition, record.offset) {
            return Ok(());
        }
        let says = self.witness.read(partition, record, &mut self.spans).ok().flatten().map(|(says, _)| says);
        let sums = &mut self.sums;
        match says {
            Some(Says::Row) if is_certain => {
                sums.rows += 1;
                let each = &mut self.laws.iter().zip(&mut sums.totals);
                each.try_for_each(|(law, totals)| totals.add(law, &self.spans, Sign::Plus))
            }
            Some(Says::Row | Says::Partial) => {
                // What a record does not tell may be nothing that the law asks for.
                let (keys, unavailable) = (self.keys, &self.witness.parser.unavailable);
                let is_told = |place: usize| !unavailable.iter().any(|column| keys + column == place);
                let each = self.laws.iter().zip(sums.touched.iter_mut().zip(&mut sums.vague));
                for (law, (touched, is_vague)) in each {
                    if law.groups.iter().all(|(place, _)| is_told(*place)) {
                        touched.add(law, &self.spans, Sign::Plus)?;
                    } else {
                        *is_vague = true;
                    }
                }
                Ok(())
            }
            Some(Says::Deleted | Says::Nothing) => Ok(()),
            Some(Says::Unreadable(_)) | None => {
                sums.vague.fill(true);
                Ok(())
            }
        }
    }
}

impl Sink<'_> {
    pub(super) fn balance(&self, table: &mut dyn Table, view: &View<'_>) -> Result<Judged, DriftError> {
        let laws = &self.laws;
        let mut judged = Judged { unjudged: view.is_short(), ..Judged::default() };
        if laws.is_empty() || judged.unjudged.is_some() {
            return Ok(judged);
        }
        self.progress.enter("adding up what must be conserved".to_owned());
        let places = view.fold.places().map_err(DriftError::Disk)?;
        let opened = topic::open(&self.properties, &self.place.topic, Start::Beginning, &[])?;
        let taker = || Recount {
            witness: Witness::new(view.shape, self.place, view.sight),
            places: &places,
            keys: view.shape.keys.len(),
            laws,
            sums: Sums::new(laws.len()),
            spans: Spans::default(),
        };
        let part = self.settings.part;
        let ((_, takers), mut theirs) = std::thread::scope(|scope| {
            let adding = scope.spawn(|| table.totals(laws, part));
            let read = opened.read(self.progress, taker);
            let totals = adding.join().map_err(|_| DriftError::Thread)?;
            Ok::<_, DriftError>((read?, totals?))
        })?;
        let mut ours = Sums::new(laws.len());
        takers.into_iter().try_for_each(|taker| ours.merge(laws, taker.sums))?;
        if ours.rows < places.certain.len() {
            judged.unjudged = Some("records left the topic while it was read for the second time");
            return Ok(judged);
        }
        for (index, law) in laws.iter().enumerate() {
            for row in view.rows {
                theirs[index].add_row(law, row, Sign::Minus)?;
                ours.touched[index].add_row(law, row, Sign::Plus)?;
            }
        }
        let Sums { totals, touched, vague, .. } = ours;
        for (index, (((law, first), second), touched)) in laws.iter().zip(totals).zip(theirs).zip(touched).enumerate() {
            let touched: BTreeSet<Group> = touched.into_groups().into_keys().collect();
            let settled = (part.is_whole() && !vague[index]).then_some(&touched);
            judge(index, law, first, second, settled, &mut judged);
        }
        Ok(judged)
    }

    /// Adds up once more where something looked wrong, under a new bracket.
    pub(super) fn confirm_balance(&self, table: &mut dyn Table, told: &mut Told) -> Result<(), DriftError> {
        let before = std::mem::take(&mut told.judged);
        if self.laws.is_empty() {
            return Ok(());
        }
        let (judged, is_sure) = match before.wrong.is_empty() {
            true => (before, true),
            false if self.progress.is_stopped() => (Judged::stopped(), false),
            false => self.balance_again(table, told, &before.wrong)?,
        };
        let stores = [format!("topic {}", self.place.topic), table.name().to_owned()];
        let stores = [stores[0].as_str(), stores[1].as_str()];
        for wrong in &judged.wrong {
            let mut finding = say::finding(self.settings, &self.laws[wrong.law], wrong, stores, &self.place.topic);
            if !is_sure {
                finding.grade = Grade::Possible;
            }
            told.findings.push(finding);
        }
        say::count(self.settings, &self.laws, &judged, stores, &self.place.topic, &mut told.summary);
        Ok(())
    }

    /// What is wrong still, and whether it can be nothing else.
    fn balance_again(
        &self,
        table: &mut dyn Table,
        told: &Told,
        before: &[Imbalance],
    ) -> Result<(Judged, bool), DriftError> {
        let is_late = told.summary.claim == Claim::Heuristic;
        let Bracket { sight, opened, claim, .. } =
            self.bracket(table, if is_late { self.settings.settle } else { self.settings.wait })?;
        let (shape, fold) = (table.shape().clone(), Fold::new(self.settings.memory_bytes));
        let (read, taken) = self.fold(opened, &shape, &sight, &fold, false)?;
        let open = open_of(&fold)?;
        let keys = taken.texts(&open);
        let rows = table.rows(&keys)?;
        let view =
            View { fold: &fold, sight: &sight, shape: &shape, read: &read, open: &open, keys: &keys, rows: &rows };
        let mut judged = self.balance(table, &view)?;
        table.end()?;
        if self.progress.is_stopped() {
            return Ok((Judged::stopped(), false));
        }
        // A total that must be zero and changes is still being written.
        judged
            .settle(|now| before.iter().any(|old| old.is_same(now) && (now.of.is_none() || old.actual == now.actual)));
        let claim = claim.max(told.summary.claim);
        Ok((judged, claim != Claim::Heuristic))
    }
}
