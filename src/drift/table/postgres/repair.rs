//! Statements that make one row as it should be, as long as it is as it was found: every compared column's text is compared
//! again, the way it was compared before.

use super::Postgres;
use crate::drift::canon::Type;
use crate::drift::repair::Fix;
use crate::drift::shape::Row;
use crate::drift::table::statement::SqlColumn;

/// Prints values as they were printed when they were compared, and means the table that was compared by its name.
pub const HEAD: &str = "\
BEGIN;
SET LOCAL search_path = pg_catalog, public;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO';
SET LOCAL IntervalStyle = 'iso_8601';
SET LOCAL extra_float_digits = 1;
SET LOCAL bytea_output = 'hex';
SET LOCAL standard_conforming_strings = on;";

impl Postgres {
    pub(super) fn statement_of(&self, fix: &Fix) -> String {
        let table = &self.statements.table;
        let key = self.filter_of(&fix.key);
        match (&fix.expected, &fix.actual) {
            (Some(expected), None) => self.insertion(expected, &key),
            (Some(expected), Some(actual)) => {
                let changes: Vec<String> = self
                    .columns_of(expected, actual)
                    .filter(|(_, expected, actual)| expected != actual)
                    .map(|(column, expected, _)| format!("{} = {}", column.name, value(column, expected)))
                    .collect();
                format!("UPDATE {table} SET {}\n  WHERE {key}{};", changes.join(", "), self.guard(actual))
            }
            (None, Some(actual)) => format!("DELETE FROM {table}\n  WHERE {key}{};", self.guard(actual)),
            (None, None) => String::new(),
        }
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
        let (names, values): (Vec<String>, Vec<String>) =
            keys.chain(values).map(|(column, text)| (column.name.clone(), value(column, text))).unzip();
        let table = &statements.table;
        format!(
            "INSERT INTO {table} ({})\n  SELECT {} WHERE NOT EXISTS (SELECT FROM {table} WHERE {key});",
            names.join(", "),
            values.join(", ")
        )
    }

    fn columns_of<'a>(
        &'a self,
        expected: &'a Row,
        actual: &'a Row,
    ) -> impl Iterator<Item = (&'a SqlColumn, Option<&'a str>, Option<&'a str>)> {
        let sides = expected.values.iter().zip(&actual.values);
        let columns = self.statements.values.iter().zip(sides);
        columns.map(|(column, (expected, actual))| (column, expected.as_deref(), actual.as_deref()))
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
        Some(text) => format!("{}::{}", literal(text), column.sql_type),
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
