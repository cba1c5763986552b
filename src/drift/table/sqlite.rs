//! A table in an SQLite file, opened read-only: one read transaction, and every row hashed here. A value is what the column it
//! is compared with says, for SQLite's own columns hold anything (`value`). `catalogue`: what the table consists of.

mod catalogue;
mod value;

use std::time::{Duration, Instant};

use rusqlite::{Connection, Error, OpenFlags};

use self::value::SqlColumn;
use super::statement::quoted;
use super::stream::{self, Scan};
use super::{Chosen, Limits, Table};
use crate::drift::canon::Type;
use crate::drift::cells::Cells;
use crate::drift::conserve::law::Bound;
use crate::drift::conserve::total::Totals;
use crate::drift::digest::{Digest, Method, Spans};
use crate::drift::place::SqlitePlace;
use crate::drift::shape::{Row, Shape};
use crate::drift::sums::Sums;
use crate::drift::{DriftError, Part};

/// How long to wait for a writer that holds the file.
const PATIENCE: Duration = Duration::from_secs(10);
/// Rows between two looks at the clock.
const ROWS: u64 = 1_024;

pub struct Sqlite {
    connection: Connection,
    name: String,
    table: String,
    /// Those of the key first.
    columns: Vec<SqlColumn>,
    shape: Shape,
    method: Method,
    timeout: Option<Duration>,
    bytes: u64,
}

impl Sqlite {
    pub fn open(place: &SqlitePlace, chosen: &Chosen, limits: &Limits) -> Result<Self, DriftError> {
        let name = format!("sqlite {} {}", place.file, place.table);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&place.file, flags).and_then(|connection| {
            connection.busy_timeout(limits.statement_timeout.unwrap_or(PATIENCE))?;
            connection.execute_batch("PRAGMA query_only = ON")?;
            Ok(connection)
        });
        let connection = connection.map_err(|error| DriftError::Database {
            store: name.clone(),
            why: error.to_string(),
            hint: "is the file there, is it an SQLite database, and may it be read?".to_owned(),
        })?;
        let mut table = Self {
            connection,
            name,
            table: String::new(),
            columns: Vec::new(),
            shape: Shape::default(),
            method: Method::Chain,
            timeout: limits.statement_timeout,
            bytes: 0,
        };
        table.look_up(place, chosen)?;
        Ok(table)
    }

    fn wrong(&self, error: &Error) -> DriftError {
        let hint = match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy) => "a writer holds the file: raise --statement-timeout, or use WAL",
            Some(rusqlite::ErrorCode::NotADatabase) => "is it an SQLite database?",
            _ => "nothing was compared",
        };
        self.refused(error.to_string(), hint)
    }

    fn refused(&self, why: String, hint: &str) -> DriftError {
        DriftError::Database { store: self.name.clone(), why, hint: hint.to_owned() }
    }

    fn select(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        format!("SELECT {} FROM {}", names.join(", "), quoted(&self.table))
    }

    fn is_late(&self, began: Instant) -> bool {
        self.timeout.is_some_and(|timeout| began.elapsed() > timeout)
    }
}

/// What ends a scan early.
enum Stop {
    Sql(Error),
    NullKey(usize),
    Late,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Sql(error)
    }
}

impl Sqlite {
    /// The bytes that were read.
    fn each(&self, take: &mut dyn FnMut(&Spans)) -> Result<u64, Stop> {
        let (began, keys) = (Instant::now(), self.shape.keys.len());
        let mut statement = self.connection.prepare(&self.select())?;
        let mut rows = statement.query([])?;
        let (mut spans, mut bytes, mut count) = (Spans::default(), 0, 0_u64);
        while let Some(row) = rows.next()? {
            spans.clear();
            for (index, column) in self.columns.iter().enumerate() {
                let is_null = !column.canonical(row.get_ref(index)?, &mut spans.bytes);
                if is_null && index < keys {
                    return Err(Stop::NullKey(index));
                }
                spans.end(is_null);
            }
            bytes += spans.bytes.len() as u64;
            count += 1;
            if count.is_multiple_of(ROWS) && self.is_late(began) {
                return Err(Stop::Late);
            }
            take(&spans);
        }
        Ok(bytes)
    }
}

impl Scan for Sqlite {
    fn scan(&mut self, take: &mut dyn FnMut(&Spans)) -> Result<(), DriftError> {
        let read = self.each(take).map_err(|stop| match stop {
            Stop::Sql(error) => self.wrong(&error),
            Stop::Late => self.refused("the rows were not read in time".to_owned(), "raise --statement-timeout"),
            Stop::NullKey(index) => {
                let name = self.shape.keys.get(index).map_or("", |column| column.name.as_str());
                let why = format!("the key's column \"{name}\" is null in some row");
                self.refused(why, "choose columns that are never null with key=…")
            }
        })?;
        self.bytes += read;
        Ok(())
    }

    fn hashing(&self) -> (Method, usize) {
        (self.method, self.shape.keys.len())
    }
}

impl Table for Sqlite {
    fn name(&self) -> &str {
        &self.name
    }

    fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Its columns hold anything, so the other side says what a value is.
    fn prints(&self, _column: &str, _ty: Type) -> bool {
        true
    }

    fn arrange(&mut self, shape: &Shape) {
        let place = |name: &str| shape.columns().position(|column| quoted(&column.name) == name);
        self.columns.sort_by_key(|column| place(&column.name));
        self.columns.iter_mut().zip(shape.columns()).for_each(|(column, wanted)| column.ty = wanted.ty);
        self.shape = shape.clone();
    }

    fn method(&self) -> Method {
        Method::Chain
    }

    fn set_method(&mut self, method: Method) {
        self.method = method;
    }

    fn notes(&self) -> Vec<String> {
        vec!["hash: here, over all rows".to_owned(), "needs: to read the file; it is opened read-only".to_owned()]
    }

    fn statements(&self) -> Vec<(&'static str, String)> {
        vec![("for each look: all rows", self.select())]
    }

    fn begin(&mut self) -> Result<(), DriftError> {
        // The first read takes the snapshot, not BEGIN.
        let statement = "BEGIN; SELECT count(*) FROM sqlite_schema";
        self.connection.execute_batch(statement).map_err(|error| self.wrong(&error))
    }

    fn end(&mut self) -> Result<(), DriftError> {
        self.connection.execute_batch("COMMIT").map_err(|error| self.wrong(&error))
    }

    fn sums(&mut self, part: Part) -> Result<Sums, DriftError> {
        stream::sums(self, part)
    }

    fn totals(&mut self, laws: &[Bound], part: Part) -> Result<Vec<Totals>, DriftError> {
        stream::totals(self, laws, part)
    }

    fn cells(&mut self, buckets: &[usize], size: usize) -> Result<Cells, DriftError> {
        stream::cells(self, buckets, size)
    }

    fn digests(&mut self, buckets: &[usize], take: &mut dyn FnMut(Digest)) -> Result<(), DriftError> {
        stream::digests(self, buckets, take)
    }

    fn rows(&mut self, keys: &[Vec<String>]) -> Result<Vec<Row>, DriftError> {
        stream::rows(self, keys)
    }

    fn digests_of(&mut self, keys: &[Vec<String>]) -> Result<Vec<Digest>, DriftError> {
        Ok(self.method.of_rows(&self.rows(keys)?))
    }

    fn rows_by_hash(&mut self, hashes: &[u64]) -> Result<Vec<Row>, DriftError> {
        stream::rows_by_hash(self, hashes)
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}
