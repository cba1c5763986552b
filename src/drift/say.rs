//! From verdicts to findings and the report.

use std::time::Duration;

use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::digest::{Method, bucket_of};
use super::history::{Content, History, Version};
use super::place::Place;
use super::shape::{Row, Shape};
use super::verdict::Verdict;
use super::{Settings, Told};
use crate::audit::drift::{Befores, Claim, DriftSummary};
use crate::audit::finding::{Finding, Grade, Kind, Sighting};
use crate::audit::patterns::summary::Found;
use crate::audit::verdict::{Figures, Report, Summary, Verdict as Judged};
use crate::report::plural;

/// Characters of a value that a sentence quotes.
const QUOTED: usize = 40;

/// One key on which the stores differ.
pub struct Difference<'a> {
    pub kind: Kind,
    pub key: &'a [String],
    pub expected: Option<&'a Row>,
    pub actual: Option<&'a Row>,
    /// What follows the key in the sentence; the columns that differ when empty.
    pub says: String,
    pub cause: Option<&'static str>,
}

/// The two stores as findings name them.
pub struct Stores<'a> {
    pub first: &'a str,
    pub second: &'a str,
    pub shape: &'a Shape,
    pub method: Method,
}

impl<'a> Difference<'a> {
    /// `None` where nothing is wrong.
    pub fn of(key: &'a [String], verdict: &'a Verdict) -> Option<Self> {
        let row = |version: &'a Version| match &version.content {
            Content::Row(row) => Some(row),
            Content::Deleted | Content::Unreadable(_) => None,
        };
        let (kind, expected, actual, says, cause) = match verdict {
            Verdict::Missing { expected } => {
                (Kind::Missing, row(expected), None, "is in the topic and not in the table".to_owned(), None)
            }
            Verdict::Extra { deleted: Some(deleted), actual } => {
                let says = format!("was deleted at offset {} and is still in the table", deleted.offset);
                (Kind::Extra, None, Some(actual), says, Some("deleted"))
            }
            Verdict::Extra { deleted: None, actual } => {
                let says = "is in the table and no record of the topic has its key".to_owned();
                (Kind::Extra, None, Some(actual), says, Some("no-record"))
            }
            Verdict::Differs { expected, actual } => (Kind::Differs, row(expected), Some(actual), String::new(), None),
            Verdict::Stale { expected, older, versions_behind, actual } => {
                let seconds = (expected.timestamp - older.timestamp).max(0) / 1_000;
                let versions = plural(*versions_behind, "version");
                let says = format!(
                    "is stale: it equals the version at offset {}, {versions} and {seconds} s old",
                    older.offset
                );
                (Kind::Stale, row(expected), Some(actual), says, None)
            }
            Verdict::Repeated { rows } => {
                let says = format!("has {} rows in the table", rows.len());
                (Kind::Extra, None, rows.last(), says, Some("repeated-key"))
            }
            Verdict::Fine | Verdict::Unverifiable(_) => return None,
        };
        Some(Self { kind, key, expected, actual, says, cause })
    }

    pub fn finding(&self, settings: &Settings, stores: &Stores<'_>) -> Finding {
        let shown = Shown { settings, shape: stores.shape };
        let columns = shown.columns(self.expected, self.actual);
        let says = if self.says.is_empty() { format!("differs: {}", changes(&columns)) } else { self.says.clone() };
        // Both are plain texts: writing them as JSON does not fail.
        let content = xxh3_64(&serde_json::to_vec(&(self.expected, self.actual)).unwrap_or_default());
        let key = self.key.join("\u{1f}");
        let why = format!("{} {says}", shown.key_in_words(self.key));
        let mut finding = Finding::new(self.kind, stores.first, &[&stores.second, &key, &content], why);
        finding.key = Some(shown.key(self.key));
        finding.columns = Some(columns).filter(|columns| !columns.is_empty());
        finding.cause = self.cause.map(str::to_owned);
        finding.evidence.insert("table".to_owned(), json!(stores.second));
        finding.evidence.insert("bucket".to_owned(), json!(bucket_of(stores.method.key_of(self.key))));
        finding
    }
}

/// As sure as what it rests on. `has_unusable`: some records say nothing of any key, and may have said that of this one.
pub fn graded(mut finding: Finding, verdict: &Verdict, history: Option<&History>, has_unusable: bool) -> Finding {
    let may_be_told = matches!(verdict, Verdict::Missing { .. } | Verdict::Extra { deleted: None, .. });
    if has_unusable && may_be_told {
        finding.grade = Grade::Possible;
    }
    if history.is_some_and(History::is_spread) {
        finding.grade = Grade::Possible;
        finding.why += "; its records stand in several partitions, and their times alone say which is the last";
    }
    finding
}

/// With the records of the topic that the verdict rests on.
pub fn with_records(mut finding: Finding, topic: &str, verdict: &Verdict) -> Finding {
    let (expected, older) = match verdict {
        Verdict::Missing { expected } | Verdict::Differs { expected, .. } => (Some(expected), None),
        Verdict::Extra { deleted, .. } => (deleted.as_ref(), None),
        Verdict::Stale { expected, older, .. } => (Some(expected), Some(older)),
        _ => (None, None),
    };
    if let Some(expected) = expected {
        finding.partition = Some(expected.partition);
        finding.first_seen = Some(expected.timestamp);
        finding.last_seen = Some(expected.timestamp);
    }
    finding.sightings.extend(expected.into_iter().chain(older).map(|version| sighting(topic, version)));
    if let Verdict::Stale { older, versions_behind, .. } = verdict {
        finding.evidence.insert("versions_behind".to_owned(), json!(versions_behind));
        finding.evidence.insert("equals_offset".to_owned(), json!(older.offset));
    }
    finding
}

fn sighting(topic: &str, version: &Version) -> Sighting {
    Sighting::new(topic, version.partition, version.offset, version.timestamp, version.checksum)
}

/// Values as they may be shown.
pub struct Shown<'a> {
    pub settings: &'a Settings,
    pub shape: &'a Shape,
}

impl Shown<'_> {
    fn value(&self, text: Option<&str>) -> Value {
        match text {
            None => Value::Null,
            Some(text) => match &self.settings.redact {
                Some(redaction) => json!(redaction.of(text)),
                None => json!(text),
            },
        }
    }

    pub fn key(&self, key: &[String]) -> Map<String, Value> {
        let names = self.shape.keys.iter().map(|column| column.name.clone());
        names.zip(key.iter().map(|text| self.value(Some(text)))).collect()
    }

    pub fn key_in_words(&self, key: &[String]) -> String {
        let part = |(name, value): (String, Value)| format!("{name} {}", quoted(&value));
        self.key(key).into_iter().map(part).collect::<Vec<_>>().join(", ")
    }

    /// Columns that differ; all of them where one side has no row.
    pub fn columns(&self, expected: Option<&Row>, actual: Option<&Row>) -> Map<String, Value> {
        let mut columns = Map::new();
        for (index, column) in self.shape.values.iter().enumerate() {
            let text = |row: Option<&Row>| row.and_then(|row| row.values.get(index).cloned()).flatten();
            let (wanted, found) = (text(expected), text(actual));
            if expected.is_some() && actual.is_some() && wanted == found {
                continue;
            }
            let mut sides = Map::new();
            if expected.is_some() {
                sides.insert("expected".to_owned(), self.value(wanted.as_deref()));
            }
            if actual.is_some() {
                sides.insert("actual".to_owned(), self.value(found.as_deref()));
            }
            columns.insert(column.name.clone(), Value::Object(sides));
        }
        columns
    }
}

pub fn changes(columns: &Map<String, Value>) -> String {
    let change = |(name, sides): (&String, &Value)| {
        format!("{name} {} → {}", quoted(&sides["expected"]), quoted(&sides["actual"]))
    };
    columns.iter().map(change).collect::<Vec<_>>().join(", ")
}

/// A value in a sentence: without characters that a terminal would obey, and short. Blanks that nobody would see are shown.
pub fn quoted(value: &Value) -> String {
    let Some(text) = value.as_str() else { return "null".to_owned() };
    let start: Vec<char> = text.chars().take(QUOTED + 1).collect();
    let is_blank = |at: Option<usize>| at.and_then(|at| start.get(at)).is_none_or(|other| *other == ' ');
    let is_hidden = |at: usize| is_blank(at.checked_sub(1)) || is_blank(Some(at + 1));
    let mut shown = String::new();
    for (at, character) in start.iter().take(QUOTED).enumerate() {
        match character {
            ' ' if is_hidden(at) => shown.push('\u{2423}'),
            '"' | '\'' | '\\' => shown.push(*character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    match text {
        // Else it would be no text.
        "" | "null" => format!("\"{text}\""),
        _ if start.len() > QUOTED => format!("{shown}…"),
        _ => shown,
    }
}

pub fn count(summary: &mut DriftSummary, finding: &Finding) {
    summary.confirmed += 1;
    match finding.kind {
        Kind::Missing => summary.missing += 1,
        Kind::Extra => summary.extra += 1,
        Kind::Stale => summary.stale += 1,
        _ => summary.differs += 1,
    }
    if matches!(finding.kind, Kind::Differs | Kind::Stale) {
        for column in finding.columns.iter().flat_map(|columns| columns.keys()) {
            *summary.worst_columns.entry(column.clone()).or_default() += 1;
        }
    }
}

pub fn report(settings: &Settings, told: Told, is_stopped: bool, took: Duration) -> Report {
    let Told { read, mut summary, samples, mut findings, .. } = told;
    summary.is_redacted = settings.redact.is_some();
    let shared = super::patterns::shared(&summary, &read, &findings);
    let found = match &settings.first {
        Place::Topic(topic) => super::patterns::search_offsets(&topic.topic, &summary, &read, &findings),
        _ => Found::default(),
    };
    findings.extend(found.findings);
    findings.extend(read.findings);
    findings.sort_by_cached_key(|finding| {
        (finding.kind, finding.key.as_ref().map(|key| format!("{key:?}")), finding.id.clone())
    });
    let proven = |finding: &Finding| finding.is_open() && finding.grade == Grade::Proven;
    let is_empty = summary.keys == 0 && summary.rows == 0;
    let judged = if !read.unread.is_empty() || is_empty || is_stopped {
        Judged::Unverified
    } else if findings.iter().any(proven) {
        Judged::Findings
    } else if !summary.unverifiable.is_empty() || findings.iter().any(Finding::is_open) {
        Judged::Inconclusive
    } else {
        Judged::Clean
    };
    let figures = Figures {
        records: read.coverage.iter().map(|coverage| coverage.records).sum(),
        bytes: read.bytes,
        batches: read.coverage.iter().map(|coverage| coverage.batches).sum(),
        ..Figures::default()
    };
    let summary = Summary {
        verdict: judged,
        exit: judged.exit(),
        figures,
        unread: read.unread,
        not_checked: Vec::new(),
        notes: notes(settings, &summary, is_empty).into_iter().chain(shared).collect(),
        samples,
        searched: found.searched,
        flow: None,
        drift: Some(summary),
        pairs: Vec::new(),
        seconds: took.as_secs_f64(),
        ledger: None,
    };
    Report { findings, coverage: read.coverage, pictures: Vec::new(), summary }
}

fn note_of_claim(settings: &Settings, summary: &DriftSummary) -> Option<String> {
    Some(match (summary.claim, &summary.snapshot, &settings.group) {
        (Claim::Exact, Some(snapshot), _) => {
            format!(
                "exact: the topic's events were taken by the transactions that the table's snapshot sees ({snapshot})"
            )
        }
        (_, Some(snapshot), _) => format!(
            "heuristic: within {} no event or replication slot showed that the topic has all of the snapshot ({snapshot}); \
             let the connector send heartbeats, name its slot with slot=…, or raise --wait",
            humantime::format_duration(settings.wait)
        ),
        (Claim::Bracketed, None, Some(group)) => format!(
            "bracketed by the offsets of group {group}: {} had a record on its way and may be any version since",
            plural(summary.in_flight, "key")
        ),
        (Claim::Heuristic, None, _) if settings.is_mirror() => {
            "heuristic: where the mirror stands in the source could not be \
             told for certain; what is no younger than its last records is taken to have arrived"
                .to_owned()
        }
        (Claim::Heuristic, None, _) if !matches!(settings.first, Place::Topic(_)) => format!(
            "heuristic: nothing ties the snapshots of two tables together; what differed was read again after {}",
            humantime::format_duration(settings.settle)
        ),
        (Claim::Heuristic, None, _) => format!(
            "heuristic: no --group tells how far the writer is; records older than {} are taken to have arrived",
            humantime::format_duration(settings.settle)
        ),
        _ => return None,
    })
}

/// Where changes may have been lost on the way to the topic and nobody could see it.
fn note_of_befores(befores: &Befores) -> Option<String> {
    let Befores { updates, without, not_looked_at } = befores;
    match not_looked_at.as_deref() {
        Some("compacted") => Some(
            "whether changes were lost on the way to the topic was not looked at: it is compacted, events between two others \
             may have been removed"
                .to_owned(),
        ),
        Some(_) => Some(
            "whether changes were lost on the way to the topic was not looked at: its cleanup.policy could not be read".to_owned(),
        ),
        None if *without == 0 => None,
        None => Some(format!(
            "{without} of {} do not tell the row before (REPLICA IDENTITY FULL, or MySQL's full row image, makes them): changes \
             that were lost on the way to the topic do not show there",
            plural(*updates, "update")
        )),
    }
}

fn notes(settings: &Settings, summary: &DriftSummary, is_empty: bool) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(note_of_claim(settings, summary));
    if let Some(named) = &settings.named {
        let keys = plural(named.len() as u64, "key");
        notes.push(format!("only {keys} of {} were looked at, nothing else", named.path.display()));
    }
    if is_empty {
        let why = if settings.named.is_some() { "the report has no keys" } else { "both stores are empty" };
        notes.push(format!("{why}: nothing was compared"));
    }
    notes.extend(summary.befores.as_ref().and_then(note_of_befores));
    for (column, count) in &summary.absent {
        let records = plural(*count, "record");
        notes.push(format!("{records} without column {column}: taken for null, leave it out with --ignore {column}"));
    }
    for (column, count) in &summary.narrowed {
        notes.push(format!("{count} values of {column} were rounded to what the column can hold"));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_in_a_sentence_shows_what_it_is() {
        for (value, shown) in [
            (json!(null), "null"),
            (json!("null"), "\"null\""),
            (json!(""), "\"\""),
            (json!("a b"), "a b"),
            (json!("a  b"), "a␣␣b"),
            (json!(" a "), "␣a␣"),
            (json!("it's \"so\" \\"), "it's \"so\" \\"),
            (json!("a\u{1b}[0m\n"), "a\\u{1b}[0m\\n"),
        ] {
            assert_eq!(quoted(&value), shown);
        }
        let long = format!("{} y", "x".repeat(QUOTED - 1));
        assert_eq!(quoted(&json!(long)), format!("{} …", "x".repeat(QUOTED - 1)));
    }
}
