//! Answers that are numbers: behind each other as `intNsend` puts them, far fewer bytes than rows of the protocol.

use ::postgres::types::ToSql;

use super::Postgres;
use crate::drift::DriftError;
use crate::drift::cells::{Cell, Cells};
use crate::drift::digest::{BUCKETS, Digest};
use crate::drift::sums::{Sum, Sums};
use crate::drift::table::statement::{CELL, DIGEST, SUM};

impl Postgres {
    /// Adds what a statement says of each group; how many rows it were.
    pub(super) fn add(&mut self, statement: &str, sums: &mut Sums) -> Result<u64, DriftError> {
        let packed = self.packed(statement, &[])?;
        let mut rows = 0;
        for [group, count, sum] in numbers(&packed, SUM) {
            rows += count;
            sums.add_group(group as usize, Sum { count: count as i64, sum });
        }
        Ok(rows)
    }

    pub(super) fn fill(&mut self, buckets: &[usize], size: usize, cells: &mut Cells) -> Result<(), DriftError> {
        let packed = self.packed(&self.statements.cells(), &[&bits(buckets), &(size as i64)])?;
        for [index, told @ ..] in numbers(&packed, CELL) {
            if let Some(cell) = cells.cell(index as usize) {
                *cell = Cell::told(told);
            }
        }
        Ok(())
    }

    pub(super) fn digests_by(
        &mut self,
        statement: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Digest>, DriftError> {
        let packed = self.packed(statement, values)?;
        Ok(numbers(&packed, DIGEST).map(|[key, row]| Digest { key, row }).collect())
    }

    fn packed(&mut self, statement: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<u8>, DriftError> {
        // Of no rows at all it is null.
        let packed = self.one::<Option<Vec<u8>>>(statement, values)?.unwrap_or_default();
        self.bytes += packed.len() as u64;
        Ok(packed)
    }
}

/// Numbers of so many bytes, again and again.
fn numbers<const N: usize>(packed: &[u8], widths: [usize; N]) -> impl Iterator<Item = [u64; N]> {
    packed.chunks_exact(widths.iter().sum()).map(move |mut left| {
        widths.map(|width| {
            let (number, behind) = left.split_at(width);
            left = behind;
            number.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
        })
    })
}

/// As `get_bit` counts them: from the lowest bit of the first byte.
fn bits(buckets: &[usize]) -> Vec<u8> {
    let mut bits = vec![0; BUCKETS / 8];
    buckets.iter().for_each(|bucket| bits[bucket / 8] |= 1 << (bucket % 8));
    bits
}
