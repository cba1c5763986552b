//! The configuration files: TOML with a version; unknown keys are refused, and an error points at its line and column.
//!
//! * `alert`: rules and sinks
//! * `audit`: `sordini audit -c`, where every key has a flag of the same name; and each `[[audit]]` of the daemon
//! * `watch`: `sordini watch -c`, with `flow`, `drift`, `lag` and `serve` for four of its tables
//! * `overrides`, `expand`: what the environment and other files add

pub mod alert;
pub mod audit;
pub mod drift;
mod expand;
pub mod flow;
pub mod lag;
pub mod overrides;
pub mod serve;
pub mod watch;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

pub use audit::{AuditFile, AuditPlan, Client, NumberEncoding, Scope, View};

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("reading {path}: {source}; name the file with -c, or begin with the example in config/")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}:{line}:{column}: {what}")]
    Parse { path: PathBuf, line: usize, column: usize, what: String },
    #[error("{path}: version {found} is not known to this sordini, which reads version 1")]
    Version { path: PathBuf, found: u32 },
    #[error("{path}: the file does not say which version its form has; write version = 1 at its top")]
    NoVersion { path: PathBuf },
    #[error("{path} with {names} from the environment: {what}")]
    Environment { path: PathBuf, names: String, what: String },
    #[error("{path}: {name}: {what}")]
    Secret { path: PathBuf, name: String, what: String },
}

/// Reads a file of settings.
fn read<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(&text, path)
}

fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let (line, column) = position(text, at);
        ConfigError::Parse { path: path.to_owned(), line, column, what: error.message().to_owned() }
    })
}

fn check_version(version: Option<u32>, path: &Path) -> Result<(), ConfigError> {
    match version {
        Some(1) => Ok(()),
        Some(found) => Err(ConfigError::Version { path: path.to_owned(), found }),
        None => Err(ConfigError::NoVersion { path: path.to_owned() }),
    }
}

/// Line and column of a byte, both from 1.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let column = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1) + 1;
    (before.matches('\n').count() + 1, column)
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

/// For `#[serde(deserialize_with)]`.
pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map(Some).map_err(serde::de::Error::custom)
}

pub(crate) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_size(&text).map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<AuditFile, String> {
        let path = Path::new("a.toml");
        let file: AuditFile = super::parse(text, path).map_err(|error| error.to_string())?;
        check_version(file.version, path).map_err(|error| error.to_string())?;
        Ok(file)
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
