//! Settings of the daemon; see `config/sordini.toml`, which says what each means.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::alert::AlertFile;
use super::audit::AuditFile;
use super::lag::LagFile;
use super::overrides::Overrides;
use super::serve::ServeFile;
use super::{ConfigError, check_version, parse};
use crate::source::Properties;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WatchFile {
    /// Form of the file; 1.
    version: Option<u32>,
    /// What this cluster is called in metrics and alerts; its own id when absent.
    pub cluster: Option<String>,
    /// Where ledgers, windows and incidents are kept.
    #[serde(default = "state_dir")]
    pub state: PathBuf,
    /// Client settings under librdkafka's names, brokers included.
    #[serde(default)]
    pub kafka: Properties,
    #[serde(default, rename = "audit")]
    pub audits: Vec<AuditFile>,
    #[serde(default)]
    pub lag: LagFile,
    #[serde(default)]
    pub alert: AlertFile,
    #[serde(default)]
    pub serve: ServeFile,
}

fn state_dir() -> PathBuf {
    PathBuf::from("/var/lib/sordini")
}

impl WatchFile {
    /// Reads the file, lays the environment over it and fills in what `${env:…}` and `${file:…}` stand for.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::from_text(&text, path, &Overrides::from_environment())
    }

    pub fn from_text(text: &str, path: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        // First the file alone, so that its errors point into it.
        let mut file: Self = parse(text, path)?;
        if !overrides.is_empty() {
            file = overrides.over(text, path)?;
        }
        check_version(file.version, path)?;
        super::expand::properties(&mut file.kafka, path)?;
        for audit in &mut file.audits {
            super::expand::properties(&mut audit.properties, path)?;
        }
        file.check(text, path)?;
        Ok(file)
    }

    /// What no key alone is wrong about.
    fn check(&self, text: &str, path: &Path) -> Result<(), ConfigError> {
        let at = |needle: &str, what: String| {
            let (line, column) = super::position(text, text.find(needle).unwrap_or(0));
            Err(ConfigError::Parse { path: path.to_owned(), line, column, what })
        };
        let mut names = std::collections::BTreeSet::new();
        for (number, audit) in self.audits.iter().enumerate() {
            let name = audit.name_or(number);
            let fits = !name.is_empty()
                && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
                && !name.starts_with('.');
            if !fits {
                return at(&format!("{name:?}"), format!("\"{name}\" names a directory: use letters, digits, - and _"));
            }
            if !names.insert(name.clone()) {
                return at("[[audit]]", format!("two audits are called \"{name}\"; give each a name of its own"));
            }
            if audit.topics.is_empty() {
                return at("[[audit]]", format!("audit \"{name}\" names no topics"));
            }
            if audit.ledger.is_some() || audit.follow.is_some() || audit.version.is_some() {
                let what = format!("audit \"{name}\": ledger, follow and version are the daemon's own; leave them out");
                return at("[[audit]]", what);
            }
        }
        for (key, pattern) in self.lag.patterns() {
            if let Err(error) = regex::Regex::new(pattern) {
                return at(pattern, format!("lag.{key}: {error}"));
            }
        }
        if self.lag.interval.is_some_and(|interval| interval < Duration::from_millis(100)) {
            return at("interval", "lag.interval must be 100ms or more".to_owned());
        }
        Ok(())
    }
}
