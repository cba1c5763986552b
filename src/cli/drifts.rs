//! `sordini drift -c`: the pairs of a file, one after another, and one report of all.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};

use super::Global;
use super::common::{self, Connection, Output};
use crate::config::drift::DriftPlan;
use crate::config::watch::WatchFile;
use crate::drift::{self, pairs};
use crate::engine::Progress;
use crate::report;

/// The pairs that are asked for, in the order of the file.
pub fn plans(config: &Path, only: &[String], connection: &Connection) -> anyhow::Result<Vec<(String, DriftPlan)>> {
    let file = WatchFile::read(config)?;
    let known: Vec<&str> = file.drifts.iter().map(|drift| drift.name.as_str()).collect();
    ensure!(!known.is_empty(), "{} has no [[drift]]; config/sordini.toml shows one", config.display());
    if let Some(unknown) = only.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("no pair is called \"{unknown}\"; {} has {}", config.display(), known.join(", "));
    }
    let chosen = file.drifts.iter().filter(|drift| only.is_empty() || only.contains(&drift.name));
    chosen
        .map(|drift| {
            let plan = drift.plan(connection.resolve(file.kafka.clone())?);
            Ok((drift.name.clone(), plan.with_context(|| format!("drift \"{}\"", drift.name))?))
        })
        .collect()
}

/// What would be done with each pair.
pub fn explain(plans: &[(String, DriftPlan)], output: &Output) -> anyhow::Result<u8> {
    let mut exit = common::exit::CLEAN;
    output.write(|out| {
        for (name, plan) in plans {
            writeln!(out, "drift {name}: {}", plan.describe())?;
            match drift::explain::explain(&plan.settings) {
                Ok(said) => writeln!(out, "{said}")?,
                Err(error) => {
                    exit = common::exit::UNVERIFIED;
                    writeln!(out, "{error}\n")?;
                }
            }
        }
        Ok(())
    })?;
    Ok(exit)
}

/// A pair that cannot be compared is told, and stops no other.
pub fn run(plans: &[(String, DriftPlan)], output: &Output, subject: String, global: &Global) -> anyhow::Result<u8> {
    let progress = Arc::new(Progress::default());
    common::stop_on_signal(progress.clone())?;
    let mut reports = Vec::new();
    for (name, plan) in plans {
        let drawn = common::draw(&progress, global, false);
        let compared = drift::run(&plan.settings, &progress);
        drop(drawn);
        reports.push((name.clone(), compared.unwrap_or_else(|error| pairs::failed(&plan.settings, &error))));
        if progress.is_stopped() {
            break;
        }
    }
    let mut all = pairs::together(&reports);
    all.leave_out(plans.len() - reports.len());
    let format = output.format.unwrap_or_else(|| report::format_of(output.output.as_deref()));
    let color = output.output.is_none() && common::use_color(global.color, &std::io::stdout());
    let context = report::Context { now_ms: common::now_ms(), source: subject, color, width: common::width() };
    output.write(|out| Ok(report::write_pairs(format, &reports, &all, &context, out)?))?;
    Ok(all.summary.exit)
}
