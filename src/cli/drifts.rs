//! `sordini drift -c`: the pairs of a file, one after another, and one report of all. `sordini drift --follow`: one of them,
//! for ever.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use super::Global;
use super::common::{self, Connection, Output};
use crate::audit::finding::Finding;
use crate::config::drift::DriftPlan;
use crate::config::parse_duration;
use crate::config::watch::WatchFile;
use crate::drift::follow::{Rhythm, Watcher};
use crate::drift::resume::Resume;
use crate::drift::{self, Settings, pairs};
use crate::engine::Progress;
use crate::report::{self, Format, ReportError};

#[derive(Args, Clone)]
#[command(next_help_heading = "For ever, and part by part")]
pub struct FollowArgs {
    /// Go on: print findings as they are confirmed and as they heal
    #[arg(long, visible_alias = "live", group = "parted")]
    pub follow: bool,
    /// Compare one part of the buckets after the other and keep what is done in FILE; begun again with it, go on with the rest
    #[arg(long, value_name = "FILE", group = "parted", conflicts_with_all = ["config", "repair", "keys", "explain", "redact"])]
    pub resume: Option<PathBuf>,
    /// How often a part of the buckets is compared in full
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10m", requires = "follow")]
    every: Duration,
    /// How many parts that are (default: 1, with --resume 16)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096), requires = "parted")]
    buckets: Option<u32>,
    /// When a key that is wrong is looked at again, comma-separated, counted from the first time; wrong at the last one, it is drift
    #[arg(long, value_name = "DURATIONS", value_parser = parse_duration, value_delimiter = ',', default_value = "1s,10s,1m", requires = "follow")]
    confirm_after: Vec<Duration>,
}

impl FollowArgs {
    pub fn rhythm(&self) -> Rhythm {
        Rhythm {
            every: self.every,
            parts: self.buckets.unwrap_or(Rhythm::default().parts),
            confirm_after: self.confirm_after.clone(),
            ..Rhythm::default()
        }
    }
}

/// Of a comparison that is kept.
const PARTS: u32 = 16;

impl FollowArgs {
    pub fn kept(&self, settings: &Settings, asked: String) -> anyhow::Result<Option<Resume>> {
        let Some(path) = self.resume.clone() else { return Ok(None) };
        let parts = self.buckets.unwrap_or(PARTS);
        whole_laws(settings, parts)?;
        Ok(Some(Resume { path, parts, asked }))
    }
}

fn whole_laws(settings: &Settings, parts: u32) -> anyhow::Result<()> {
    match settings.laws.iter().find(|law| law.is_zero() && parts > 1) {
        Some(law) => bail!("--conserve \"{law}\" holds for all rows, not for a part of the buckets: say --buckets 1"),
        None => Ok(()),
    }
}

/// Findings as they come, one line each; the report in the end.
struct Printer {
    format: Format,
    subject: String,
    progress: Arc<Progress>,
}

impl Watcher for Printer {
    fn fresh(&mut self, findings: &[Finding]) {
        let context = context(&self.subject, false);
        let mut out = std::io::stdout().lock();
        let mut written =
            findings.iter().map(|finding| report::write_finding(self.format, finding, &context, &mut out));
        let is_broken = written.any(|written| written.is_err());
        if is_broken || out.flush().is_err() {
            // Nobody reads any more.
            self.progress.stop();
        }
    }
}

/// A report in the form that is asked for.
pub fn write(
    output: &Output,
    global: &Global,
    subject: &str,
    write: impl FnOnce(Format, &report::Context, &mut dyn std::io::Write) -> Result<(), ReportError>,
) -> anyhow::Result<()> {
    let format = output.format.unwrap_or_else(|| report::format_of(output.output.as_deref()));
    let color = output.output.is_none() && common::use_color(global.color, &std::io::stdout());
    output.write(|out| Ok(write(format, &context(subject, color), out)?))
}

fn context(subject: &str, color: bool) -> report::Context {
    report::Context { now_ms: common::now_ms(), source: subject.to_owned(), color, width: common::width() }
}

pub fn follow_one(mut plans: Vec<(String, DriftPlan)>, output: &Output, global: &Global) -> anyhow::Result<u8> {
    ensure!(plans.len() == 1, "--follow takes one pair; name it with --only, or run `sordini watch` for all of them");
    let Some((_, plan)) = plans.pop() else { return Ok(common::exit::UNVERIFIED) };
    follow(&plan.settings, &plan.rhythm, output, global)
}

pub fn follow(settings: &Settings, rhythm: &Rhythm, output: &Output, global: &Global) -> anyhow::Result<u8> {
    whole_laws(settings, rhythm.parts)?;
    let progress = Arc::new(Progress::default());
    common::stop_on_signal(progress.clone())?;
    let stores = format!("{} against {}", pairs::store(&settings.first), pairs::store(&settings.second));
    let subject = settings.pair.as_ref().map_or(stores.clone(), |pair| format!("{pair}: {stores}"));
    let format = output.format.unwrap_or_else(|| report::format_of(output.output.as_deref()));
    let mut printer = Printer { format, subject: subject.clone(), progress: progress.clone() };
    let report = drift::follow::follow(settings, rhythm, &progress, &mut printer)?;
    write(output, global, &subject, |format, context, out| report::write(format, &report, context, out))?;
    Ok(report.summary.exit)
}

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
    write(output, global, &subject, |format, context, out| report::write_pairs(format, &reports, &all, context, out))?;
    Ok(all.summary.exit)
}
