//! A table in MySQL or MariaDB: one repeatable-read snapshot, and answers by the statements in `statement`. Where a column is
//! compared whose values SQL does not print as they are compared, the rows are read and hashed here. `catalogue`, `grants`:
//! what the table consists of, and what this user may do.

mod catalogue;
mod connect;
mod grants;
mod repair;
mod statement;
mod totals;

use std::collections::HashSet;

use ::mysql::prelude::Queryable as _;
use ::mysql::{Conn, Error, Params, Row as SqlRow, Value};

use self::connect::Login;
use self::statement::{SqlColumn, Statements, quoted};
use super::stream::{self, Scan};
use super::{Chosen, Limits, Table};
use crate::drift::canon::Type;
use crate::drift::canon::time::Fractions;
use crate::drift::cells::{Cell, Cells, PARTS};
use crate::drift::conserve::law::Bound;
use crate::drift::conserve::total::Totals;
use crate::drift::digest::{Digest, Method, Spans};
use crate::drift::place::MysqlPlace;
use crate::drift::repair::Fix;
use crate::drift::shape::{Column, Row, Shape};
use crate::drift::sums::{Sum, Sums};
use crate::drift::{DriftError, Part};

/// What a table is asked for at most at once.
const ASKED: usize = 500;
/// A value was longer than a packet, and null took its place.
const TOO_LONG: &str = "1301";

pub struct Mysql {
    conn: Conn,
    name: String,
    is_mariadb: bool,
    statements: Statements,
    shape: Shape,
    method: Method,
    bytes: u64,
}

impl Mysql {
    pub fn connect(place: &MysqlPlace, chosen: &Chosen, limits: &Limits) -> Result<Self, DriftError> {
        let fallback =
            || format!("mysql {}/{} {}", place.host.as_deref().unwrap_or_default(), place.database, place.table);
        let broken = |store: String, why: String| {
            let hint = "is the address right, is the server up, and may this user connect? The password comes from the URL, \
                        ~/.my.cnf or MYSQL_PWD";
            DriftError::Database { store, why, hint: hint.to_owned() }
        };
        let login = Login::of(place).map_err(|why| broken(fallback(), why))?;
        let name = format!("mysql {}:{}/{} {}", login.host, login.port, place.database, place.table);
        let conn = connect::open(&login, place).map_err(|error| broken(name.clone(), said(&error)))?;
        let mut table = Self {
            conn,
            name,
            is_mariadb: false,
            statements: Statements::default(),
            shape: Shape::default(),
            method: Method::Md5,
            bytes: 0,
        };
        table.settle(limits)?;
        table.look_up(place, chosen, limits)?;
        table.method = table.method();
        Ok(table)
    }

    /// Prints values the one way that is compared, and cannot write. A topic may take long to be read while this session waits.
    fn settle(&mut self, limits: &Limits) -> Result<(), DriftError> {
        let version: Option<String> = self.conn.query_first("SELECT version()").map_err(|error| self.wrong(&error))?;
        self.is_mariadb = version.is_some_and(|version| version.contains("MariaDB"));
        // As the server's own setting is; whoever writes the table may have said otherwise.
        let modes: Option<String> =
            self.conn.query_first("SELECT @@global.sql_mode").map_err(|error| self.wrong(&error))?;
        let has = |mode: &str| modes.as_deref().is_some_and(|modes| modes.contains(mode));
        let is_cut_off = if self.is_mariadb { !has("TIME_ROUND_FRACTIONAL") } else { has("TIME_TRUNCATE_FRACTIONAL") };
        self.shape.fractions = if is_cut_off { Fractions::CutOff } else { Fractions::HalfUp };
        let timeout = limits.statement_timeout.unwrap_or_default();
        let timeout = match self.is_mariadb {
            true => format!("max_statement_time = {:.3}", timeout.as_secs_f64()),
            false => format!("max_execution_time = {}", timeout.as_millis()),
        };
        let settings = [
            "SET NAMES utf8mb4 COLLATE utf8mb4_bin".to_owned(),
            format!(
                "SET SESSION sql_mode = '', time_zone = '+00:00', wait_timeout = 86400, net_write_timeout = 3600, {timeout}"
            ),
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY".to_owned(),
        ];
        for setting in settings {
            self.conn.query_drop(setting).map_err(|error| self.wrong(&error))?;
        }
        if self.is_mariadb {
            // Else long lists become joins, which take several times as long. Old versions know no such setting and do no such thing.
            let _ = self.conn.query_drop("SET SESSION in_predicate_conversion_threshold = 0");
        }
        Ok(())
    }

    fn wrong(&self, error: &Error) -> DriftError {
        let hint = match error {
            Error::MySqlError(error) => match error.code {
                1_969 | 3_024 => "raise --statement-timeout, or compare at a quieter time",
                1_142 | 1_143 | 1_044 => "docs/drift.md has the grants",
                1_412 => "the table was altered meanwhile: try again",
                _ => "nothing was compared; try again when the database answers",
            },
            _ => "nothing was compared; try again when the database answers",
        };
        self.refused(said(error), hint)
    }

    fn refused(&self, why: String, hint: &str) -> DriftError {
        DriftError::Database { store: self.name.clone(), why, hint: hint.to_owned() }
    }

    fn is_hashed_there(&self) -> bool {
        self.statements.columns().all(SqlColumn::is_printed)
    }

    /// Hands over the rows of a statement as they come.
    fn each(&mut self, statement: &str, params: Params, take: &mut dyn FnMut(Vec<Value>)) -> Result<(), DriftError> {
        let mut bytes = 0;
        let read = self.conn.exec_iter(statement, params).and_then(|mut rows| {
            rows.by_ref().try_for_each(|row| {
                let values = row?.unwrap();
                bytes += values.iter().map(Value::bin_len).sum::<u64>() + 4;
                take(values);
                Ok(())
            })
        });
        self.bytes += bytes;
        read.map_err(|error| self.wrong(&error))?;
        self.check_warnings()
    }

    /// The server only warns where a value is too long to be hashed.
    fn check_warnings(&mut self) -> Result<(), DriftError> {
        if self.conn.warnings() == 0 {
            return Ok(());
        }
        let warnings: Vec<SqlRow> = self.conn.query("SHOW WARNINGS").map_err(|error| self.wrong(&error))?;
        match warnings.iter().find(|warning| text(warning, 1) == TOO_LONG) {
            Some(warning) => Err(self.refused(
                format!("a row is longer than the server can hash: {}", text(warning, 2)),
                "raise the server's max_allowed_packet, or leave the long column out with --ignore",
            )),
            None => Ok(()),
        }
    }
}

/// As text; nothing for null.
fn text(row: &SqlRow, index: usize) -> String {
    match row.as_ref(index) {
        None | Some(Value::NULL) => String::new(),
        Some(Value::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        Some(other) => other.as_sql(true),
    }
}

/// What happened, without the crate's own frame around it.
fn said(error: &Error) -> String {
    match error {
        Error::MySqlError(error) => format!("{} ({})", error.message, error.code),
        Error::DriverError(error) => error.to_string(),
        Error::IoError(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// A sum of 64-bit numbers modulo 2^64.
fn modulo(value: &Value) -> Option<u64> {
    match value {
        Value::Bytes(bytes) => std::str::from_utf8(bytes).ok()?.parse::<u128>().ok().map(|sum| sum as u64),
        Value::Int(number) => Some(*number as u64),
        Value::UInt(number) => Some(*number),
        _ => None,
    }
}

fn numbers<const N: usize>(values: &[Value]) -> Option<[u64; N]> {
    let mut numbers = [0; N];
    for (number, value) in numbers.iter_mut().zip(values) {
        *number = modulo(value)?;
    }
    (values.len() == N).then_some(numbers)
}

impl Scan for Mysql {
    fn scan(&mut self, take: &mut dyn FnMut(&Spans)) -> Result<(), DriftError> {
        self.texts(&self.statements.all_rows(), Params::Empty, take)
    }

    fn hashing(&self) -> (Method, usize) {
        (self.method, self.shape.keys.len())
    }
}

impl Mysql {
    /// The canonical texts of each row of a statement over all columns.
    fn texts(&mut self, statement: &str, params: Params, take: &mut dyn FnMut(&Spans)) -> Result<(), DriftError> {
        let columns: Vec<_> = self.statements.columns().cloned().collect();
        let mut spans = Spans::default();
        self.each(statement, params, &mut |values| {
            spans.clear();
            for (column, value) in columns.iter().zip(values) {
                spans.push(column.canonical(value).as_deref().map(str::as_bytes));
            }
            take(&spans);
        })
    }

    /// Rows of numbers; the server says something else only when it is none we know.
    fn numbers<const N: usize>(&mut self, statement: &str, take: &mut dyn FnMut([u64; N])) -> Result<(), DriftError> {
        let mut is_odd = false;
        self.each(statement, Params::Empty, &mut |values| match numbers(&values) {
            Some(numbers) => take(numbers),
            None => is_odd = true,
        })?;
        match is_odd {
            true => Err(self.refused("it gives no numbers for hashes".to_owned(), "is this MySQL or MariaDB?")),
            false => Ok(()),
        }
    }
}

impl Table for Mysql {
    fn name(&self) -> &str {
        &self.name
    }

    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn prints(&self, column: &str, ty: Type) -> bool {
        let name = quoted(column);
        self.statements.columns().any(|column| column.name == name && column.base.prints(ty))
    }

    fn arrange(&mut self, shape: &Shape) {
        let Statements { keys, values, .. } = &mut self.statements;
        for (columns, wanted) in [(keys, &shape.keys), (values, &shape.values)] {
            let place = |name: &str| wanted.iter().position(|column: &Column| quoted(&column.name) == name);
            columns.sort_by_key(|column| place(&column.name));
            columns.iter_mut().zip(wanted).for_each(|(column, wanted)| column.ty = wanted.ty);
        }
        self.shape = shape.clone();
    }

    fn method(&self) -> Method {
        if self.is_hashed_there() { Method::Md5 } else { Method::Chain }
    }

    fn set_method(&mut self, method: Method) {
        self.method = method;
    }

    fn notes(&self) -> Vec<String> {
        let here: Vec<&str> = self
            .statements
            .columns()
            .filter(|column| !column.is_printed())
            .map(|column| column.name.as_str())
            .collect();
        let hash = match here.is_empty() {
            true => "hash: MD5 over length:text, in SQL".to_owned(),
            false => format!(
                "hash: here, over all rows: SQL prints the values of {} otherwise; leave them out with --ignore to hash in the server",
                here.join(", ")
            ),
        };
        let needs =
            "needs: SELECT on the table; the transaction is READ ONLY, REPEATABLE READ, WITH CONSISTENT SNAPSHOT";
        vec![hash, needs.to_owned()]
    }

    fn statements(&self) -> Vec<(&'static str, String)> {
        let statements = &self.statements;
        let rows = ("the few rows that differ", statements.rows(1));
        if !self.is_hashed_there() {
            return vec![("for each look: all rows", statements.all_rows()), rows];
        }
        vec![
            ("once: the rows added up by bucket", statements.sums()),
            ("where buckets differ, here in bucket 0: cells", statements.cells(&[0], 64)),
            ("or the hashes of their rows", statements.digests(&[0])),
            rows,
            ("and those whose key is not known", statements.rows_by_hash(&[0])),
        ]
    }

    fn law(&self, law: &Bound) -> Option<String> {
        self.adds_up(law).then(|| self.statements.totals(law, Part::WHOLE))
    }

    fn begin(&mut self) -> Result<(), DriftError> {
        let statement = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
        self.conn.query_drop(statement).map_err(|error| self.wrong(&error))
    }

    fn end(&mut self) -> Result<(), DriftError> {
        self.conn.query_drop("COMMIT").map_err(|error| self.wrong(&error))
    }

    fn sums(&mut self, part: Part) -> Result<Sums, DriftError> {
        if !self.is_hashed_there() {
            return stream::sums(self, part);
        }
        let mut sums = Sums::new(part);
        self.numbers(&self.statements.sums(), &mut |[group, count, sum]| {
            sums.add_group(group as usize, Sum { count: count as i64, sum });
        })?;
        Ok(sums)
    }

    fn totals(&mut self, laws: &[Bound], part: Part) -> Result<Vec<Totals>, DriftError> {
        if !laws.iter().all(|law| self.adds_up(law)) {
            return stream::totals(self, laws, part);
        }
        laws.iter().map(|law| self.totals_of(law, part)).collect()
    }

    fn cells(&mut self, buckets: &[usize], size: usize) -> Result<Cells, DriftError> {
        if !self.is_hashed_there() {
            return stream::cells(self, buckets, size);
        }
        let mut cells = Cells::new(size, self.method);
        self.numbers(&self.statements.cells(buckets, size), &mut |[part, place, count, key, row, check]| {
            let index = part as usize % PARTS * size + place as usize;
            if let Some(cell) = cells.cell(index) {
                *cell = Cell::told([count, key, row, check]);
            }
        })?;
        Ok(cells)
    }

    fn digests(&mut self, buckets: &[usize], take: &mut dyn FnMut(Digest)) -> Result<(), DriftError> {
        if !self.is_hashed_there() {
            return stream::digests(self, buckets, take);
        }
        self.numbers(&self.statements.digests(buckets), &mut |[key, row]| take(Digest { key, row }))
    }

    fn rows(&mut self, keys: &[Vec<String>]) -> Result<Vec<Row>, DriftError> {
        if self.statements.keys.iter().any(|key| !key.is_printed()) {
            return stream::rows(self, keys);
        }
        let (mut rows, width) = (Vec::new(), self.shape.keys.len());
        for asked in keys.chunks(ASKED) {
            let columns = &self.statements.keys;
            let values = asked.iter().flat_map(|key| columns.iter().zip(key).map(|(column, text)| column.asked(text)));
            let params = Params::Positional(values.collect());
            let statement = self.statements.rows(asked.len());
            self.texts(&statement, params, &mut |spans| rows.push(Row::of(spans, width)))?;
        }
        // A column's own equality may be coarser than that of its bytes.
        let wanted: HashSet<&Vec<String>> = keys.iter().collect();
        rows.retain(|row| wanted.contains(&row.keys));
        Ok(rows)
    }

    fn digests_of(&mut self, keys: &[Vec<String>]) -> Result<Vec<Digest>, DriftError> {
        Ok(self.method.of_rows(&self.rows(keys)?))
    }

    fn rows_by_hash(&mut self, hashes: &[u64]) -> Result<Vec<Row>, DriftError> {
        if !self.is_hashed_there() {
            return stream::rows_by_hash(self, hashes);
        }
        let (mut rows, width) = (Vec::new(), self.shape.keys.len());
        let statement = self.statements.rows_by_hash(hashes);
        self.texts(&statement, Params::Empty, &mut |spans| rows.push(Row::of(spans, width)))?;
        Ok(rows)
    }

    fn repair_head(&self) -> Option<&'static str> {
        Some(repair::HEAD)
    }

    fn repair(&self, fix: &Fix) -> Result<String, String> {
        self.statement_of(fix)
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}
