//! `sordini flows`: whether every transaction reaches every stage it must, once for all that is in the topics, or for ever.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use super::Global;
use super::common::{self, Connection, Output};
use crate::audit::finding::Finding;
use crate::config::AuditPlan;
use crate::config::watch::WatchFile;
use crate::engine::{self, Progress};
use crate::report;
use crate::source::Source;
use crate::source::lines::LinesSource;

const EXAMPLES: &str = "\
Examples:
  sordini flows -c sordini.toml
      Every [[flow]] of the file: which transactions are missing at which hop, and what the losses have in common.
  sordini flows -c sordini.toml --flow orders -b kafka:9092 --ledger /var/lib/sordini/flows
      One of them; a second run goes on where this one stopped.

Exit codes: 0 read all that was asked and clean, 1 findings, 2 could not verify, 3 inconclusive; the worst of all flows.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct FlowsArgs {
    /// File of settings with [[flow]] in it: the daemon's
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Only this flow; repeatable
    #[arg(long = "flow", value_name = "NAME")]
    flows: Vec<String>,
    #[command(flatten)]
    connection: Connection,
    /// Read JSON lines as `kcat -C -J` prints them, from a file or - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "brokers")]
    lines: Option<PathBuf>,
    /// Go on at the end of the topics and print findings as they become certain
    #[arg(long, visible_alias = "live")]
    follow: bool,
    /// Directory that keeps sightings, open transactions and findings, one below it for each flow; a second run continues there
    #[arg(long, value_name = "DIR")]
    ledger: Option<PathBuf>,
    /// Show correlation ids in clear
    #[arg(long)]
    show_keys: bool,
    #[command(flatten)]
    output: Output,
}

pub fn run(args: FlowsArgs, global: &Global) -> anyhow::Result<u8> {
    args.output.check()?;
    let plans = plans(&args)?;
    ensure!(
        plans.len() == 1 || !(args.follow || args.lines.is_some()),
        "--follow and --lines take one flow; name it with --flow"
    );
    let progress = Arc::new(Progress::default());
    common::stop_on_signal(progress.clone())?;
    let format = args.output.format.unwrap_or_else(|| report::format_of(args.output.output.as_deref()));
    let mut reports = Vec::new();
    for (name, plan) in &plans {
        let (source, subject) = source(&args, plan).with_context(|| format!("flow \"{name}\""))?;
        let subject = format!("flow {name}: {subject}");
        let drawn = common::draw(&progress, global, args.follow);
        let context = |color| report::Context {
            now_ms: common::now_ms(),
            source: subject.clone(),
            color,
            width: common::width(),
        };
        let report = engine::audit(source, &plan.settings, &progress, &mut |fresh: &[Finding]| {
            if args.follow {
                let mut out = io::stdout().lock();
                let mut each =
                    fresh.iter().map(|finding| report::write_finding(format, finding, &context(false), &mut out));
                if each.any(|written| written.is_err()) || out.flush().is_err() {
                    progress.stop();
                }
            }
        })?;
        drop(drawn);
        reports.push((report, subject.clone()));
        if progress.is_stopped() {
            break;
        }
    }
    let color = args.output.output.is_none() && common::use_color(global.color, &io::stdout());
    args.output.write(|out| {
        for (report, subject) in &reports {
            let context =
                report::Context { now_ms: common::now_ms(), source: subject.clone(), color, width: common::width() };
            report::write(format, report, &context, out)?;
        }
        Ok(())
    })?;
    // Unverified before findings before inconclusive, as within one report.
    let exits = reports.iter().map(|(report, _)| report.summary.exit);
    Ok([2, 1, 3].into_iter().find(|exit| exits.clone().any(|other| other == *exit)).unwrap_or(0))
}

fn plans(args: &FlowsArgs) -> anyhow::Result<Vec<(String, AuditPlan)>> {
    let file = WatchFile::read(&args.config)?;
    let known: Vec<&str> = file.flows.iter().map(|flow| flow.name.as_str()).collect();
    ensure!(!known.is_empty(), "{} has no [[flow]]; config/sordini.toml shows one", args.config.display());
    if let Some(unknown) = args.flows.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("no flow is called \"{unknown}\"; {} has {}", args.config.display(), known.join(", "));
    }
    let chosen = file.flows.iter().filter(|flow| args.flows.is_empty() || args.flows.contains(&flow.name));
    chosen
        .map(|flow| {
            let mut flow = flow.clone();
            flow.show_keys = Some(args.show_keys || flow.show_keys.unwrap_or(false));
            let ledger = args.ledger.as_ref().map(|dir| dir.join(&flow.name));
            let properties = args.connection.resolve(file.kafka.clone())?;
            Ok((flow.name.clone(), flow.plan(properties, ledger, args.follow, Arc::new(common::now_ms))?))
        })
        .collect()
}

fn source(args: &FlowsArgs, plan: &AuditPlan) -> anyhow::Result<(Box<dyn Source>, String)> {
    match &args.lines {
        Some(path) => {
            ensure!(!args.follow, "--lines ends with its input; for a stream that goes on, pipe it in with --lines -");
            Ok((Box::new(LinesSource::open(path)?), path.display().to_string()))
        }
        None => plan.connect(),
    }
}
