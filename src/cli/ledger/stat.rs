//! `sordini ledger stat`: what a ledger is and holds, from its directory alone.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use crate::audit::partition::PartitionState;
use crate::cli::common::exit;
use crate::cli::trace::Form;
use crate::engine::trace::AtRest;
use crate::ledger::{About, Key, RunAbout};
use crate::report::{bytes, plural, thousands, utc};

pub fn run(dir: &Path, key: Option<&Key>, format: Form) -> anyhow::Result<u8> {
    let ledger = AtRest::open(dir, key)?;
    let stat = Stat { dir, about: ledger.ledger.about()?, ledger: &ledger };
    let mut out = io::stdout().lock();
    match format {
        Form::Text => stat.text(&mut out)?,
        Form::Json => writeln!(out, "{}", stat.json())?,
    }
    Ok(exit::CLEAN)
}

struct Stat<'a> {
    dir: &'a Path,
    about: About,
    ledger: &'a AtRest,
}

impl Stat<'_> {
    fn rows(&self) -> u64 {
        self.about.runs.iter().map(|run| run.rows).sum()
    }

    fn run_bytes(&self) -> u64 {
        self.about.runs.iter().map(|run| run.bytes).sum()
    }

    fn disk_bytes(&self) -> u64 {
        self.run_bytes() + self.about.journal_bytes + self.about.state_bytes + self.about.manifest_bytes
    }

    /// Of the runs; `None` without a sighting.
    fn bytes_a_sighting(&self) -> Option<f64> {
        (self.rows() > 0).then(|| self.run_bytes() as f64 / self.rows() as f64)
    }

    fn oldest(&self) -> Option<u32> {
        self.about.runs.iter().map(|run| run.first_second).min()
    }

    fn newest(&self) -> Option<u32> {
        self.about.runs.iter().map(|run| run.last_second).max()
    }

    /// Without those that a topic made anew has replaced.
    fn partitions(&self) -> Vec<&PartitionState> {
        let mut latest = BTreeMap::new();
        for state in self.ledger.partitions() {
            latest.insert((&state.topic, state.partition), state);
        }
        latest.into_values().collect()
    }

    fn generations(&self) -> BTreeMap<u32, Vec<&RunAbout>> {
        let mut generations: BTreeMap<u32, Vec<&RunAbout>> = BTreeMap::new();
        for run in &self.about.runs {
            generations.entry(run.generation).or_default().push(run);
        }
        generations
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let about = &self.about;
        let time = |second: Option<u32>| second.map_or_else(|| "none".to_owned(), |s| utc(i64::from(s) * 1000));
        writeln!(out, "{}", self.dir.display())?;
        writeln!(out, "  ledger      {:032x}, format {}", about.ledger, about.format)?;
        writeln!(out, "  key         {:016x}", about.secret)?;
        writeln!(out, "  rules       {}", self.ledger.rules())?;
        writeln!(out, "  sightings   {} in {}", thousands(self.rows()), plural(about.runs.len() as u64, "run"))?;
        writeln!(out, "  oldest      {}", time(self.oldest()))?;
        writeln!(out, "  newest      {}", time(self.newest()))?;
        let each = self.bytes_a_sighting().map_or_else(String::new, |each| format!(", {each:.1} B a sighting"));
        writeln!(out, "  disk        {}{each}", bytes(self.disk_bytes()))?;
        writeln!(out, "  journal     {}", bytes(about.journal_bytes))?;
        writeln!(out, "  commits     {}", thousands(about.commits))?;
        writeln!(out, "  forgotten   {} not merged away yet", thousands(about.forgotten as u64))?;
        for (generation, runs) in self.generations() {
            writeln!(out, "  generation {generation}")?;
            for run in runs {
                let (rows, size) = (plural(run.rows, "sighting"), bytes(run.bytes));
                let (from, to) = (time(Some(run.first_second)), time(Some(run.last_second)));
                writeln!(out, "    run-{:08}  {rows}  {size}  {from} to {to}", run.number)?;
            }
        }
        for state in self.partitions() {
            writeln!(out, "  {}[{}] read to offset {}", state.topic, state.partition, state.offsets.position)?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let about = &self.about;
        let run = |run: &RunAbout| {
            json!({
                "run": run.number, "generation": run.generation, "rows": run.rows, "bytes": run.bytes,
                "first_second": run.first_second, "last_second": run.last_second,
            })
        };
        let partition = |state: &&PartitionState| json!({"topic": state.topic, "partition": state.partition, "position": state.offsets.position});
        json!({
            "type": "ledger",
            "dir": self.dir.display().to_string(),
            "id": format!("{:032x}", about.ledger),
            "format": about.format,
            "key": format!("{:016x}", about.secret),
            "rules": self.ledger.rules(),
            "rows": self.rows(),
            "runs": about.runs.iter().map(run).collect::<Vec<_>>(),
            "oldest_second": self.oldest(),
            "newest_second": self.newest(),
            "disk_bytes": self.disk_bytes(),
            "run_bytes": self.run_bytes(),
            "journal_bytes": about.journal_bytes,
            "state_bytes": about.state_bytes,
            "manifest_bytes": about.manifest_bytes,
            "bytes_a_sighting": self.bytes_a_sighting(),
            "commits": about.commits,
            "forgotten": about.forgotten,
            "partitions": self.partitions().iter().map(partition).collect::<Vec<_>>(),
        })
    }
}
