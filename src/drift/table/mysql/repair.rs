//! Statements that make one row as it should be, as long as it is as it was found: every compared column is compared again,
//! by its bytes.

use super::Mysql;
use super::statement::{Base, SqlColumn};
use crate::drift::canon::{Type, hex};
use crate::drift::repair::Fix;
use crate::drift::shape::Row;

/// Prints values as they were printed when they were compared, and refuses what a column cannot hold.
pub const HEAD: &str = "\
SET NAMES utf8mb4 COLLATE utf8mb4_bin;
SET time_zone = '+00:00';
SET sql_mode = 'STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES';
START TRANSACTION;";

impl Mysql {
    pub(super) fn statement_of(&self, fix: &Fix) -> String {
        let table = &self.statements.table;
        let key = self.filter_of(&fix.key);
        match (&fix.expected, &fix.actual) {
            (Some(expected), None) => self.insertion(expected, &key),
            (Some(expected), Some(actual)) => {
                let sides = self.statements.values.iter().zip(expected.values.iter().zip(&actual.values));
                let changes: Vec<String> = sides
                    .filter(|(_, (expected, actual))| expected != actual)
                    .map(|(column, (expected, _))| format!("{} = {}", column.name, value(column, expected.as_deref())))
                    .collect();
                format!("UPDATE {table} SET {}\n  WHERE {key}{};", changes.join(", "), self.guard(actual))
            }
            (None, Some(actual)) => format!("DELETE FROM {table}\n  WHERE {key}{};", self.guard(actual)),
            (None, None) => String::new(),
        }
    }

    /// By the column, so that an index serves, and by its bytes: a collation may take two keys for one.
    pub(super) fn filter_of(&self, key: &[String]) -> String {
        let part = |(column, text): (&SqlColumn, &String)| {
            let asked = match column.base {
                Base::Bytes => literal(text),
                _ => value(column, Some(text)),
            };
            format!("{} AND {}", column.equals().replacen('?', &asked, 1), self.is(column, text))
        };
        let parts: Vec<String> = self.statements.keys.iter().zip(key).map(part).collect();
        format!("({})", parts.join(" AND "))
    }

    fn insertion(&self, row: &Row, key: &str) -> String {
        let keys = self.statements.keys.iter().zip(row.keys.iter().map(|text| Some(text.as_str())));
        let values = self.statements.values.iter().zip(row.values.iter().map(Option::as_deref));
        let (names, values): (Vec<String>, Vec<String>) =
            keys.chain(values).map(|(column, text)| (column.name.clone(), value(column, text))).unzip();
        let table = &self.statements.table;
        format!(
            "INSERT INTO {table} ({})\n  SELECT {} FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE {key});",
            names.join(", "),
            values.join(", ")
        )
    }

    fn guard(&self, row: &Row) -> String {
        let part = |(column, text): (&SqlColumn, &Option<String>)| match text {
            None => format!("\n    AND {} IS NULL", column.name),
            Some(text) => format!("\n    AND {}", self.is(column, text)),
        };
        self.statements.values.iter().zip(&row.values).map(part).collect()
    }

    /// The condition that a column holds what has this text.
    fn is(&self, column: &SqlColumn, text: &str) -> String {
        let name = &column.name;
        match (column.text(), column.base) {
            (Some(printed), _) => format!("cast({printed} AS binary) = cast({} AS binary)", literal(text)),
            // As a double, which is what it is compared as.
            (None, Base::Float) => {
                let wide =
                    text.parse::<f32>().map_or_else(|_| literal(text), |float| format!("{:e}", f64::from(float)));
                format!("{name} = {wide}")
            }
            (None, Base::Double) => format!("{name} = {}", value(column, Some(text))),
            (None, _) if self.is_mariadb => format!("json_equals({name}, {})", literal(text)),
            (None, _) => format!("{name} = cast({} AS json)", literal(text)),
        }
    }
}

fn value(column: &SqlColumn, text: Option<&str>) -> String {
    let Some(text) = text else { return "NULL".to_owned() };
    let is_number = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e'));
    match (column.base, column.ty) {
        (Base::Tiny | Base::Bit(_), Type::Bool) => match text {
            "true" => "1".to_owned(),
            "false" => "0".to_owned(),
            other => literal(other),
        },
        (Base::Double, _) if is_number && !text.contains('e') => format!("{text}e0"),
        (Base::Tiny | Base::Integer | Base::Bit(_) | Base::Decimal | Base::Float | Base::Double, _) if is_number => {
            text.to_owned()
        }
        (Base::Bytes, _) => format!("x'{text}'"),
        (Base::Timestamp(_), _) => literal(text.strip_suffix("+00").unwrap_or(text)),
        _ => literal(text),
    }
}

/// The same with and without `NO_BACKSLASH_ESCAPES`: whoever runs one statement alone must not run what a value says.
fn literal(text: &str) -> String {
    if !text.contains('\\') {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut digits = Vec::new();
    hex(text.as_bytes(), &mut digits);
    format!("convert(x'{}' USING utf8mb4)", String::from_utf8_lossy(&digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_ends_no_literal() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("\\' OR 1 -- "), "convert(x'5c27204f522031202d2d20' USING utf8mb4)");
    }
}
