//! What a comparison would do: the cut, the claim, the statements. Nothing of the stores' content is read.

use std::fmt::Write as _;

use super::agree::align;
use super::conserve::law;
use super::place::{Form, Place};
use super::table::{self, Table};
use super::tables::agree_on_method;
use super::{DriftError, Settings, mirror};
use crate::audit::drift::Claim;

pub fn explain(settings: &Settings) -> Result<String, DriftError> {
    let mut said = String::new();
    let (claim, how) = match (&settings.first, &settings.second, &settings.group) {
        (Place::Topic(_), Place::Topic(_), _) => {
            (Claim::Exact, "both logs are read up to their last stable offsets: side by side, or each key's last version where one of them is compacted".to_owned())
        }
        (Place::Topic(_), _, Some(group)) => (
            Claim::Bracketed,
            format!(
                "committed offsets of group {group}, then one snapshot of the table, then the topic's ends; keys with a record between them may be any of its versions"
            ),
        ),
        (Place::Topic(topic), Place::Postgres(_), None) if topic.form == Form::Debezium => (
            Claim::Exact,
            format!(
                "where the topic's events name this table as their source: one snapshot of the table, the end of the server's log \
                 after it, and within {} events or a replication slot that have reached it; events count by whether the \
                 snapshot sees their transaction. Otherwise heuristic, or bracketed with --group",
                humantime::format_duration(settings.wait)
            ),
        ),
        (Place::Topic(_), _, None) => (
            Claim::Heuristic,
            format!(
                "records older than {} are taken to have arrived; name the sink's group with --group for a bracketed claim",
                humantime::format_duration(settings.settle)
            ),
        ),
        (_, _, _) => (
            Claim::Heuristic,
            format!(
                "two snapshots; what differs is read again after {} and is drift where it stands unchanged",
                humantime::format_duration(settings.settle)
            ),
        ),
    };
    line(&mut said, &format!("claim: {}: {how}", claim.name()));
    let mut tables = Vec::new();
    for place in [&settings.first, &settings.second] {
        match place {
            Place::Topic(topic) => {
                line(&mut said, &format!("\ntopic {}: read from its start to its end", topic.topic));
                if topic.form == Form::Debezium && !settings.is_mirror() {
                    line(
                        &mut said,
                        "where its updates tell the row before, each event is held against the one before it; it is read once more \
                         for keys that may have lost one",
                    );
                }
            }
            _ => tables.push(table::open(place, &settings.chosen, &settings.limits)?),
        }
    }
    if let [first, second] = tables.as_mut_slice() {
        align(&mut **first, &mut **second)?;
        agree_on_method(&mut **first, &mut **second);
    }
    for table in &tables {
        of_table(&**table, &mut said);
        for law in law::bind(&settings.laws, table.shape())? {
            let Some(statement) = table.law(&law) else { continue };
            line(&mut said, &format!("\n  -- what must be conserved: {}\n  {statement};", law.text));
        }
    }
    if let Some(law) = settings.laws.first().filter(|_| settings.is_mirror()) {
        return Err(mirror::no_law(law));
    }
    Ok(said)
}

fn of_table(table: &dyn Table, said: &mut String) {
    line(said, &format!("\n{}", table.name()));
    let shape = table.shape();
    for (what, columns) in [("key", &shape.keys), ("compared", &shape.values)] {
        let each: Vec<String> = columns.iter().map(|column| format!("{} ({})", column.name, column.ty)).collect();
        line(said, &format!("  {what}: {}", each.join(", ")));
    }
    for note in table.notes() {
        line(said, &format!("  {note}"));
    }
    for (what, statement) in table.statements() {
        line(said, &format!("\n  -- {what}\n  {statement};"));
    }
}

fn line(said: &mut String, text: &str) {
    // Writing into a string does not fail.
    let _ = writeln!(said, "{text}");
}
