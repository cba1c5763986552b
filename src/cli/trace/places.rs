//! The ledgers to look into.

use std::path::{Path, PathBuf};

use anyhow::ensure;

use crate::cli::common::KeyArgs;
use crate::config::watch::WatchFile;
use crate::ledger::Key;
use crate::source::Properties;

pub struct Place {
    pub dir: PathBuf,
    /// Name of the audit or flow, when the settings name it.
    pub name: Option<String>,
    /// How it is called in messages.
    pub said: String,
    pub key: Option<Key>,
    /// How the settings reach its cluster.
    pub properties: Properties,
}

impl Place {
    /// Those of the settings that have been made, or the directories given.
    pub fn all(config: Option<&Path>, dirs: &[PathBuf], key: &KeyArgs) -> anyhow::Result<Vec<Self>> {
        let Some(config) = config else {
            let key = key.resolve(None)?;
            let place = |dir: &PathBuf| Self {
                dir: dir.clone(),
                name: None,
                said: dir.display().to_string(),
                key: key.clone(),
                properties: Properties::new(),
            };
            return Ok(dirs.iter().map(place).collect());
        };
        let file = WatchFile::read(config)?;
        let mut places = Vec::new();
        for (name, key_file, properties) in file.ledgers() {
            let dir = file.ledger(&name);
            if dir.exists() {
                let (key, said) = (key.resolve(key_file.as_deref())?, format!("{name} ({})", dir.display()));
                places.push(Self { dir, name: Some(name), said, key, properties });
            }
        }
        let state = file.state.join("audits");
        ensure!(
            !places.is_empty(),
            "no audit or flow of {} has a ledger in {} yet; `sordini watch` makes them",
            config.display(),
            state.display()
        );
        Ok(places)
    }
}
