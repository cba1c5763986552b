//! What would make the second store as the first: statements with guards, a list of records to produce again, or a signal to
//! the connector. It is written into a file for somebody to read and run; nothing is repaired here.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::place::Place;
use super::say::Difference;
use super::shape::Row;
use super::table::Table;
use super::{DriftError, Settings};
use crate::audit::drift::DriftSummary;
use crate::audit::finding::{Finding, Sighting};

#[derive(Clone, Debug)]
pub struct RepairFile {
    pub path: PathBuf,
    pub form: Form,
    /// Statements may delete rows.
    pub allows_delete: bool,
}

/// What the file consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Statements for the second store: `.sql`.
    Sql,
    /// The records that say what is missing, one JSON object on each line: `.jsonl`.
    Records,
    /// Debezium's signal for an incremental snapshot of the keys: `.json`.
    Signal,
}

impl Form {
    pub fn of(path: &Path) -> Result<Self, String> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("sql") => Ok(Form::Sql),
            Some("jsonl" | "ndjson") => Ok(Form::Records),
            Some("json") => Ok(Form::Signal),
            _ => Err(format!(
                "{} tells no form of repair; name it .sql (statements), .jsonl (records to produce again) or .json (Debezium's signal)",
                path.display()
            )),
        }
    }
}

/// One key that is wrong, with all of both rows.
#[derive(Clone, Debug)]
pub struct Fix {
    /// Of the finding.
    pub id: String,
    pub why: String,
    pub key: Vec<String>,
    pub expected: Option<Row>,
    pub actual: Option<Row>,
    /// The record that says what is expected.
    pub record: Option<Sighting>,
    /// The key has several rows: which of them to change is for somebody to say.
    pub is_repeated: bool,
}

impl Fix {
    pub fn new(finding: &Finding, difference: &Difference<'_>) -> Self {
        Self {
            id: finding.id.clone(),
            why: finding.why.clone(),
            key: difference.key.to_vec(),
            expected: difference.expected.cloned(),
            actual: difference.actual.cloned(),
            record: finding.sightings.first().cloned(),
            is_repeated: finding.cause.as_deref() == Some("repeated-key"),
        }
    }

    pub fn deletes(&self) -> bool {
        self.expected.is_none()
    }
}

impl RepairFile {
    /// Writes the file, also when there is nothing to repair: a script may rely on it.
    pub fn write(
        &self,
        settings: &Settings,
        table: &dyn Table,
        summary: &DriftSummary,
        fixes: &[Fix],
    ) -> Result<(), DriftError> {
        let text = match self.form {
            Form::Sql => self.statements(table, summary, fixes)?,
            Form::Records => records(settings, fixes)?,
            Form::Signal => signal(table, fixes)?,
        };
        let failed = |source| DriftError::Repair { path: self.path.clone(), source };
        let mut file = tempfile::NamedTempFile::new_in(self.directory()).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        file.persist(&self.path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    fn directory(&self) -> &Path {
        self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    fn statements(&self, table: &dyn Table, summary: &DriftSummary, fixes: &[Fix]) -> Result<String, DriftError> {
        let Some(head) = table.repair_head() else {
            return Err(DriftError::Pair(format!(
                "--repair writes no statements for {}: what its columns hold has no one text; behind a topic write .jsonl, or repair it by hand",
                table.name()
            )));
        };
        let mut text = format!(
            "-- {} brought to what {} says: {}.\n\
             -- Each statement changes its row only while it is as it was found; one that changes no row was overtaken.\n\
             -- Columns that were not compared are not set, and have their defaults in rows that are inserted.\n\
             -- All of it is one transaction: a value that a column does not take undoes everything.\n\
             {head}\n",
            one_line(table.name()),
            one_line(&summary.first),
            crate::report::plural(fixes.len() as u64, "finding"),
        );
        // A row that goes may stand in the way of one that comes.
        let (first, then): (Vec<&Fix>, Vec<&Fix>) = fixes.iter().partition(|fix| fix.deletes());
        for fix in first.into_iter().chain(then) {
            // Writing into a string does not fail.
            let _ = writeln!(text, "\n-- {} {}", fix.id, one_line(&fix.why));
            let statement = match fix.is_repeated {
                true => Err("several rows have this key, and somebody has to say which one is right".to_owned()),
                false => table.repair(fix),
            };
            let _ = match statement {
                Err(why) => writeln!(text, "-- Not repaired here: {}.", one_line(&why)),
                Ok(statement) if fix.deletes() && !self.allows_delete => {
                    writeln!(text, "-- A deletion is written out with --allow-delete only:\n{}", commented(&statement))
                }
                Ok(statement) => writeln!(text, "{statement}"),
            };
        }
        text.push_str("\nCOMMIT;\n");
        Ok(text)
    }
}

/// PostgreSQL ends a comment at a carriage return too.
fn commented(text: &str) -> String {
    text.split(['\n', '\r']).map(|line| format!("-- {line}")).collect::<Vec<_>>().join("\n")
}

/// A comment ends with its line.
fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// Where each record stands that has to be written into the table again.
fn records(settings: &Settings, fixes: &[Fix]) -> Result<String, DriftError> {
    if !matches!(settings.first, Place::Topic(_)) {
        return Err(DriftError::Pair("records are produced again where the first store is a topic".to_owned()));
    }
    let mut text = String::new();
    for fix in fixes.iter().filter(|fix| !fix.is_repeated) {
        let Some(record) = &fix.record else { continue };
        let line = json!({
            "topic": record.topic, "partition": record.partition, "offset": record.offset, "timestamp": record.timestamp,
            "key": fix.key, "headers": {"x-repair-id": fix.id}, "why": fix.why,
        });
        text.push_str(&line.to_string());
        text.push('\n');
    }
    Ok(text)
}

/// For the signal topic or the signal table of the connector that captures this table.
fn signal(table: &dyn Table, fixes: &[Fix]) -> Result<String, DriftError> {
    let Some([_, schema, name]) = table.captured_as() else {
        return Err(DriftError::Pair(format!("{} is captured by no connector that takes signals", table.name())));
    };
    let collection = format!("{schema}.{name}");
    let filters: Vec<String> = fixes.iter().filter_map(|fix| table.key_filter(&fix.key)).collect();
    let mut data = json!({"data-collections": [collection], "type": "incremental"});
    if let Value::Object(members) = &mut data {
        let filter = if filters.is_empty() { "false".to_owned() } else { filters.join(" OR ") };
        members.insert("additional-conditions".to_owned(), json!([{"data-collection": collection, "filter": filter}]));
    }
    Ok(format!("{}\n", json!({"type": "execute-snapshot", "data": data})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_a_comment() {
        assert_eq!(commented("DELETE\r; DROP\r\n  x"), "-- DELETE\n-- ; DROP\n-- \n--   x");
        assert!(!one_line("a\r\n\u{85}b").contains(char::is_control));
    }
}
