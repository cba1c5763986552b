//! What the catalogue says of a table: its columns and how each is compared, its key, and what this user may do.

use ::mysql::prelude::Queryable as _;
use ::mysql::{Row as SqlRow, params};

use super::grants::writer;
use super::statement::{Base, SqlColumn, quoted};
use super::{Mysql, text};
use crate::drift::DriftError;
use crate::drift::place::MysqlPlace;
use crate::drift::table::choose::{Found, choose, keyless};
use crate::drift::table::{Chosen, Limits};

/// Engines whose tables are seen as they were when a transaction began.
const ENGINES: [&str; 4] = ["InnoDB", "ROCKSDB", "TokuDB", "ndbcluster"];

impl Mysql {
    pub(super) fn look_up(&mut self, place: &MysqlPlace, chosen: &Chosen, limits: &Limits) -> Result<(), DriftError> {
        let (database, table) = place.table.split_once('.').unwrap_or((&place.database, &place.table));
        let statement = "SELECT table_schema, table_name, engine, table_type FROM information_schema.tables \
                         WHERE table_schema = :database AND table_name = :table";
        let found: Option<SqlRow> =
            self.conn.exec_first(statement, params! { database, table }).map_err(|error| self.wrong(&error))?;
        let Some(found) = found else {
            let why = format!("there is no table {database}.{table} that this user can see");
            return Err(self.refused(why, "name it as table=NAME or table=DATABASE.NAME, and GRANT SELECT on it"));
        };
        let (database, table, engine) = (text(&found, 0), text(&found, 1), text(&found, 2));
        if !ENGINES.iter().any(|known| known.eq_ignore_ascii_case(&engine)) {
            let what = if engine.is_empty() { text(&found, 3).to_lowercase() } else { format!("{engine} table") };
            let why = format!("it is a {what}, which has no snapshot: what is read would be of different moments");
            return Err(self.refused(why, "compare a table of InnoDB"));
        }
        self.statements.table = format!("{}.{}", quoted(&database), quoted(&table));
        self.check_privileges(&database, &table, limits)?;
        let columns = self.columns(&database, &table)?;
        let key = match place.key.is_empty() {
            true => self.unique_key(&database, &table)?,
            false => place.key.clone(),
        };
        let picked = choose(&columns, &key, chosen).map_err(|(why, hint)| self.refused(why, &hint))?;
        (self.shape.keys, self.statements.keys) = picked.keys.into_iter().unzip();
        (self.shape.values, self.statements.values) = picked.values.into_iter().unzip();
        Ok(())
    }

    fn check_privileges(&mut self, database: &str, table: &str, limits: &Limits) -> Result<(), DriftError> {
        if limits.allows_writers {
            return Ok(());
        }
        // MySQL shows what active roles may only when asked for it by their names; MariaDB shows it anyway.
        let roles: Option<Option<String>> = self.conn.query_first("SELECT current_role()").unwrap_or_default();
        let roles = roles.flatten().filter(|roles| roles.starts_with('`') && !self.is_mariadb);
        let statement = match roles {
            Some(roles) => format!("SHOW GRANTS FOR CURRENT_USER() USING {roles}"),
            None => "SHOW GRANTS".to_owned(),
        };
        let grants: Vec<String> = self.conn.query(statement).map_err(|error| self.wrong(&error))?;
        match writer(&grants, database, table) {
            None => Ok(()),
            Some(_) => Err(self.refused(
                "this user could write to the table, and an audit needs no such right".to_owned(),
                "use one with SELECT alone (docs/drift.md has the grants), or say --allow-writer",
            )),
        }
    }

    /// Every column, and how it is compared where it can be.
    fn columns(&mut self, database: &str, table: &str) -> Result<Vec<Found<SqlColumn>>, DriftError> {
        let checks = self.checks(database, table)?;
        let statement = "SELECT column_name, data_type, column_type, is_nullable, \
                         cast(coalesce(numeric_scale, 0) AS char), cast(coalesce(datetime_precision, 0) AS char), \
                         cast(coalesce(numeric_precision, 0) AS char), character_set_name, collation_name, extra \
                         FROM information_schema.columns WHERE table_schema = :database AND table_name = :table \
                         ORDER BY ordinal_position";
        let rows: Vec<SqlRow> =
            self.conn.exec(statement, params! { database, table }).map_err(|error| self.wrong(&error))?;
        let described = |row: &SqlRow| {
            let (name, data_type, column_type) = (text(row, 0), text(row, 1), text(row, 2));
            let (is_nullable, scale) = (text(row, 3) == "YES", text(row, 4).parse().unwrap_or(0));
            let digits = text(row, 5).parse().unwrap_or(0);
            let bits = text(row, 6).parse().unwrap_or(0);
            let is_json =
                checks.iter().any(|check| check.eq_ignore_ascii_case(&format!("json_valid({})", quoted(&name))));
            let base = if is_json { Some(Base::Json) } else { base_of(&data_type, &column_type, digits, bits) };
            let known = base.map(|base| {
                let ty = base.ty(scale);
                let is_filled = column_type.contains("zerofill") || data_type == "year";
                let encoding = Some((text(row, 7), text(row, 8))).filter(|(charset, _)| !charset.is_empty());
                // MySQL's DEFAULT_GENERATED is a default like others.
                let extra = text(row, 9).to_uppercase();
                let is_generated =
                    ["VIRTUAL GENERATED", "STORED GENERATED", "PERSISTENT"].iter().any(|word| extra.contains(word));
                let is_stamped = extra.contains("ON UPDATE");
                let name = quoted(&name);
                (ty, SqlColumn { name, base, ty, is_nullable, is_filled, encoding, is_generated, is_stamped })
            });
            Found { name, is_nullable, known }
        };
        Ok(rows.iter().map(described).collect())
    }

    /// MariaDB's JSON is text with a check.
    fn checks(&mut self, database: &str, table: &str) -> Result<Vec<String>, DriftError> {
        if !self.is_mariadb {
            return Ok(Vec::new());
        }
        let statement = "SELECT check_clause FROM information_schema.check_constraints \
                         WHERE constraint_schema = :database AND table_name = :table";
        self.conn.exec(statement, params! { database, table }).map_err(|error| self.wrong(&error))
    }

    fn unique_key(&mut self, database: &str, table: &str) -> Result<Vec<String>, DriftError> {
        // The start of a column, or an expression, tells no rows apart.
        let statement = "SELECT index_name, column_name, nullable, cast(coalesce(sub_part, 0) AS char) \
                         FROM information_schema.statistics \
                         WHERE table_schema = :database AND table_name = :table AND non_unique = 0 \
                         ORDER BY index_name <> 'PRIMARY', index_name, seq_in_index";
        let rows: Vec<SqlRow> =
            self.conn.exec(statement, params! { database, table }).map_err(|error| self.wrong(&error))?;
        let is_usable = |row: &SqlRow| text(row, 2) != "YES" && text(row, 3) == "0" && !text(row, 1).is_empty();
        let found = rows.chunk_by(|a, b| text(a, 0) == text(b, 0)).find(|index| index.iter().all(is_usable));
        match found {
            Some(index) => Ok(index.iter().map(|row| text(row, 1)).collect()),
            None => {
                let (why, hint) = keyless();
                Err(self.refused(why, &hint))
            }
        }
    }
}

/// `None` where values cannot be compared exactly.
fn base_of(data_type: &str, column_type: &str, digits: u8, bits: u64) -> Option<Base> {
    Some(match data_type {
        "tinyint" if column_type.starts_with("tinyint(1)") => Base::Tiny,
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => Base::Integer,
        "decimal" => Base::Decimal,
        "float" => Base::Float,
        "double" => Base::Double,
        "bit" => Base::Bit(bits),
        "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" | "set" => Base::Text,
        "char" => Base::Char,
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Base::Bytes,
        "json" => Base::Json,
        "uuid" => Base::Uuid,
        "date" => Base::Date,
        "time" => Base::Time(digits),
        "datetime" => Base::Datetime(digits),
        "timestamp" => Base::Timestamp(digits),
        _ => return None,
    })
}
