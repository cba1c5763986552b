//! Tables in databases, read under one snapshot. A table says what it holds as sums, cells, digests or rows; what that
//! means is judged elsewhere.

mod connect;
pub mod postgres;
mod statement;

use super::cells::Cells;
use super::digest::{Digest, Method};
use super::shape::{Row, Shape};
use super::{DriftError, Part};

/// Rows of one bucket: how many, and the sum of their hashes modulo 2^64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub count: i64,
    pub sum: u64,
}

impl Sum {
    pub fn add(&mut self, row: u64, sign: i64) {
        self.count += sign;
        self.sum = if sign < 0 { self.sum.wrapping_sub(row) } else { self.sum.wrapping_add(row) };
    }
}

pub trait Table: Send {
    /// As messages name it.
    fn name(&self) -> &str;

    fn shape(&self) -> &Shape;

    /// Compares these columns, which it has, in this order.
    fn arrange(&mut self, shape: &Shape);

    /// The best method it can hash by.
    fn method(&self) -> Method;

    fn set_method(&mut self, method: Method);

    /// What it would be asked, and what for.
    fn statements(&self) -> Vec<(&'static str, String)>;

    /// Everything asked until [`Table::end`] sees the table as it is now.
    fn begin(&mut self) -> Result<(), DriftError>;

    fn end(&mut self) -> Result<(), DriftError>;

    /// One sum for each bucket.
    fn sums(&mut self) -> Result<Vec<Sum>, DriftError>;

    /// The same of some buckets; a store that cannot leave the others out adds them up in vain.
    fn sums_of(&mut self, part: Part) -> Result<Vec<Sum>, DriftError> {
        let mut sums = self.sums()?;
        sums.iter_mut().enumerate().filter(|(bucket, _)| !part.has(*bucket)).for_each(|(_, sum)| *sum = Sum::default());
        Ok(sums)
    }

    /// The rows of these buckets in cells; `None` when the database cannot fill cells.
    fn cells(&mut self, buckets: &[usize], size: usize) -> Result<Option<Cells>, DriftError>;

    /// The rows of these buckets.
    fn digests(&mut self, buckets: &[usize], take: &mut dyn FnMut(Digest)) -> Result<(), DriftError>;

    /// Rows with these keys, in canonical texts. A key may have none, or several.
    fn rows(&mut self, keys: &[Vec<String>]) -> Result<Vec<Row>, DriftError>;

    /// Rows whose key has one of these hashes; reads all of the table.
    fn rows_by_hash(&mut self, keys: &[u64]) -> Result<Vec<Row>, DriftError>;

    /// Bytes that came from the server.
    fn bytes(&self) -> u64;
}
