//! The keys of an earlier report, to be looked at again: after a repair, exactly those.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::DriftError;
use super::shape::Shape;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recheck {
    pub path: PathBuf,
    /// Text by column.
    keys: BTreeSet<BTreeMap<String, String>>,
}

#[derive(Debug, thiserror::Error)]
pub enum RecheckError {
    #[error("reading {path}: {source}; name a report that was written with --format json")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}:{line}: {why}; name a report of drift that was written with --format json")]
    Line { path: PathBuf, line: usize, why: String },
    #[error("{0} was written with --redact: it tells hashes of its keys, by which no row is found")]
    Redacted(PathBuf),
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    key: Option<BTreeMap<String, String>>,
    #[serde(default)]
    drift: Option<Summary>,
}

#[derive(Deserialize)]
struct Summary {
    #[serde(default)]
    is_redacted: bool,
}

pub fn read(path: &Path) -> Result<Recheck, RecheckError> {
    let text = std::fs::read_to_string(path).map_err(|source| RecheckError::Read { path: path.to_owned(), source })?;
    parse(&text, path)
}

fn parse(text: &str, path: &Path) -> Result<Recheck, RecheckError> {
    let mut recheck = Recheck { path: path.to_owned(), keys: BTreeSet::new() };
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |why: String| RecheckError::Line { path: path.to_owned(), line: index + 1, why };
        let line: Line = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
        if line.drift.is_some_and(|drift| drift.is_redacted) {
            return Err(RecheckError::Redacted(path.to_owned()));
        }
        if line.kind == "finding" {
            recheck.keys.extend(line.key);
        }
    }
    Ok(recheck)
}

impl Recheck {
    /// In the order of the columns of the key.
    pub fn keys(&self, shape: &Shape) -> Result<Vec<Vec<String>>, DriftError> {
        let of = |key: &BTreeMap<String, String>| {
            let texts = shape.keys.iter().map(|column| key.get(&column.name).cloned());
            let texts: Option<Vec<String>> = texts.collect();
            texts.filter(|texts| texts.len() == key.len()).ok_or_else(|| {
                let (theirs, ours): (Vec<_>, Vec<_>) =
                    (key.keys().cloned().collect(), shape.keys.iter().map(|column| column.name.clone()).collect());
                DriftError::Pair(format!(
                    "{} is about keys of {}, and the key compared here is {}",
                    self.path.display(),
                    theirs.join(", "),
                    ours.join(", ")
                ))
            })
        };
        self.keys.iter().map(of).collect()
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Recheck, String> {
        parse(text, Path::new("report.jsonl")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_keys_of_a_report_are_taken() {
        let report = "{\"type\":\"finding\",\"kind\":\"missing\",\"key\":{\"id\":\"7\"}}\n\
                      {\"type\":\"finding\",\"kind\":\"extra\",\"key\":{\"id\":\"8\"}}\n\
                      {\"type\":\"finding\",\"kind\":\"extra\",\"key\":{\"id\":\"8\"}}\n\
                      {\"type\":\"summary\",\"drift\":{\"first\":\"a\"}}\n";
        assert_eq!(parsed(report).unwrap().len(), 2);
        assert!(parsed("").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_report_is_said() {
        assert!(parsed("{}\nhello").unwrap_err().starts_with("report.jsonl:2: "));
        let redacted = "{\"type\":\"summary\",\"drift\":{\"is_redacted\":true}}";
        assert!(parsed(redacted).unwrap_err().contains("--redact"));
    }
}
