//! Tables in databases, read under one snapshot. A table says what it holds as sums, cells, digests or rows; what that
//! means is judged elsewhere.
//!
//! * `postgres` (with `connect` and `statement`), `mysql`, `sqlite`: the databases
//! * `choose`: which columns are compared; `stream`: the answers of a table whose rows are hashed here

mod choose;
mod connect;
mod mysql;
pub mod postgres;
mod sqlite;
mod statement;
mod stream;

use std::sync::Arc;
use std::time::Duration;

pub use self::postgres::pace::Throttle;
use super::canon::Type;
use super::cells::Cells;
use super::conserve::law::Bound;
use super::conserve::total::Totals;
use super::cut::Snapshot;
use super::digest::{Digest, Method};
use super::place::Place;
use super::repair::Fix;
use super::shape::{Row, Shape};
use super::sums::Sums;
use super::{DriftError, Part};
use crate::engine::Progress;

#[derive(Clone, Debug, Default)]
pub struct Limits {
    pub statement_timeout: Option<Duration>,
    /// The role may be one that can write.
    pub allows_writers: bool,
    /// How fast rows are added up, and while standbys are how late.
    pub throttle: Throttle,
}

/// Which columns are compared.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    /// All when empty.
    pub only: Vec<String>,
    pub ignored: Vec<String>,
}

/// Connects and looks the table up; a topic is no table.
pub fn open(place: &Place, chosen: &Chosen, limits: &Limits) -> Result<Box<dyn Table>, DriftError> {
    let is_throttled = limits.throttle.most_rows.is_some() || limits.throttle.most_lag.is_some();
    if is_throttled && !matches!(place, Place::Topic(_) | Place::Postgres(_)) {
        return Err(DriftError::Pair(
            "--max-rate and --max-replica-lag are for PostgreSQL; use --statement-timeout, or compare at a quieter time".to_owned(),
        ));
    }
    Ok(match place {
        Place::Topic(topic) => return Err(DriftError::Pair(format!("topic {} is no table", topic.topic))),
        Place::Postgres(place) => Box::new(postgres::Postgres::connect(place, chosen, limits)?),
        Place::Mysql(place) => Box::new(mysql::Mysql::connect(place, chosen, limits)?),
        Place::Sqlite(place) => Box::new(sqlite::Sqlite::open(place, chosen, limits)?),
    })
}

pub trait Table: Send {
    /// As messages name it.
    fn name(&self) -> &str;

    fn shape(&self) -> &Shape;

    /// Whether it can print this column as a value of another type than the one it is of.
    fn prints(&self, _column: &str, _ty: Type) -> bool {
        false
    }

    /// Compares these columns, which it has, in this order and as values of these types.
    fn arrange(&mut self, shape: &Shape);

    /// The best method it can hash by.
    fn method(&self) -> Method;

    /// Where the rows are hashed, and what the transaction is: what `--explain` says beside the statements.
    fn notes(&self) -> Vec<String>;

    fn set_method(&mut self, method: Method);

    /// Tells here how far it is, and stops where that says so.
    fn report_to(&mut self, _progress: &Arc<Progress>) {}

    /// What it would be asked, and what for.
    fn statements(&self) -> Vec<(&'static str, String)>;

    /// What it would be asked for the totals of a law; `None` where all rows are read for them.
    fn law(&self, _law: &Bound) -> Option<String> {
        None
    }

    /// Everything asked until [`Table::end`] sees the table as it is now.
    fn begin(&mut self) -> Result<(), DriftError>;

    fn end(&mut self) -> Result<(), DriftError>;

    /// All rows added up; a store that cannot leave other buckets out adds them up in vain.
    fn sums(&mut self, part: Part) -> Result<Sums, DriftError>;

    /// What these laws add up to over the rows of this part, one after the other.
    fn totals(&mut self, laws: &[Bound], part: Part) -> Result<Vec<Totals>, DriftError>;

    /// The rows of these buckets in cells.
    fn cells(&mut self, buckets: &[usize], size: usize) -> Result<Cells, DriftError>;

    /// The rows of these buckets.
    fn digests(&mut self, buckets: &[usize], take: &mut dyn FnMut(Digest)) -> Result<(), DriftError>;

    /// Rows with these keys, in canonical texts. A key may have none, or several.
    fn rows(&mut self, keys: &[Vec<String>]) -> Result<Vec<Row>, DriftError>;

    /// Digests of the rows with these keys, by the method that was set.
    fn digests_of(&mut self, keys: &[Vec<String>]) -> Result<Vec<Digest>, DriftError>;

    /// Rows whose key has one of these hashes; reads all of the table.
    fn rows_by_hash(&mut self, keys: &[u64]) -> Result<Vec<Row>, DriftError>;

    /// Database, schema and name, as change events captured from it tell them.
    fn captured_as(&self) -> Option<[String; 3]> {
        None
    }

    /// Which transactions are visible since [`Table::begin`]; `None` where the database does not tell.
    fn snapshot(&mut self) -> Result<Option<Snapshot>, DriftError> {
        Ok(None)
    }

    /// Writes a message into its log, so that what captures it has something to pass on.
    fn mark(&mut self) -> Result<(), DriftError> {
        Ok(())
    }

    /// Up to where in its log what was captured has been confirmed; `None` where nothing says so.
    fn confirmed(&mut self) -> Result<Option<u64>, DriftError> {
        Ok(None)
    }

    /// What a file of its repairing statements begins with; `None` where sordini writes none.
    fn repair_head(&self) -> Option<&'static str> {
        None
    }

    /// The statement that makes this row as it should be, if it is still as it was found; or why there is none.
    fn repair(&self, _fix: &Fix) -> Result<String, String> {
        Err("no statements are written for this store".to_owned())
    }

    /// The condition that finds this key.
    fn key_filter(&self, _key: &[String]) -> Option<String> {
        None
    }

    /// Bytes that came from the server.
    fn bytes(&self) -> u64;
}
