//! From the verdict on a key to a finding.

use serde_json::{Map, json};

use super::Mirror;
use super::hash::key_hash;
use super::version::{Verdict, Version};
use crate::audit::finding::{Finding, Kind, Sighting};
use crate::drift::digest::bucket_of;
use crate::drift::say::quoted;
use crate::report::plural;

impl Mirror<'_> {
    /// `None` where nothing is wrong.
    pub fn of_key(&self, partition: i32, key: &[u8], verdict: &Verdict) -> Option<Finding> {
        let (source, copy) = (&*self.source.topic, &*self.copy.topic);
        let mut text = key_text(key);
        if let Some(redaction) = &self.settings.redact {
            text = redaction.of(&text);
        }
        let shown = quoted(&json!(text));
        let (kind, expected, actual, says) = match verdict {
            Verdict::Missing { expected } => {
                let says = format!("of {source}[{partition}] at offset {} is not in {copy}", expected.offset);
                (Kind::Missing, Some(expected), None, says)
            }
            Verdict::Extra { deleted: Some(deleted), actual } => {
                let says = format!(
                    "was deleted at offset {} of {source}[{partition}] and stands at offset {} of {copy}",
                    deleted.offset, actual.offset
                );
                (Kind::Extra, Some(deleted), Some(actual), says)
            }
            Verdict::Extra { deleted: None, actual } => {
                let says = format!(
                    "stands at offset {} of {copy}[{partition}], and no record of {source} has it",
                    actual.offset
                );
                (Kind::Extra, None, Some(actual), says)
            }
            Verdict::Differs { expected, actual } => {
                let what = if self.hasher.with_time { "content or time" } else { "content" };
                let says = format!(
                    "of {source}[{partition}] at offset {} stands at offset {} of {copy} with other {what}",
                    expected.offset, actual.offset
                );
                (Kind::Differs, Some(expected), Some(actual), says)
            }
            Verdict::Stale { expected, older, versions_behind, actual } => {
                let says = format!(
                    "is stale: offset {} of {copy}[{partition}] is what {source} said at offset {}, {} and {} s before offset {}",
                    actual.offset,
                    older.offset,
                    plural(*versions_behind, "version"),
                    seconds(older, expected),
                    expected.offset
                );
                (Kind::Stale, Some(expected), Some(actual), says)
            }
            Verdict::Fine | Verdict::Unverifiable(_) => return None,
        };
        let hash = |version: Option<&Version>| version.map_or(0, |version| version.hash);
        let parts: [&dyn std::fmt::Display; 5] = [&copy, &partition, &text, &hash(expected), &hash(actual)];
        let mut finding = Finding::new(kind, source, &parts, format!("key {shown} {says}"));
        finding.partition = Some(partition);
        finding.key = Some(Map::from_iter([("key".to_owned(), json!(text))]));
        finding.cause = match verdict {
            Verdict::Extra { deleted: Some(_), .. } => Some("deleted".to_owned()),
            Verdict::Extra { deleted: None, .. } => Some("no-record".to_owned()),
            _ => None,
        };
        let seen = expected.or(actual).map(|version| version.timestamp);
        (finding.first_seen, finding.last_seen) = (seen, seen);
        finding.sightings.extend(expected.map(|version| sighting(source, partition, version)));
        finding.sightings.extend(actual.map(|version| sighting(copy, partition, version)));
        finding.evidence.insert("bucket".to_owned(), json!(bucket_of(key_hash(partition, key))));
        if let Verdict::Stale { expected, older, versions_behind, .. } = verdict {
            finding.sightings.push(sighting(source, partition, older));
            finding.evidence.insert("versions_behind".to_owned(), json!(versions_behind));
            finding.evidence.insert("seconds_behind".to_owned(), json!(seconds(older, expected)));
            finding.evidence.insert("equals_offset".to_owned(), json!(older.offset));
        }
        Some(finding)
    }
}

fn seconds(older: &Version, newer: &Version) -> i64 {
    (newer.timestamp - older.timestamp).max(0) / 1_000
}

/// As it is when it is text, and otherwise in hexadecimal.
fn key_text(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) => text.to_owned(),
        Err(_) => key.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn sighting(topic: &str, partition: i32, version: &Version) -> Sighting {
    Sighting::new(topic, partition, version.offset, version.timestamp, version.checksum)
}
