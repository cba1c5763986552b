//! The configuration file: TOML with a version; unknown keys are refused, and an error points at its line and column.
//! Every key has a flag of the same name, and the flag overrides it.

pub mod serve;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Deserializer};

use crate::source::Properties;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Client {
    Raw,
    Librdkafka,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    Partition,
    Topic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum View {
    ReadCommitted,
    ReadUncommitted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NumberEncoding {
    Auto,
    Decimal,
    BigEndian,
}

/// Settings of `sordini audit`; see `config/audit.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AuditFile {
    /// Form of the file; 1.
    version: u32,
    #[serde(default)]
    pub topics: Vec<String>,
    pub client: Option<Client>,
    pub id: Option<String>,
    pub session: Option<String>,
    pub sequence: Option<String>,
    pub sequence_start: Option<i64>,
    pub sequence_end: Option<String>,
    pub sequence_encoding: Option<NumberEncoding>,
    pub scope: Option<Scope>,
    #[serde(default, deserialize_with = "duration")]
    pub wait: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    pub horizon: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    pub timestamp_bound: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    pub commit_every: Option<Duration>,
    pub isolation: Option<View>,
    pub follow: Option<bool>,
    pub ledger: Option<PathBuf>,
    pub ledger_key: Option<PathBuf>,
    #[serde(default, deserialize_with = "size")]
    pub memory: Option<usize>,
    pub show_keys: Option<bool>,
    /// Client settings under librdkafka's names, brokers included.
    #[serde(default)]
    pub properties: Properties,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("reading {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}:{line}:{column}: {what}")]
    Parse { path: PathBuf, line: usize, column: usize, what: String },
    #[error("{path}: version {found} is not known to this sordini, which reads version 1")]
    Version { path: PathBuf, found: u32 },
}

impl AuditFile {
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let file: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start.min(text.len()));
            let before = &text[..at];
            ConfigError::Parse {
                path: path.to_owned(),
                line: before.matches('\n').count() + 1,
                column: before.len() - before.rfind('\n').map_or(0, |newline| newline + 1) + 1,
                what: error.message().to_owned(),
            }
        })?;
        match file.version {
            1 => Ok(file),
            found => Err(ConfigError::Version { path: path.to_owned(), found }),
        }
    }
}

/// A duration as people write it: 500ms, 30s, 5m, 7d.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it as in 500ms, 30s, 5m or 7d"))
}

/// A size in bytes as people write it: 64MiB, 1GB, 4096.
pub fn parse_size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.trim().parse().map_err(|_| format!("\"{text}\" is no size; write it as in 256MiB"))?;
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kib" => 1024.0,
        "kb" => 1e3,
        "m" | "mib" => 1024.0 * 1024.0,
        "mb" => 1e6,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "gb" => 1e9,
        unit => return Err(format!("unknown unit {unit} in \"{text}\"; use KiB, MiB or GiB")),
    };
    Ok((number * unit).max(0.0) as usize)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map(Some).map_err(serde::de::Error::custom)
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_size(&text).map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<AuditFile, String> {
        AuditFile::parse(text, Path::new("a.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_in_the_repository_is_valid() {
        let file = parse(include_str!("../../config/audit.toml")).unwrap();
        assert_eq!(file.wait, Some(Duration::from_secs(30)));
    }

    #[test]
    fn an_error_points_at_its_place() {
        assert!(parse("version = 1\nwiat = \"30s\"\n").unwrap_err().starts_with("a.toml:2:1: unknown field `wiat`"));
        assert!(parse("version = 1\nwait = \"soon\"\n").unwrap_err().starts_with("a.toml:2:8: "));
        assert!(parse("version = 2\n").unwrap_err().contains("version 2"));
    }

    #[test]
    fn sizes_read_as_people_write_them() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("256MiB"), Ok(256 << 20));
        assert_eq!(parse_size("1.5k"), Ok(1536));
        assert_eq!(parse_size("2GB"), Ok(2_000_000_000));
        assert!(parse_size("many").is_err());
        assert!(parse_size("5 parsecs").is_err());
    }
}
