//! A table in PostgreSQL: one repeatable-read snapshot, and answers by the statements beside it. `catalogue`: what it consists of.

mod catalogue;
pub mod holds;
pub mod pace;
mod packed;
mod repair;
mod replicas;
mod texts;
mod totals;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ::postgres::fallible_iterator::FallibleIterator as _;
use ::postgres::types::ToSql;
use ::postgres::{Client, Config};

use self::pace::Throttle;
use self::replicas::Ends;
use super::Table;
use super::connect;
use super::statement::{Statements, quoted};
pub use super::{Chosen, Limits};
use crate::drift::cells::Cells;
use crate::drift::conserve::law::Bound;
use crate::drift::conserve::total::Totals;
use crate::drift::cut::{Snapshot, parse_lsn};
use crate::drift::digest::{Digest, Method};
use crate::drift::hash::{hash_int, hash_text};
use crate::drift::place::PostgresPlace;
use crate::drift::repair::Fix;
use crate::drift::shape::{Column, Row, Shape};
use crate::drift::sums::Sums;
use crate::drift::{DriftError, Part};
use crate::engine::Progress;

const SILENCE: Duration = Duration::from_secs(30);
/// Since then jsonb, hashes and `trim_scale` are as they are used here.
const OLDEST: i32 = 130_000;

pub struct Postgres {
    client: Client,
    name: String,
    statements: Statements,
    shape: Shape,
    best: Method,
    throttle: Throttle,
    ends: Ends,
    progress: Arc<Progress>,
    config: Config,
    place: PostgresPlace,
    /// Database, schema and name.
    captured_as: [String; 3],
    bytes: u64,
}

impl Postgres {
    pub fn connect(place: &PostgresPlace, chosen: &Chosen, limits: &Limits) -> Result<Self, DriftError> {
        let mut config: Config = place.url.parse().map_err(|error| DriftError::Database {
            store: "postgres".to_owned(),
            why: connect::causes(&error),
            hint: "expected postgres://USER@HOST:PORT/DATABASE?table=NAME".to_owned(),
        })?;
        if config.get_password().is_none()
            && let Some(password) = connect::password(&config)
        {
            config.password(password);
        }
        if config.get_application_name().is_none() {
            config.application_name("sordini");
        }
        config.connect_timeout(Duration::from_secs(10));
        // A host that is gone without a word is noticed within a minute or two, also while a statement runs.
        config.keepalives_idle(SILENCE).keepalives_interval(SILENCE).keepalives_retries(3);
        let name = named(&config, &place.table);
        let client = connect::open(&config, place).map_err(|why| {
            let hint = "is the address right, is the server up, and may this role connect?".to_owned();
            DriftError::Database { store: name.clone(), why, hint }
        })?;
        let statements = Statements {
            table: String::new(),
            keys: Vec::new(),
            values: Vec::new(),
            method: Method::Md5,
            is_utf8: true,
        };
        let place = place.clone();
        let mut table = Self {
            client,
            name,
            statements,
            shape: Shape::default(),
            best: Method::Md5,
            throttle: limits.throttle,
            ends: Ends::default(),
            progress: Arc::default(),
            config,
            place,
            captured_as: Default::default(),
            bytes: 0,
        };
        table.settle(limits)?;
        table.look_up(chosen, limits)?;
        Ok(table)
    }

    /// Prints values the one way that is compared, and cannot write. Tens of thousands of cells are to stay in the server's
    /// memory, and not to be written to its disk.
    fn settle(&mut self, limits: &Limits) -> Result<(), DriftError> {
        let timeout = limits.statement_timeout.map_or(0, |timeout| timeout.as_millis());
        let settings = format!(
            "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'iso_8601'; SET extra_float_digits = 1; \
             SET bytea_output = 'hex'; SET client_encoding = 'UTF8'; SET default_transaction_read_only = on; \
             SET statement_timeout = {timeout}; SET jit = off; SET row_security = off; SET search_path = pg_catalog, public; \
             SELECT set_config('work_mem', '64MB', false) WHERE pg_size_bytes(current_setting('work_mem')) < pg_size_bytes('64MB')"
        );
        self.client.batch_execute(&settings).map_err(|error| self.wrong(&error))?;
        let version: String = self.one("SHOW server_version_num", &[])?;
        let version: i32 = version.parse().unwrap_or(0);
        if version < OLDEST {
            return Err(self.refused(format!("its version {version} is older than 13"), "use a newer server"));
        }
        let encoding: String = self.one("SHOW server_encoding", &[])?;
        self.statements.is_utf8 = encoding == "UTF8";
        if self.statements.is_utf8 && self.hashes_as_we_do() {
            self.best = Method::Chain;
        }
        self.statements.method = self.best;
        Ok(())
    }

    /// Engines that are like PostgreSQL, and big-endian servers, hash otherwise or not at all.
    fn hashes_as_we_do(&mut self) -> bool {
        let samples = [("", 0_i64), ("sordini", 7), ("Grüße, 世界: longer than one block", -1)];
        samples.iter().all(|(text, seed)| {
            let statement = "SELECT hashtextextended($1::text COLLATE \"C\", $2), hashint8extended($2, 77)";
            self.client.query_one(statement, &[text, seed]).is_ok_and(|row| {
                let theirs: (Option<i64>, Option<i64>) = (row.try_get(0).ok(), row.try_get(1).ok());
                let ours = (hash_text(text.as_bytes(), *seed as u64) as i64, hash_int(*seed, 77) as i64);
                theirs == (Some(ours.0), Some(ours.1))
            })
        })
    }

    fn one<T>(&mut self, statement: &str, values: &[&(dyn ToSql + Sync)]) -> Result<T, DriftError>
    where
        T: for<'a> ::postgres::types::FromSql<'a>,
    {
        let row = self.client.query_one(statement, values).map_err(|error| self.wrong(&error))?;
        self.get(&row, 0)
    }

    fn get<T>(&self, row: &::postgres::Row, index: usize) -> Result<T, DriftError>
    where
        T: for<'a> ::postgres::types::FromSql<'a>,
    {
        row.try_get(index).map_err(|error| self.wrong(&error))
    }

    fn wrong(&self, error: &::postgres::Error) -> DriftError {
        let why = match error.as_db_error() {
            Some(said) => format!("{} ({})", said.message(), said.code().code()),
            None => connect::causes(error),
        };
        let hint = match error.code().map(::postgres::error::SqlState::code) {
            Some("57014") => "raise --statement-timeout, or compare at a quieter time",
            Some("42602") => "a name with capitals or blanks stands in double quotes: table=\"Mixed Case\"",
            Some("42501") if why.contains("row-level security") => {
                "a policy hides rows from this role, and would hide what is wrong: ALTER ROLE … BYPASSRLS"
            }
            Some("42501") => "docs/drift.md has the grants",
            Some("40001") => "a standby cancelled the snapshot: raise max_standby_streaming_delay, or ask the primary",
            _ => "nothing was compared; try again when the database answers",
        };
        DriftError::Database { store: self.name.clone(), why, hint: hint.to_owned() }
    }

    fn refused(&self, why: String, hint: &str) -> DriftError {
        DriftError::Database { store: self.name.clone(), why, hint: hint.to_owned() }
    }
}

/// `HOST:PORT/DATABASE TABLE`, without a role or a password.
fn named(config: &Config, table: &str) -> String {
    let host = config.get_hosts().first().map_or("localhost".to_owned(), |host| match host {
        ::postgres::config::Host::Tcp(name) => name.clone(),
        ::postgres::config::Host::Unix(path) => path.display().to_string(),
    });
    let port = config.get_ports().first().copied().unwrap_or(5_432);
    format!("postgres {host}:{port}/{} {table}", config.get_dbname().unwrap_or_default())
}

impl Table for Postgres {
    fn name(&self) -> &str {
        &self.name
    }

    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn arrange(&mut self, shape: &Shape) {
        let Statements { keys, values, .. } = &mut self.statements;
        let place = |columns: &[Column], name: &str| columns.iter().position(|column| quoted(&column.name) == name);
        keys.sort_by_key(|column| place(&shape.keys, &column.name));
        values.sort_by_key(|column| place(&shape.values, &column.name));
        self.shape = shape.clone();
    }

    fn method(&self) -> Method {
        self.best
    }

    fn set_method(&mut self, method: Method) {
        self.statements.method = method;
    }

    fn report_to(&mut self, progress: &Arc<Progress>) {
        self.progress = progress.clone();
    }

    fn statements(&self) -> Vec<(&'static str, String)> {
        let statements = &self.statements;
        vec![
            ("once: the rows added up by bucket", statements.sums(Part::WHOLE, None)),
            ("where buckets differ: cells", statements.cells()),
            ("or the hashes of their rows", statements.copy_digests(&[0])),
            ("the few rows that differ", statements.rows()),
            ("and those whose key is not known", statements.rows_by_hash()),
            ("whether they have changed since", statements.digests_of()),
        ]
    }

    fn notes(&self) -> Vec<String> {
        let method = match self.best {
            Method::Chain => "hashtextextended, tested at connect",
            Method::Md5 => {
                "MD5 over length:text, because this server does not hash text as PostgreSQL on a little-endian machine with UTF-8"
            }
        };
        let needs = "SELECT on the table; the transaction is READ ONLY, REPEATABLE READ";
        vec![format!("hash: {method}"), format!("needs: {needs}")]
    }

    fn law(&self, law: &Bound) -> Option<String> {
        Some(self.statements.totals(law, Part::WHOLE, None))
    }

    fn begin(&mut self) -> Result<(), DriftError> {
        // The first query takes the snapshot, not BEGIN.
        let statement = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1";
        self.client.batch_execute(statement).map_err(|error| self.wrong(&error))
    }

    fn end(&mut self) -> Result<(), DriftError> {
        self.client.batch_execute("COMMIT").map_err(|error| self.wrong(&error))
    }

    fn sums(&mut self, part: Part) -> Result<Sums, DriftError> {
        let mut sums = Sums::new(part);
        self.in_steps(|table, blocks| table.add(&table.statements.sums(part, blocks), &mut sums))?;
        Ok(sums)
    }

    fn totals(&mut self, laws: &[Bound], part: Part) -> Result<Vec<Totals>, DriftError> {
        laws.iter().map(|law| self.totals_of(law, part)).collect()
    }

    fn cells(&mut self, buckets: &[usize], size: usize) -> Result<Cells, DriftError> {
        self.wait_for_replicas()?;
        let mut cells = Cells::new(size, self.statements.method);
        self.fill(buckets, size, &mut cells)?;
        Ok(cells)
    }

    fn digests(&mut self, buckets: &[usize], take: &mut dyn FnMut(Digest)) -> Result<(), DriftError> {
        self.wait_for_replicas()?;
        let types = [::postgres::types::Type::INT8, ::postgres::types::Type::INT8];
        let statement = self.statements.copy_digests(buckets);
        let name = self.name.clone();
        let broken = |why: String| DriftError::Database { store: name.clone(), why, hint: "try again".to_owned() };
        let reader = self.client.copy_out(&statement).map_err(|error| broken(error.to_string()))?;
        let mut rows = ::postgres::binary_copy::BinaryCopyOutIter::new(reader, &types);
        while let Some(row) = rows.next().map_err(|error| broken(error.to_string()))? {
            let key: i64 = row.try_get(0).map_err(|error| broken(error.to_string()))?;
            let hash: i64 = row.try_get(1).map_err(|error| broken(error.to_string()))?;
            self.bytes += 26;
            take(Digest { key: key as u64, row: hash as u64 });
        }
        Ok(())
    }

    fn rows(&mut self, keys: &[Vec<String>]) -> Result<Vec<Row>, DriftError> {
        let wanted: HashSet<&Vec<String>> = keys.iter().collect();
        let (keys, foreign) = self.split(keys);
        let mut rows = match foreign.is_empty() {
            true => Vec::new(),
            false => self.rows_by_hash(&self.statements.method.keys(foreign))?,
        };
        let statement = self.statements.rows();
        self.asked(&keys, |table, values| table.texts(&statement, values, &mut rows))?;
        // A cast may round, and give the row of another key.
        rows.retain(|row| wanted.contains(&row.keys));
        Ok(rows)
    }

    fn digests_of(&mut self, keys: &[Vec<String>]) -> Result<Vec<Digest>, DriftError> {
        let method = self.statements.method;
        let wanted: HashSet<u64> = method.keys(keys).into_iter().collect();
        let (keys, foreign) = self.split(keys);
        let mut digests = match foreign.is_empty() {
            true => Vec::new(),
            false => method.of_rows(&self.rows_by_hash(&method.keys(foreign))?),
        };
        let statement = self.statements.digests_of();
        self.asked(&keys, |table, values| {
            digests.append(&mut table.digests_by(&statement, values)?);
            Ok(())
        })?;
        digests.retain(|digest| wanted.contains(&digest.key));
        Ok(digests)
    }

    fn rows_by_hash(&mut self, keys: &[u64]) -> Result<Vec<Row>, DriftError> {
        let mut rows = Vec::new();
        let keys: Vec<i64> = keys.iter().map(|key| *key as i64).collect();
        let statement = self.statements.rows_by_hash();
        self.texts(&statement, &[&keys], &mut rows)?;
        Ok(rows)
    }

    fn captured_as(&self) -> Option<[String; 3]> {
        Some(self.captured_as.clone())
    }

    fn snapshot(&mut self) -> Result<Option<Snapshot>, DriftError> {
        let is_standby: bool = self.one("SELECT pg_is_in_recovery()", &[])?;
        if is_standby {
            let why = "it is a standby, which does not know what transactions run".to_owned();
            return Err(self.refused(why, "compare a captured topic with the primary"));
        }
        // The position is read while the statement runs, and the snapshot is older: the first query took it.
        let statement = "SELECT pg_current_snapshot()::text, pg_current_wal_insert_lsn()::text";
        let row = self.client.query_one(statement, &[]).map_err(|error| self.wrong(&error))?;
        let (snapshot, lsn): (String, String) = (self.get(&row, 0)?, self.get(&row, 1)?);
        let wrong = || self.refused(format!("it says {snapshot:?} for a snapshot"), "is this PostgreSQL?");
        Snapshot::parse(&snapshot, &lsn).ok_or_else(wrong).map(Some)
    }

    fn repair_head(&self) -> Option<&'static str> {
        Some(repair::HEAD)
    }

    fn repair(&self, fix: &Fix) -> Result<String, String> {
        self.statement_of(fix)
    }

    fn key_filter(&self, key: &[String]) -> Option<String> {
        Some(self.filter_of(key))
    }

    fn mark(&mut self) -> Result<(), DriftError> {
        // The snapshot's own transaction can only read.
        let refused = |why| self.refused(why, "compare without --mark");
        let mut client = connect::open(&self.config, &self.place).map_err(refused)?;
        let statement = "SELECT pg_logical_emit_message(false, 'sordini', 'mark')";
        client.simple_query(statement).map_err(|error| self.wrong(&error))?;
        Ok(())
    }

    fn confirmed(&mut self) -> Result<Option<u64>, DriftError> {
        let statement = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots \
                         WHERE slot_type = 'logical' AND database = current_database() AND coalesce(slot_name = $1, true)";
        let rows = self.client.query(statement, &[&self.place.slot]).map_err(|error| self.wrong(&error))?;
        match rows.as_slice() {
            [row] => Ok(self.get::<Option<String>>(row, 0)?.as_deref().and_then(parse_lsn)),
            // Of several nobody knows which one is this topic's.
            _ => Ok(None),
        }
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}
