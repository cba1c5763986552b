//! Two tables, each under a snapshot of its own. Nothing ties the snapshots together, so what differs is read again after the
//! settle time: what stands there unchanged on both sides is drift, what has changed meanwhile is in motion.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::agree::align;
use super::conserve::judge::{Imbalance, Judged, judge};
use super::conserve::law::{self, Bound};
use super::digest::{Digest, Method, bucket_of};
use super::localise::{Localised, Side, both, localise};
use super::relax::Relaxed;
use super::say::{self, Difference, Stores};
use super::shape::{Row, Rows, by_key};
use super::table::Table;
use super::topic::Read;
use super::{DriftError, Part, Settings, Told, conserve, note};
use crate::audit::drift::{Claim, DriftSummary};
use crate::audit::finding::Kind;
use crate::audit::verdict::Report;
use crate::engine::Progress;

pub fn compare(
    settings: &Settings,
    first: &mut dyn Table,
    second: &mut dyn Table,
    progress: &Arc<Progress>,
) -> Result<Report, DriftError> {
    let began = Instant::now();
    let shape = align(first, second)?;
    let method = agree_on_method(first, second);
    let mut summary = DriftSummary::new(first.name().to_owned(), second.name().to_owned(), Claim::Heuristic);
    summary.columns = shape.columns().map(|column| column.name.clone()).collect();
    let laws = law::bind(&settings.laws, &shape)?;
    Relaxed::new(&settings.relaxed, &shape)?;
    let (before, judged) = match &settings.named {
        Some(keys) => (named(first, second, &keys.keys(&shape)?, &mut summary)?, Judged::default()),
        None => look(settings, first, second, &laws, &mut summary, progress)?,
    };
    let mut told = Told { judged, ..Told::new(Read::default(), summary) };
    let is_quiet = before.0.is_empty() && before.1.is_empty();
    let is_balanced = told.judged.wrong.is_empty();
    if !is_quiet || !is_balanced {
        super::pause(settings, progress);
    }
    if !is_quiet && !progress.is_stopped() {
        progress.enter("looking again at what differs".to_owned());
        confirm(settings, first, second, before, method, &mut told)?;
    }
    if !laws.is_empty() && !progress.is_stopped() {
        confirm_balance(settings, first, second, &laws, &mut told, progress)?;
    }
    told.summary.table_bytes = first.bytes() + second.bytes();
    if let Some(file) = &settings.repair {
        file.write(settings, second, &told.summary, &told.fixes)?;
    }
    Ok(say::report(settings, told, progress.is_stopped(), began.elapsed()))
}

/// The best one that both hash by.
pub fn agree_on_method(first: &mut dyn Table, second: &mut dyn Table) -> Method {
    let method = match (first.method(), second.method()) {
        (Method::Chain, Method::Chain) => Method::Chain,
        _ => Method::Md5,
    };
    first.set_method(method);
    second.set_method(method);
    method
}

/// Rows of both by their keys.
type Both = (Rows, Rows);

/// The rows that look wrong.
fn look(
    settings: &Settings,
    first: &mut dyn Table,
    second: &mut dyn Table,
    laws: &[Bound],
    summary: &mut DriftSummary,
    progress: &Progress,
) -> Result<(Both, Judged), DriftError> {
    first.begin()?;
    second.begin()?;
    let part = settings.part;
    progress.enter(format!("adding up {} and {}", first.name(), second.name()));
    let (ours, theirs) = both(|| first.sums(part), || second.sums(part))?;
    if progress.is_stopped() {
        return Ok(Default::default());
    }
    progress.enter("looking for the keys that differ".to_owned());
    (summary.keys, summary.rows) = (ours.rows(), theirs.rows());
    let Localised { mut keys, how } = localise(&mut Side::Table(first), &ours, &mut Side::Table(second), &theirs, &[])?;
    summary.suspects = keys.len() as u64;
    summary.located_by = format!("{how:?}").to_lowercase();
    super::limit(settings, &mut keys, summary);
    let hashes: Vec<u64> = keys.into_iter().collect();
    let found = match hashes.is_empty() {
        true => Both::default(),
        false => both(|| first.rows_by_hash(&hashes).map(by_key), || second.rows_by_hash(&hashes).map(by_key))?,
    };
    if !laws.is_empty() {
        progress.enter("adding up what must be conserved".to_owned());
    }
    let judged = balance(part, first, second, laws)?;
    first.end()?;
    second.end()?;
    Ok((found, judged))
}

/// What must be conserved, under the snapshots that stand.
fn balance(part: Part, first: &mut dyn Table, second: &mut dyn Table, laws: &[Bound]) -> Result<Judged, DriftError> {
    let mut judged = Judged::default();
    if laws.is_empty() {
        return Ok(judged);
    }
    let (ours, theirs) = both(|| first.totals(laws, part), || second.totals(laws, part))?;
    // Nothing is on its way in a snapshot, but a part of the rows need not be zero.
    let none = BTreeSet::new();
    let touched = part.is_whole().then_some(&none);
    for (index, ((law, ours), theirs)) in laws.iter().zip(ours).zip(theirs).enumerate() {
        judge(index, law, ours, theirs, touched, &mut judged);
    }
    Ok(judged)
}

/// Adds up once more where something looked wrong: what stands there unchanged is wrong, what has changed is in motion.
fn confirm_balance(
    settings: &Settings,
    first: &mut dyn Table,
    second: &mut dyn Table,
    laws: &[Bound],
    told: &mut Told,
    progress: &Progress,
) -> Result<(), DriftError> {
    let before = std::mem::take(&mut told.judged);
    let mut judged = Judged { wrong: Vec::new(), ..before };
    if !before.wrong.is_empty() {
        first.begin()?;
        second.begin()?;
        judged = balance(settings.part, first, second, laws)?;
        first.end()?;
        second.end()?;
    }
    if progress.is_stopped() {
        judged = Judged::stopped();
    }
    let is_moved = |now: &&Imbalance| before.wrong.iter().any(|old| old.is_same(now) && old != *now);
    note(&mut told.summary.unverifiable, "in-motion", judged.wrong.iter().filter(is_moved).count() as u64);
    judged.settle(|now| before.wrong.contains(now));
    let names = [first.name(), second.name()];
    for wrong in &judged.wrong {
        told.findings.push(conserve::say::finding(settings, &laws[wrong.law], wrong, names, first.name()));
    }
    conserve::say::count(settings, laws, &judged, names, first.name(), &mut told.summary);
    Ok(())
}

/// The rows of these keys and no others.
fn named(
    first: &mut dyn Table,
    second: &mut dyn Table,
    keys: &[Vec<String>],
    summary: &mut DriftSummary,
) -> Result<Both, DriftError> {
    first.begin()?;
    second.begin()?;
    let found = both(|| first.rows(keys).map(by_key), || second.rows(keys).map(by_key))?;
    first.end()?;
    second.end()?;
    summary.keys = keys.len() as u64;
    summary.suspects = summary.keys;
    summary.rows = found.1.values().map(Vec::len).sum::<usize>() as u64;
    summary.located_by = "named".to_owned();
    Ok(found)
}

/// Looks again at what looked wrong. Hashes say whether it is still as it was; then so are the rows, each of which is let go of
/// as soon as a finding has what is told of it.
fn confirm(
    settings: &Settings,
    first: &mut dyn Table,
    second: &mut dyn Table,
    mut before: Both,
    method: Method,
    told: &mut Told,
) -> Result<(), DriftError> {
    let keys: BTreeSet<&Vec<String>> = before.0.keys().chain(before.1.keys()).collect();
    let keys: Vec<Vec<String>> = keys.into_iter().cloned().collect();
    let now = digests(first, second, &keys)?;
    let shape = first.shape().clone();
    let stores = Stores { first: first.name(), second: second.name(), shape: &shape, method };
    let relaxed = Relaxed::new(&settings.relaxed, &shape)?;
    for (key, hash) in keys.iter().zip(method.keys(&keys)) {
        let (ours, theirs) = (before.0.remove(key).unwrap_or_default(), before.1.remove(key).unwrap_or_default());
        let (ours_now, theirs_now) = (of_key(&now.0, hash), of_key(&now.1, hash));
        if ours_now == theirs_now {
            continue;
        }
        if ours_now != ordered(method.of_rows(&ours)) || theirs_now != ordered(method.of_rows(&theirs)) {
            note(&mut told.summary.unverifiable, "in-motion", 1);
            told.summary.undecided.buckets.insert(bucket_of(hash));
            continue;
        }
        if let ([ours], [theirs]) = (ours.as_slice(), theirs.as_slice())
            && let Some(columns) = relaxed.forgives(ours, theirs)
        {
            columns.iter().for_each(|column| note(&mut told.summary.relaxed, column, 1));
            continue;
        }
        let difference = difference(key, &ours, &theirs);
        told.take(settings, &difference, difference.finding(settings, &stores));
    }
    Ok(())
}

/// Of all rows with these keys, on both sides, in order.
fn digests(
    first: &mut dyn Table,
    second: &mut dyn Table,
    keys: &[Vec<String>],
) -> Result<(Vec<Digest>, Vec<Digest>), DriftError> {
    first.begin()?;
    second.begin()?;
    let found = both(|| first.digests_of(keys).map(ordered), || second.digests_of(keys).map(ordered))?;
    first.end()?;
    second.end()?;
    Ok(found)
}

fn ordered(mut digests: Vec<Digest>) -> Vec<Digest> {
    digests.sort_unstable();
    digests
}

/// Those of one key, of all in order.
fn of_key(digests: &[Digest], key: u64) -> &[Digest] {
    let from = digests.partition_point(|digest| digest.key < key);
    let until = digests.partition_point(|digest| digest.key <= key);
    &digests[from..until]
}

fn difference<'a>(key: &'a [String], ours: &'a [Row], theirs: &'a [Row]) -> Difference<'a> {
    let (kind, says, cause) = match (ours.len(), theirs.len()) {
        (a, b) if a > 1 || b > 1 => {
            (Kind::Differs, format!("has {a} rows in the first table and {b} in the second"), Some("repeated-key"))
        }
        (_, 0) => (Kind::Missing, "is in the first table and not in the second".to_owned(), None),
        (0, _) => (Kind::Extra, "is in the second table and not in the first".to_owned(), None),
        _ => (Kind::Differs, String::new(), None),
    };
    Difference { kind, key, expected: ours.first(), actual: theirs.first(), says, cause }
}
