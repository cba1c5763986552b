//! Two tables, each under a snapshot of its own. Nothing ties the snapshots together, so what differs is read again after the
//! settle time: what stands there unchanged on both sides is drift, what has changed meanwhile is in motion.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::agree::align;
use super::digest::Method;
use super::localise::{Localised, Side, localise};
use super::say::{self, Difference, Stores};
use super::shape::{Row, by_key, rows_of};
use super::table::Table;
use super::{DriftError, Part, Settings, Told, note};
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
    let suspects = look(first, second, settings.part, &mut summary)?;
    let mut told = Told { read: Default::default(), summary, samples: Vec::new(), findings: Vec::new() };
    if !suspects.is_empty() && !progress.is_stopped() {
        confirm(settings, first, second, suspects, method, progress, &mut told)?;
    }
    told.summary.table_bytes = first.bytes() + second.bytes();
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

fn look(
    first: &mut dyn Table,
    second: &mut dyn Table,
    part: Part,
    summary: &mut DriftSummary,
) -> Result<BTreeSet<u64>, DriftError> {
    first.begin()?;
    second.begin()?;
    let (ours, theirs) = std::thread::scope(|scope| {
        let ours = scope.spawn(|| first.sums_of(part));
        let theirs = second.sums_of(part);
        Ok::<_, DriftError>((ours.join().map_err(|_| DriftError::Thread)??, theirs?))
    })?;
    summary.keys = ours.iter().map(|sum| sum.count.max(0) as u64).sum();
    summary.rows = theirs.iter().map(|sum| sum.count.max(0) as u64).sum();
    let Localised { keys, how } = localise(&mut Side::Table(first), &ours, &mut Side::Table(second), &theirs, &[])?;
    summary.suspects = keys.len() as u64;
    summary.located_by = format!("{how:?}").to_lowercase();
    Ok(keys)
}

/// Still under the snapshots of the first look.
fn confirm(
    settings: &Settings,
    first: &mut dyn Table,
    second: &mut dyn Table,
    mut suspects: BTreeSet<u64>,
    method: Method,
    progress: &Arc<Progress>,
    told: &mut Told,
) -> Result<(), DriftError> {
    super::limit(settings, &mut suspects, &mut told.summary);
    let hashes: Vec<u64> = suspects.into_iter().collect();
    let before = (by_key(first.rows_by_hash(&hashes)?), by_key(second.rows_by_hash(&hashes)?));
    first.end()?;
    second.end()?;
    super::pause(settings, progress);
    first.begin()?;
    second.begin()?;
    let keys: BTreeSet<Vec<String>> = before.0.keys().chain(before.1.keys()).cloned().collect();
    let keys: Vec<Vec<String>> = keys.into_iter().collect();
    let now = (by_key(first.rows(&keys)?), by_key(second.rows(&keys)?));
    first.end()?;
    second.end()?;
    let shape = first.shape().clone();
    let stores = Stores { first: first.name(), second: second.name(), shape: &shape, method };
    for key in &keys {
        let (ours, theirs) = (rows_of(&now.0, key), rows_of(&now.1, key));
        if method.of_rows(ours) == method.of_rows(theirs) {
            continue;
        }
        if ours != rows_of(&before.0, key) || theirs != rows_of(&before.1, key) {
            note(&mut told.summary.unverifiable, "in-motion", 1);
            continue;
        }
        let finding = difference(key, ours, theirs).finding(settings, &stores);
        say::count(&mut told.summary, &finding);
        told.findings.push(finding);
    }
    Ok(())
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
