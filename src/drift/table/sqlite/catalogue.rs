//! What the file says of a table: its columns and how each is compared, and its key.

use rusqlite::OptionalExtension as _;

use super::Sqlite;
use super::value::SqlColumn;
use crate::drift::DriftError;
use crate::drift::canon::Type;
use crate::drift::place::SqlitePlace;
use crate::drift::table::Chosen;
use crate::drift::table::choose::{Found, choose, keyless};
use crate::drift::table::statement::quoted;

/// Digits of a second that text has room for.
const DIGITS: u8 = 6;

impl Sqlite {
    pub(super) fn look_up(&mut self, place: &SqlitePlace, chosen: &Chosen) -> Result<(), DriftError> {
        let table = place.table.strip_prefix("main.").unwrap_or(&place.table);
        let statement = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name = ?1 COLLATE NOCASE";
        let found: Option<String> = self
            .connection
            .query_row(statement, [table], |row| row.get(0))
            .optional()
            .map_err(|error| self.wrong(&error))?;
        let Some(table) = found else {
            return Err(self.refused(format!("there is no table {table} in it"), "name it as table=NAME"));
        };
        let (columns, primary) = self.columns(&table, place)?;
        let key = match (place.key.is_empty(), primary.is_empty()) {
            (false, _) => place.key.clone(),
            (true, false) => primary,
            (true, true) => self.unique_key(&table, &columns)?,
        };
        let picked = choose(&columns, &key, chosen).map_err(|(why, hint)| self.refused(why, &hint))?;
        self.table = table;
        let keys: Vec<_> = picked.keys.into_iter().chain(picked.values).collect();
        (self.shape.keys, self.columns) = keys.into_iter().unzip();
        self.shape.values = self.shape.keys.split_off(key.len());
        Ok(())
    }

    /// Every column, and those of the primary key. Hidden ones belong to virtual tables.
    fn columns(&self, table: &str, place: &SqlitePlace) -> Result<(Vec<Found<SqlColumn>>, Vec<String>), DriftError> {
        let statement = "SELECT name, type, \"notnull\", pk FROM pragma_table_xinfo(?1) WHERE hidden <> 1 ORDER BY cid";
        let read = || -> rusqlite::Result<Vec<(String, String, bool, u32)>> {
            let mut statement = self.connection.prepare(statement)?;
            let rows = statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
            rows.collect()
        };
        let rows = read().map_err(|error| self.wrong(&error))?;
        let mut primary: Vec<(u32, String)> =
            rows.iter().filter(|row| row.3 > 0).map(|row| (row.3, row.0.clone())).collect();
        primary.sort();
        let described = |(name, declared, is_not_null, place_in_key): (String, String, bool, u32)| {
            let column = |ty| SqlColumn { name: quoted(&name), ty, time: place.time };
            let known = type_of(&declared).map(|ty| (ty, column(ty)));
            // A primary key may hold nulls in SQLite; one that does is said when it is read.
            Found { is_nullable: !is_not_null && place_in_key == 0, known, name }
        };
        Ok((rows.into_iter().map(described).collect(), primary.into_iter().map(|(_, name)| name).collect()))
    }

    fn unique_key(&self, table: &str, columns: &[Found<SqlColumn>]) -> Result<Vec<String>, DriftError> {
        let statement = "SELECT i.seq, c.name FROM pragma_index_list(?1) AS i, pragma_index_info(i.name) AS c \
                         WHERE i.\"unique\" AND NOT i.partial ORDER BY i.seq, c.seqno";
        let read = || -> rusqlite::Result<Vec<(u32, Option<String>)>> {
            let mut statement = self.connection.prepare(statement)?;
            let rows = statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        };
        let rows = read().map_err(|error| self.wrong(&error))?;
        let is_usable = |row: &(u32, Option<String>)| {
            row.1.as_ref().is_some_and(|name| columns.iter().any(|column| column.name == *name && !column.is_nullable))
        };
        match rows.chunk_by(|a, b| a.0 == b.0).find(|index| index.iter().all(is_usable)) {
            Some(index) => Ok(index.iter().filter_map(|row| row.1.clone()).collect()),
            None => {
                let (why, hint) = keyless();
                Err(self.refused(why, &hint))
            }
        }
    }
}

/// From the type a column was declared with, by SQLite's own rules of affinity where they decide.
fn type_of(declared: &str) -> Option<Type> {
    let declared = declared.to_ascii_uppercase();
    let (name, size) = declared.split_once('(').unwrap_or((&declared, ""));
    Some(match name.trim() {
        "BOOL" | "BOOLEAN" => Type::Bool,
        "DATE" => Type::Date,
        "TIME" => Type::Time(DIGITS),
        "DATETIME" | "TIMESTAMP" => Type::Timestamp(DIGITS),
        "TIMESTAMPTZ" | "TIMESTAMP WITH TIME ZONE" => Type::Instant(DIGITS),
        "UUID" => Type::Uuid,
        "JSON" => Type::Json,
        "DECIMAL" | "NUMERIC" => match size.trim_end_matches(')').split_once(',') {
            Some((_, scale)) => Type::Decimal(Some(scale.trim().parse().ok()?)),
            None if size.is_empty() => Type::Decimal(None),
            None => Type::Decimal(Some(0)),
        },
        name if name.contains("INT") => Type::Integer,
        name if ["CHAR", "CLOB", "TEXT"].iter().any(|part| name.contains(part)) => Type::Text,
        name if name.contains("BLOB") => Type::Bytes,
        name if ["REAL", "FLOA", "DOUB"].iter().any(|part| name.contains(part)) => Type::Double,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_types_are_read_as_sqlite_reads_them() {
        for (declared, ty) in [
            ("INTEGER", Some(Type::Integer)),
            ("unsigned big int", Some(Type::Integer)),
            ("varchar(20)", Some(Type::Text)),
            ("NATIVE CHARACTER(70)", Some(Type::Text)),
            ("double precision", Some(Type::Double)),
            ("decimal(10, 2)", Some(Type::Decimal(Some(2)))),
            ("NUMERIC", Some(Type::Decimal(None))),
            ("datetime", Some(Type::Timestamp(6))),
            ("", None),
            ("GEOMETRY", None),
        ] {
            assert_eq!(type_of(declared), ty, "{declared}");
        }
    }
}
