//! Statements that make one row as it should be, as long as it is as it was found: every compared column is compared again,
//! by its bytes.

use bigdecimal::BigDecimal;

use super::Mysql;
use super::statement::{Base, SqlColumn};
use crate::drift::canon::{Type, hex};
use crate::drift::repair::Fix;
use crate::drift::shape::Row;

/// Prints values as they were printed when they were compared, and refuses what a column cannot hold.
pub const HEAD: &str = "\
SET NAMES utf8mb4 COLLATE utf8mb4_bin;
SET time_zone = '+00:00';
SET sql_mode = 'STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES,NO_AUTO_VALUE_ON_ZERO';
START TRANSACTION;";

impl Mysql {
    pub(super) fn statement_of(&self, fix: &Fix) -> Result<String, String> {
        let table = &self.statements.table;
        let key = self.filter_of(&fix.key);
        Ok(match (&fix.expected, &fix.actual) {
            (Some(expected), None) => self.insertion(expected, &key),
            (Some(expected), Some(actual)) => {
                let changes = changes(&self.statements.values, expected, actual)?;
                format!("UPDATE {table} SET {changes}\n  WHERE {key}{};", self.guard(actual))
            }
            (None, Some(actual)) => format!("DELETE FROM {table}\n  WHERE {key}{};", self.guard(actual)),
            (None, None) => return Err("neither side has the row".to_owned()),
        })
    }

    /// By the column, so that an index serves, and by its bytes: a collation may take two keys for one.
    pub(super) fn filter_of(&self, key: &[String]) -> String {
        let part = |(column, text): (&SqlColumn, &String)| {
            let asked = match column.base {
                Base::Bytes => literal(text),
                _ => value(column, Some(text)),
            };
            format!("{} AND {}", column.equals_to(&asked), self.is(column, text))
        };
        let parts: Vec<String> = self.statements.keys.iter().zip(key).map(part).collect();
        format!("({})", parts.join(" AND "))
    }

    fn insertion(&self, row: &Row, key: &str) -> String {
        let keys = self.statements.keys.iter().zip(row.keys.iter().map(|text| Some(text.as_str())));
        let values = self.statements.values.iter().zip(row.values.iter().map(Option::as_deref));
        let (names, values): (Vec<String>, Vec<String>) = keys
            .chain(values)
            .filter(|(column, _)| !column.is_generated)
            .map(|(column, text)| (column.name.clone(), value(column, text)))
            .unzip();
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

fn changes(columns: &[SqlColumn], expected: &Row, actual: &Row) -> Result<String, String> {
    let sides = || columns.iter().zip(expected.values.iter().zip(&actual.values));
    let is_changed = |(column, (expected, actual)): &(&SqlColumn, _)| !column.is_generated && expected != actual;
    let mut changes: Vec<String> = sides()
        .filter(|side| is_changed(side))
        .map(|(column, (expected, _))| format!("{} = {}", column.name, value(column, expected.as_deref())))
        .collect();
    if changes.is_empty() {
        return Err("only generated columns differ, and these cannot be set".to_owned());
    }
    let stays = sides().filter(|side| side.0.is_stamped && !is_changed(side));
    changes.extend(stays.map(|(column, _)| format!("{0} = {0}", column.name)));
    Ok(changes.join(", "))
}

fn value(column: &SqlColumn, text: Option<&str>) -> String {
    let Some(text) = text else { return "NULL".to_owned() };
    // Anything else, and be it a sum, stands in quotes, and a column of numbers refuses it.
    let has_digits_alone = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e'));
    let is_number = has_digits_alone && text.parse::<BigDecimal>().is_ok();
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

/// The same with and without `NO_BACKSLASH_ESCAPES`, whatever the client does to ends of lines: whoever runs one statement
/// alone must not run what a value says.
fn literal(text: &str) -> String {
    let is_plain = |character: char| character != '\\' && (!character.is_control() || matches!(character, '\n' | '\t'));
    if text.chars().all(is_plain) {
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
        assert_eq!([literal("a\n"), literal("a\r\n")], ["'a\n'", "convert(x'610d0a' USING utf8mb4)"]);
        assert_eq!(literal("\\' OR 1 -- "), "convert(x'5c27204f522031202d2d20' USING utf8mb4)");
    }

    fn column(name: &str, base: Base, ty: Type) -> SqlColumn {
        let (is_nullable, is_filled, is_generated, is_stamped) = (true, false, false, false);
        SqlColumn {
            name: format!("`{name}`"),
            base,
            ty,
            is_nullable,
            is_filled,
            encoding: None,
            is_generated,
            is_stamped,
        }
    }

    #[test]
    fn what_is_no_number_is_no_number_in_sql() {
        let of = |text: &str| value(&column("n", Base::Integer, Type::Text), Some(text));
        assert_eq!(["7", "-7", "7.50", "1e3"].map(of), ["7", "-7", "7.50", "1e3"]);
        assert_eq!(
            ["", "5-3", "5--", "+", "1e", "e", "."].map(of),
            ["''", "'5-3'", "'5--'", "'+'", "'1e'", "'e'", "'.'"]
        );
    }

    #[test]
    fn nothing_changes_beside_what_differs() {
        let stamped = SqlColumn { is_stamped: true, ..column("at", Base::Datetime(0), Type::Timestamp(0)) };
        let generated = SqlColumn { is_generated: true, ..column("sum", Base::Integer, Type::Integer) };
        let columns = [column("n", Base::Integer, Type::Integer), stamped, generated];
        let row = |values: [&str; 3]| Row { keys: Vec::new(), values: values.map(|text| Some(text.to_owned())).into() };
        let before = row(["1", "2026-01-01 00:00:00", "2"]);
        let of = |values| changes(&columns, &row(values), &before);
        assert_eq!(of(["3", "2026-01-01 00:00:00", "6"]).unwrap(), "`n` = 3, `at` = `at`");
        assert_eq!(of(["1", "2026-01-02 00:00:00", "2"]).unwrap(), "`at` = '2026-01-02 00:00:00'");
        assert!(of(["1", "2026-01-01 00:00:00", "3"]).is_err());
    }
}
