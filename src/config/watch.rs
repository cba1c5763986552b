//! Settings of the daemon; see `config/sordini.toml`, which says what each means.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::alert::AlertFile;
use super::audit::AuditFile;
use super::drift::DriftFile;
use super::flow::FlowFile;
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
    #[serde(default, rename = "flow")]
    pub flows: Vec<FlowFile>,
    #[serde(default, rename = "drift")]
    pub drifts: Vec<DriftFile>,
    #[serde(default)]
    pub lag: LagFile,
    #[serde(default)]
    pub alert: AlertFile,
    #[serde(default)]
    pub serve: ServeFile,
    /// The file itself.
    #[serde(skip)]
    pub path: PathBuf,
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
        for flow in &mut file.flows {
            super::expand::properties(&mut flow.properties, path)?;
        }
        for drift in &mut file.drifts {
            drift.expand(path)?;
        }
        file.check(text, path)?;
        path.clone_into(&mut file.path);
        Ok(file)
    }

    /// Directory of the ledger of an audit or a flow.
    pub fn ledger(&self, name: &str) -> PathBuf {
        self.state.join("audits").join(name)
    }

    /// Every audit and flow: its name, the file of its ledger's key where one is named, and its client settings.
    pub fn ledgers(&self) -> Vec<(String, Option<PathBuf>, Properties)> {
        let merged = |own: &Properties| {
            let mut all = self.kafka.clone();
            all.extend(own.clone());
            all
        };
        let audits = self.audits.iter().enumerate();
        let audits = audits.map(|(n, audit)| (audit.name_or(n), audit.ledger_key.clone(), merged(&audit.properties)));
        let flows = self.flows.iter();
        let flows = flows.map(|flow| (flow.name.clone(), flow.ledger_key.clone(), merged(&flow.properties)));
        audits.chain(flows).collect()
    }

    /// What no key alone is wrong about.
    fn check(&self, text: &str, path: &Path) -> Result<(), ConfigError> {
        let at = |needle: &str, what: String| {
            let (line, column) = super::position(text, text.find(needle).unwrap_or(0));
            Err(ConfigError::Parse { path: path.to_owned(), line, column, what })
        };
        let mut names = std::collections::BTreeSet::new();
        let audits = self.audits.iter().enumerate().map(|(number, audit)| ("audit", audit.name_or(number)));
        let flows = self.flows.iter().map(|flow| ("flow", flow.name.clone()));
        let drifts = self.drifts.iter().map(|drift| ("drift", drift.name.clone()));
        for (what, name) in audits.chain(flows).chain(drifts) {
            let fits = !name.is_empty()
                && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
                && !name.starts_with('.');
            if !fits {
                return at(&format!("{name:?}"), format!("\"{name}\" names a directory: use letters, digits, - and _"));
            }
            if !names.insert(name.clone()) {
                let twice = format!("two audits, flows or pairs are called \"{name}\"; give each a name of its own");
                return at(&format!("[[{what}]]"), twice);
            }
        }
        for flow in &self.flows {
            if let Err((needle, what)) = flow.rules() {
                return at(&needle, what);
            }
        }
        for drift in &self.drifts {
            if let Err((needle, what)) = drift.check() {
                return at(&needle, what);
            }
        }
        for (number, audit) in self.audits.iter().enumerate() {
            let name = audit.name_or(number);
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

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "version = 1\n[kafka]\n\"bootstrap.servers\" = \"k:9092\"\n";

    fn read(text: &str, variables: &[(&str, &str)]) -> Result<WatchFile, String> {
        let variables = variables.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        WatchFile::from_text(text, Path::new("w.toml"), &Overrides::new(variables)).map_err(|error| error.to_string())
    }

    /// The shipped file says what the defaults are, so it must say what they really are.
    #[test]
    fn the_example_in_the_repository_is_valid_and_true() {
        let text = include_str!("../../config/sordini.toml");
        let file = read(text, &[]).unwrap();
        assert_eq!(file.lag.thresholds, crate::lag::rules::Thresholds::default());
    }

    #[test]
    fn a_mistake_has_its_line_and_column() {
        for (text, at, what) in [
            ("[lag]\nintervall = \"5s\"\n", "w.toml:5:1: ", "intervall"),
            ("[lag]\ngroups = [\"pay.(\"]\n", "w.toml:5:12: ", "lag.groups"),
            ("[[audit]]\nname = \"../x\"\ntopics = [\"t\"]\n", "w.toml:5:8: ", "directory"),
            ("[[audit]]\nname = \"x\"\n", "w.toml:4:1: ", "no topics"),
            (
                "[[drift]]\nname = \"d\"\nfirst = \"kafka:///t\"\nsecond = \"oracle://x/y\"\n",
                "w.toml:7:10: ",
                "names no store",
            ),
            (
                "[[drift]]\nname = \"d\"\nfirst = \"kafka:///t\"\nsecond = \"kafka:///u\"\nbuckets = 0\n",
                "w.toml:8:1: ",
                "from 1 to 4096",
            ),
            ("[lag.thresholds]\nsilent-after = \"soon\"\n", "w.toml:5:16: ", "write it as in"),
        ] {
            let error = read(&format!("{MINIMAL}{text}"), &[]).unwrap_err();
            assert!(error.starts_with(at) && error.contains(what), "{error}");
        }
    }

    #[test]
    fn the_environment_wins_and_is_named_when_it_is_wrong() {
        let file = read(
            MINIMAL,
            &[
                ("SORDINI__LAG__INTERVAL", "5s"),
                ("SORDINI__LAG__REQUIRED", "[\"a\"]"),
                ("SORDINI__LAG__THRESHOLDS__ALLOWED_LAG", "7"),
                ("SORDINI__KAFKA__SASL_USERNAME", "123"),
                ("SORDINI_BROKERS", "another matter"),
            ],
        )
        .unwrap();
        assert_eq!(file.lag.interval, Some(Duration::from_secs(5)));
        assert_eq!((file.lag.required, file.lag.thresholds.allowed_lag), (vec!["a".to_owned()], 7));
        assert_eq!(file.kafka["sasl.username"], "123");
        let error = read(MINIMAL, &[("SORDINI__LAG__INTERVALL", "5s")]).unwrap_err();
        assert!(error.contains("SORDINI__LAG__INTERVALL") && error.contains("unknown field"), "{error}");
    }

    #[test]
    fn secrets_stand_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), "hush\n").unwrap();
        let text = format!("{MINIMAL}\"sasl.password\" = \"${{file:secret}}\"\n");
        let read = |text: &str| WatchFile::from_text(text, &dir.path().join("w.toml"), &Overrides::default());
        assert_eq!(read(&text).unwrap().kafka["sasl.password"], "hush");
        let error = read(&text.replace("secret", "nothing")).unwrap_err().to_string();
        assert!(error.contains("sasl.password") && error.contains("nothing"), "{error}");
    }
}
