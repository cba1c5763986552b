//! What the catalogue says of a table: its columns and how each is compared, its key, and what this role may do.

use super::{Chosen, Limits, Postgres};
use crate::drift::DriftError;
use crate::drift::canon::Type;
use crate::drift::table::choose::{Found, choose, keyless};
use crate::drift::table::statement::{Source, SqlColumn, quoted};

impl Postgres {
    pub(super) fn look_up(&mut self, chosen: &Chosen, limits: &Limits) -> Result<(), DriftError> {
        let place = self.place.clone();
        let found: Option<u32> = self.one("SELECT to_regclass($1)::oid", &[&place.table])?;
        let Some(oid) = found else {
            let why = format!("there is no table {} that this role can see", place.table);
            return Err(self.refused(why, "name it as table=SCHEMA.NAME"));
        };
        self.statements.table = self.one("SELECT $1::oid::regclass::text", &[&oid])?;
        let statement = "SELECT current_database()::text, n.nspname::text, c.relname::text FROM pg_class c \
                         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1";
        let row = self.client.query_one(statement, &[&oid]).map_err(|error| self.wrong(&error))?;
        self.captured_as = [self.get(&row, 0)?, self.get(&row, 1)?, self.get(&row, 2)?];
        self.check_privileges(oid, limits)?;
        let columns = self.columns(oid)?;
        let key = match place.key.is_empty() {
            true => self.unique_key(oid)?,
            false => place.key.clone(),
        };
        let picked = choose(&columns, &key, chosen).map_err(|(why, hint)| self.refused(why, &hint))?;
        (self.shape.keys, self.statements.keys) = picked.keys.into_iter().unzip();
        (self.shape.values, self.statements.values) = picked.values.into_iter().unzip();
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
    fn columns(&mut self, oid: u32) -> Result<Vec<Found<SqlColumn>>, DriftError> {
        let statement = "\
            SELECT a.attname::text, a.attnotnull, b.typname::text, b.typtype::text, \
                   m.modifier, coalesce(c.collisdeterministic, true), format_type(b.oid, m.modifier), b.typcategory::text, \
                   a.attgenerated <> '', a.attidentity = 'a' \
            FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
            JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END \
            CROSS JOIN LATERAL (SELECT CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END AS modifier) m \
            LEFT JOIN pg_collation c ON c.oid = a.attcollation \
            WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
        let rows = self.client.query(statement, &[&oid]).map_err(|error| self.wrong(&error))?;
        let mut columns = Vec::new();
        for row in rows {
            let (name, is_not_null): (String, bool) = (self.get(&row, 0)?, self.get(&row, 1)?);
            let (base, kind, modifier): (String, String, i32) =
                (self.get(&row, 2)?, self.get(&row, 3)?, self.get(&row, 4)?);
            let (is_exact, sql_type): (bool, String) = (self.get(&row, 5)?, self.get(&row, 6)?);
            let source = match (self.get(&row, 8)?, self.get(&row, 9)?) {
                (true, _) => Source::Generated,
                (_, true) => Source::Identity,
                _ => Source::Given,
            };
            let column = |ty| SqlColumn {
                name: quoted(&name),
                sql_type,
                ty,
                is_nullable: !is_not_null,
                // An enum's text may name none of its values: the cast would fail.
                is_exact: is_exact && kind == "b",
                source,
            };
            let known = type_of(&base, &kind, modifier).map(|ty| (ty, column(ty)));
            columns.push(Found { name, is_nullable: !is_not_null, known });
        }
        Ok(columns)
    }

    fn unique_key(&mut self, oid: u32) -> Result<Vec<String>, DriftError> {
        let statement = "\
            SELECT array_agg(a.attname::text ORDER BY array_position(i.indkey::int2[], a.attnum)) \
            FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid \
              AND a.attnum = ANY((i.indkey::int2[])[0:i.indnkeyatts - 1]) \
            WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL \
            GROUP BY i.indexrelid, i.indisprimary HAVING bool_and(a.attnotnull) ORDER BY i.indisprimary DESC, i.indexrelid LIMIT 1";
        let rows = self.client.query(statement, &[&oid]).map_err(|error| self.wrong(&error))?;
        match rows.first() {
            Some(row) => self.get(row, 0),
            None => {
                let (why, hint) = keyless();
                Err(self.refused(why, &hint))
            }
        }
    }
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
