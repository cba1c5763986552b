//! Answers of a table whose rows are hashed here, because its database prints their values otherwise, or has no hash.

use std::collections::HashSet;

use crate::drift::cells::Cells;
use crate::drift::conserve::law::{Bound, Sign};
use crate::drift::conserve::total::Totals;
use crate::drift::digest::{BUCKETS, Digest, Method, Spans, bucket_of};
use crate::drift::shape::Row;
use crate::drift::sums::Sums;
use crate::drift::{DriftError, Part};

pub trait Scan {
    /// Hands over the canonical texts of every row, those of the key first.
    fn scan(&mut self, take: &mut dyn FnMut(&Spans)) -> Result<(), DriftError>;

    /// How rows are hashed, and of how many columns the key is.
    fn hashing(&self) -> (Method, usize);
}

pub fn sums(table: &mut dyn Scan, part: Part) -> Result<Sums, DriftError> {
    let (method, keys) = table.hashing();
    let mut sums = Sums::new(part);
    table.scan(&mut |spans| sums.add(method.of(spans, keys), 1))?;
    Ok(sums)
}

pub fn totals(table: &mut dyn Scan, laws: &[Bound], part: Part) -> Result<Vec<Totals>, DriftError> {
    let (method, keys) = table.hashing();
    let mut totals = vec![Totals::default(); laws.len()];
    let mut refused = None;
    table.scan(&mut |row| {
        if refused.is_none() && (part.is_whole() || part.has(bucket_of(method.key(row, keys)))) {
            let added = laws.iter().zip(&mut totals).try_for_each(|(law, total)| total.add(law, row, Sign::Plus));
            refused = added.err();
        }
    })?;
    refused.map_or(Ok(totals), Err)
}

pub fn cells(table: &mut dyn Scan, buckets: &[usize], size: usize) -> Result<Cells, DriftError> {
    let mut cells = Cells::new(size, table.hashing().0);
    digests(table, buckets, &mut |digest| cells.add(digest, 1))?;
    Ok(cells)
}

pub fn digests(table: &mut dyn Scan, buckets: &[usize], take: &mut dyn FnMut(Digest)) -> Result<(), DriftError> {
    let (method, keys) = table.hashing();
    let mut wanted = vec![false; BUCKETS];
    buckets.iter().for_each(|bucket| wanted[*bucket] = true);
    table.scan(&mut |spans| {
        let digest = method.of(spans, keys);
        if wanted[bucket_of(digest.key)] {
            take(digest);
        }
    })
}

pub fn rows_by_hash(table: &mut dyn Scan, hashes: &[u64]) -> Result<Vec<Row>, DriftError> {
    let (method, keys) = table.hashing();
    let wanted: HashSet<u64> = hashes.iter().copied().collect();
    filtered(table, |spans| wanted.contains(&method.key(spans, keys)))
}

pub fn rows(table: &mut dyn Scan, asked: &[Vec<String>]) -> Result<Vec<Row>, DriftError> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let (method, keys) = table.hashing();
    let wanted: HashSet<&[String]> = asked.iter().map(Vec::as_slice).collect();
    let hashes: HashSet<u64> = method.keys(asked).into_iter().collect();
    let mut found = filtered(table, |spans| hashes.contains(&method.key(spans, keys)))?;
    found.retain(|row| wanted.contains(row.keys.as_slice()));
    Ok(found)
}

fn filtered(table: &mut dyn Scan, is_wanted: impl Fn(&Spans) -> bool) -> Result<Vec<Row>, DriftError> {
    let keys = table.hashing().1;
    let mut rows = Vec::new();
    table.scan(&mut |spans| {
        if is_wanted(spans) {
            rows.push(Row::of(spans, keys));
        }
    })?;
    Ok(rows)
}
