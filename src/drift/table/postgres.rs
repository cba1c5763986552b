//! A table in PostgreSQL: its catalogue, one repeatable-read snapshot, and answers by [`Statements`].

use std::time::Duration;

use ::postgres::fallible_iterator::FallibleIterator as _;
use ::postgres::types::ToSql;
use ::postgres::{Client, Config};

use super::connect;
use super::statement::{SqlColumn, Statements, quoted};
use super::{Sum, Table};
use crate::drift::DriftError;
use crate::drift::canon::Type;
use crate::drift::cells::{Cells, PARTS};
use crate::drift::digest::{BUCKETS, Digest, Method};
use crate::drift::hash::{hash_int, hash_text};
use crate::drift::place::PostgresPlace;
use crate::drift::shape::{Column, Row, Shape};

/// What a table is asked for at most at once.
const ASKED: usize = 2_000;
/// Since then jsonb, hashes and `trim_scale` are as they are used here.
const OLDEST: i32 = 130_000;

#[derive(Clone, Debug, Default)]
pub struct Limits {
    pub statement_timeout: Option<Duration>,
    /// The role may be one that can write.
    pub allows_writers: bool,
}

/// Which columns are compared.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    /// All when empty.
    pub only: Vec<String>,
    pub ignored: Vec<String>,
}

pub struct Postgres {
    client: Client,
    name: String,
    statements: Statements,
    shape: Shape,
    best: Method,
    bytes: u64,
}

impl Postgres {
    pub fn connect(place: &PostgresPlace, chosen: &Chosen, limits: &Limits) -> Result<Self, DriftError> {
        let mut config: Config = place.url.parse().map_err(|error| DriftError::Database {
            store: "postgres".to_owned(),
            why: format!("{error}"),
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
        let mut table = Self { client, name, statements, shape: Shape::default(), best: Method::Md5, bytes: 0 };
        table.settle(limits)?;
        table.look_up(place, chosen, limits)?;
        Ok(table)
    }

    /// Prints values the one way that is compared, and cannot write.
    fn settle(&mut self, limits: &Limits) -> Result<(), DriftError> {
        let timeout = limits.statement_timeout.map_or(0, |timeout| timeout.as_millis());
        let settings = format!(
            "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'iso_8601'; SET extra_float_digits = 1; \
             SET bytea_output = 'hex'; SET client_encoding = 'UTF8'; SET default_transaction_read_only = on; \
             SET statement_timeout = {timeout}; SET search_path = pg_catalog, public"
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

    fn look_up(&mut self, place: &PostgresPlace, chosen: &Chosen, limits: &Limits) -> Result<(), DriftError> {
        let found: Option<u32> = self.one("SELECT to_regclass($1)::oid", &[&place.table])?;
        let Some(oid) = found else {
            let why = format!("there is no table {} that this role can see", place.table);
            return Err(self.refused(why, "name it as table=SCHEMA.NAME"));
        };
        self.statements.table = self.one("SELECT $1::oid::regclass::text", &[&oid])?;
        self.check_privileges(oid, limits)?;
        let columns = self.columns(oid)?;
        let key = match place.key.is_empty() {
            true => self.unique_key(oid)?,
            false => place.key.clone(),
        };
        let by_name = |name: &String| columns.iter().find(|column| column.0 == *name);
        let known = || columns.iter().map(|column| column.0.as_str()).collect::<Vec<_>>().join(", ");
        for name in key.iter().chain(&chosen.only).chain(&chosen.ignored) {
            if by_name(name).is_none() {
                return Err(self.refused(format!("the table has no column \"{name}\""), &format!("it has {}", known())));
            }
        }
        for (name, column) in &columns {
            let is_key = key.contains(name);
            let is_wanted = (chosen.only.is_empty() || chosen.only.contains(name)) && !chosen.ignored.contains(name);
            if !is_key && !is_wanted {
                continue;
            }
            let Ok(column) = column else {
                let why = format!("column \"{name}\" is of a type whose values sordini cannot compare exactly");
                return Err(self.refused(why, &format!("leave it out with --ignore {name}")));
            };
            if !is_key {
                self.shape.values.push(described(name, column));
                self.statements.values.push(column.clone());
            }
        }
        for name in &key {
            let Some((_, Ok(column))) = by_name(name) else { continue };
            if column.is_nullable {
                let why = format!("the key's column \"{name}\" may be null");
                return Err(self.refused(why, "choose columns that are never null with key=…"));
            }
            self.shape.keys.push(described(name, column));
            self.statements.keys.push(column.clone());
        }
        Ok(())
    }

    fn check_privileges(&mut self, oid: u32, limits: &Limits) -> Result<(), DriftError> {
        let reads: bool = self.one("SELECT has_table_privilege($1::oid, 'SELECT')", &[&oid])?;
        if !reads {
            let table = self.statements.table.clone();
            return Err(
                self.refused("this role may not read the table".to_owned(), &format!("GRANT SELECT ON {table}"))
            );
        }
        let writes = "SELECT has_table_privilege($1::oid, 'INSERT, UPDATE, DELETE, TRUNCATE')";
        let writes: bool = self.one(writes, &[&oid])?;
        if writes && !limits.allows_writers {
            return Err(self.refused(
                "this role could write to the table, and an audit needs no such right".to_owned(),
                "use a role with SELECT alone (docs/drift.md has the grants), or say --allow-writer",
            ));
        }
        Ok(())
    }

    /// Every column, and how it is compared where it can be.
    fn columns(&mut self, oid: u32) -> Result<Vec<(String, Result<SqlColumn, ()>)>, DriftError> {
        let statement = "\
            SELECT a.attname::text, a.attnotnull, b.typname::text, b.typtype::text, \
                   CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END, \
                   coalesce(c.collisdeterministic, true), format_type(a.atttypid, a.atttypmod), b.typcategory::text \
            FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
            JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END \
            LEFT JOIN pg_collation c ON c.oid = a.attcollation \
            WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
        let rows = self.client.query(statement, &[&oid]).map_err(|error| self.wrong(&error))?;
        let mut columns = Vec::new();
        for row in rows {
            let (name, is_not_null): (String, bool) = (self.get(&row, 0)?, self.get(&row, 1)?);
            let (base, kind, modifier): (String, String, i32) =
                (self.get(&row, 2)?, self.get(&row, 3)?, self.get(&row, 4)?);
            let (is_exact, sql_type): (bool, String) = (self.get(&row, 5)?, self.get(&row, 6)?);
            let column = type_of(&base, &kind, modifier).map(|ty| SqlColumn {
                name: quoted(&name),
                sql_type,
                ty,
                is_nullable: !is_not_null,
                // An enum's text may name none of its values: the cast would fail.
                is_exact: is_exact && kind == "b",
            });
            columns.push((name, column.ok_or(())));
        }
        Ok(columns)
    }

    fn unique_key(&mut self, oid: u32) -> Result<Vec<String>, DriftError> {
        let statement = "\
            SELECT array_agg(a.attname::text ORDER BY array_position(i.indkey::int2[], a.attnum)) \
            FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey) \
            WHERE i.indrelid = $1 AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL \
            GROUP BY i.indexrelid, i.indisprimary HAVING bool_and(a.attnotnull) ORDER BY i.indisprimary DESC, i.indexrelid LIMIT 1";
        let rows = self.client.query(statement, &[&oid]).map_err(|error| self.wrong(&error))?;
        match rows.first() {
            Some(row) => self.get(row, 0),
            None => Err(self.refused(
                "the table has no primary key and no unique index over columns that are never null".to_owned(),
                "name the columns that tell its rows apart with key=COLUMN[,COLUMN]",
            )),
        }
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
            Some("42501") => "docs/drift.md has the grants",
            Some("40001") => "a standby cancelled the snapshot: raise max_standby_streaming_delay, or ask the primary",
            _ => "nothing was compared; try again when the database answers",
        };
        DriftError::Database { store: self.name.clone(), why, hint: hint.to_owned() }
    }

    fn refused(&self, why: String, hint: &str) -> DriftError {
        DriftError::Database { store: self.name.clone(), why, hint: hint.to_owned() }
    }

    /// Rows of a select over all columns.
    fn texts(
        &mut self,
        statement: &str,
        values: &[&(dyn ToSql + Sync)],
        rows: &mut Vec<Row>,
    ) -> Result<(), DriftError> {
        let found = self.client.query(statement, values).map_err(|error| self.wrong(&error))?;
        let keys = self.shape.keys.len();
        for row in found {
            let mut taken = Row { keys: Vec::with_capacity(keys), values: Vec::new() };
            for index in 0..row.len() {
                let text: Option<String> = self.get(&row, index)?;
                self.bytes += text.as_ref().map_or(0, String::len) as u64 + 4;
                match (index < keys, text) {
                    (true, text) => taken.keys.push(text.unwrap_or_default()),
                    (false, text) => taken.values.push(text),
                }
            }
            rows.push(taken);
        }
        Ok(())
    }
}

fn described(name: &str, column: &SqlColumn) -> Column {
    Column { name: name.to_owned(), ty: column.ty, is_nullable: column.is_nullable }
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

/// How values of a type are compared; `None` when they cannot be.
fn type_of(base: &str, kind: &str, modifier: i32) -> Option<Type> {
    if kind == "e" {
        return Some(Type::Text);
    }
    let seconds = if modifier < 0 { 6 } else { modifier.min(6) as u8 };
    Some(match base {
        "int2" | "int4" | "int8" => Type::Integer,
        "numeric" if modifier < 0 => Type::Decimal(None),
        // Eleven bits with a sign.
        "numeric" => match (((modifier - 4) & 0x7ff) ^ 1_024) - 1_024 {
            scale if scale < 0 => Type::Decimal(None),
            scale => Type::Decimal(Some(scale as u16)),
        },
        "float4" => Type::Single,
        "float8" => Type::Double,
        "bool" => Type::Bool,
        "text" | "varchar" | "name" => Type::Text,
        "bpchar" => Type::Padded,
        "uuid" => Type::Uuid,
        "bytea" => Type::Bytes,
        "json" | "jsonb" => Type::Json,
        "date" => Type::Date,
        "time" => Type::Time(seconds),
        "timestamp" => Type::Timestamp(seconds),
        "timestamptz" => Type::Instant(seconds),
        _ => return None,
    })
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

    fn begin(&mut self) -> Result<(), DriftError> {
        // The first query takes the snapshot, not BEGIN.
        let statement = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1";
        self.client.batch_execute(statement).map_err(|error| self.wrong(&error))
    }

    fn end(&mut self) -> Result<(), DriftError> {
        self.client.batch_execute("COMMIT").map_err(|error| self.wrong(&error))
    }

    fn sums(&mut self) -> Result<Vec<Sum>, DriftError> {
        let rows = self.client.query(&self.statements.sums(), &[]).map_err(|error| self.wrong(&error))?;
        let mut sums = vec![Sum::default(); BUCKETS];
        for row in rows {
            let (bucket, count, sum): (i32, i64, String) = (self.get(&row, 0)?, self.get(&row, 1)?, self.get(&row, 2)?);
            self.bytes += 20 + sum.len() as u64;
            let place = usize::try_from(bucket).ok().and_then(|bucket| sums.get_mut(bucket));
            if let Some(place) = place {
                *place = Sum { count, sum: self.modulo(&sum)? };
            }
        }
        Ok(sums)
    }

    fn cells(&mut self, buckets: &[usize], size: usize) -> Result<Option<Cells>, DriftError> {
        if self.statements.method != Method::Chain {
            return Ok(None);
        }
        let buckets: Vec<i64> = buckets.iter().map(|bucket| *bucket as i64).collect();
        let last = size as i64 - 1;
        let rows =
            self.client.query(&self.statements.cells(), &[&buckets, &last]).map_err(|error| self.wrong(&error))?;
        let mut cells = Cells::new(size);
        for row in rows {
            let (part, place, count): (i32, i32, i64) = (self.get(&row, 0)?, self.get(&row, 1)?, self.get(&row, 2)?);
            let texts: (String, String, String) = (self.get(&row, 3)?, self.get(&row, 4)?, self.get(&row, 5)?);
            self.bytes += 16 + (texts.0.len() + texts.1.len() + texts.2.len()) as u64;
            let index = part as usize % PARTS * size + place as usize;
            let (key, sum, check) = (self.modulo(&texts.0)?, self.modulo(&texts.1)?, self.modulo(&texts.2)?);
            if let Some(cell) = cells.cell(index) {
                (cell.count, cell.key, cell.row, cell.check) = (count, key, sum, check);
            }
        }
        Ok(Some(cells))
    }

    fn digests(&mut self, buckets: &[usize], take: &mut dyn FnMut(Digest)) -> Result<(), DriftError> {
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
        let mut rows = Vec::new();
        let statement = self.statements.rows();
        for asked in keys.chunks(ASKED) {
            let columns: Vec<Vec<&str>> = (0..self.shape.keys.len())
                .map(|column| asked.iter().map(|key| key.get(column).map_or("", String::as_str)).collect())
                .collect();
            let values: Vec<&(dyn ToSql + Sync)> = columns.iter().map(|column| column as &(dyn ToSql + Sync)).collect();
            self.texts(&statement, &values, &mut rows)?;
        }
        Ok(rows)
    }

    fn rows_by_hash(&mut self, keys: &[u64]) -> Result<Vec<Row>, DriftError> {
        let mut rows = Vec::new();
        let keys: Vec<i64> = keys.iter().map(|key| *key as i64).collect();
        let statement = self.statements.rows_by_hash();
        self.texts(&statement, &[&keys], &mut rows)?;
        Ok(rows)
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Postgres {
    /// A sum of 64-bit numbers, with a sign or not, modulo 2^64.
    fn modulo(&self, sum: &str) -> Result<u64, DriftError> {
        let wrong = || self.refused(format!("it says {sum:?} for a sum of hashes"), "is this PostgreSQL?");
        sum.parse::<i128>().map(|sum| sum as u64).map_err(|_| wrong())
    }
}
