//! Statements that make one row as it should be, as long as it is as it was found: every compared column's text is compared
//! again, the way it was compared before.

use super::Postgres;
use super::holds::{cast, holds};
use crate::drift::canon::Type;
use crate::drift::repair::Fix;
use crate::drift::shape::Row;
use crate::drift::table::statement::{Source, SqlColumn};

/// Prints values as they were printed when they were compared, and means the table that was compared by its name.
pub const HEAD: &str = "\
BEGIN;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL search_path = pg_catalog, public;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO';
SET LOCAL IntervalStyle = 'iso_8601';
SET LOCAL extra_float_digits = 1;
SET LOCAL bytea_output = 'hex';
SET LOCAL standard_conforming_strings = on;";

impl Postgres {
    pub(super) fn statement_of(&self, fix: &Fix) -> Result<String, String> {
        let table = &self.statements.table;
        let key = self.filter_of(&fix.key);
        Ok(match (&fix.expected, &fix.actual) {
            (Some(expected), None) => {
                self.must_hold(expected)?;
                self.insertion(expected, &key)
            }
            (Some(expected), Some(actual)) => {
                self.must_hold(expected)?;
                let changes = self.changes(expected, actual)?;
                format!("UPDATE {table} SET {changes}\n  WHERE {key}{};", self.guard(actual))
            }
            (None, Some(actual)) => format!("DELETE FROM {table}\n  WHERE {key}{};", self.guard(actual)),
            (None, None) => return Err("neither side has the row".to_owned()),
        })
    }

    /// One statement that the server refuses would undo all others.
    fn must_hold(&self, row: &Row) -> Result<(), String> {
        let keys = self.statements.keys.iter().zip(row.keys.iter().map(Some));
        let values = self.statements.values.iter().zip(row.values.iter().map(Option::as_ref));
        let is_too_much =
            |(column, text): &(&SqlColumn, Option<&String>)| text.is_some_and(|text| !holds(&column.sql_type, text));
        match keys.chain(values).find(is_too_much) {
            Some((column, _)) => Err(format!("{} is {} and cannot hold what it should", column.name, column.sql_type)),
            None => Ok(()),
        }
    }

    fn changes(&self, expected: &Row, actual: &Row) -> Result<String, String> {
        let sides = expected.values.iter().zip(&actual.values);
        let differ = self.statements.values.iter().zip(sides).filter(|(_, (expected, actual))| expected != actual);
        let mut changes = Vec::new();
        for (column, (expected, _)) in differ {
            let name = &column.name;
            match column.source {
                Source::Given => changes.push(format!("{name} = {}", value(column, expected.as_deref()))),
                Source::Generated => {}
                Source::Identity => {
                    return Err(format!("{name} is GENERATED ALWAYS AS IDENTITY, and no UPDATE may set it"));
                }
            }
        }
        if changes.is_empty() {
            return Err("only generated columns differ, and these cannot be set".to_owned());
        }
        Ok(changes.join(", "))
    }

    pub(super) fn filter_of(&self, key: &[String]) -> String {
        let part = |(column, text): (&SqlColumn, &String)| match column.is_exact {
            true => format!("{} = {}", column.name, value(column, Some(text))),
            false => format!("{} COLLATE \"C\" = {}", column.text(), literal(text)),
        };
        let parts: Vec<String> = self.statements.keys.iter().zip(key).map(part).collect();
        format!("({})", parts.join(" AND "))
    }

    fn insertion(&self, row: &Row, key: &str) -> String {
        let statements = &self.statements;
        let keys = statements.keys.iter().zip(row.keys.iter().map(|text| Some(text.as_str())));
        let values = statements.values.iter().zip(row.values.iter().map(Option::as_deref));
        let given: Vec<_> = keys.chain(values).filter(|(column, _)| column.source != Source::Generated).collect();
        let (names, values): (Vec<String>, Vec<String>) =
            given.iter().map(|(column, text)| (column.name.clone(), value(column, *text))).unzip();
        let table = &statements.table;
        let overriding = match given.iter().any(|(column, _)| column.source == Source::Identity) {
            true => " OVERRIDING SYSTEM VALUE",
            false => "",
        };
        format!(
            "INSERT INTO {table} ({}){overriding}\n  SELECT {} WHERE NOT EXISTS (SELECT FROM {table} WHERE {key});",
            names.join(", "),
            values.join(", ")
        )
    }

    fn guard(&self, row: &Row) -> String {
        let part = |(column, text): (&SqlColumn, &Option<String>)| match text {
            None => format!("\n    AND {} IS NULL", column.name),
            Some(text) => format!("\n    AND ({}) COLLATE \"C\" = {}", column.text(), literal(text)),
        };
        self.statements.values.iter().zip(&row.values).map(part).collect()
    }
}

fn value(column: &SqlColumn, text: Option<&str>) -> String {
    match text {
        None => "NULL".to_owned(),
        Some(text) if column.ty == Type::Bytes => format!("decode({}, 'hex')", literal(text)),
        Some(text) => format!("{}::{}", literal(text), cast(&column.sql_type)),
    }
}

/// The same whatever `standard_conforming_strings` says, and without a line's end that a comment would end at: whoever runs
/// one statement alone must not run what a value says.
fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if !text.contains(['\\', '\r']) {
        return format!("'{quoted}'");
    }
    format!("E'{}'", quoted.replace('\\', "\\\\").replace('\r', "\\r"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_ends_no_literal() {
        assert_eq!(literal("it's\nso"), "'it''s\nso'");
        assert_eq!(literal("\\' OR true\r; --"), "E'\\\\'' OR true\\r; --'");
    }
}
