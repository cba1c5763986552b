//! `sordini lag`: how far consumer groups are behind, and which of them are in trouble.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;

use super::Global;
use super::common::{self, Connection, exit};
use super::trace::Form;
use crate::config::lag::{LagFile, RuleSet};
use crate::config::parse_duration;
use crate::config::watch::WatchFile;
use crate::engine::{Clock, Progress};
use crate::lag::replay::replay;
use crate::lag::rules::Thresholds;
use crate::lag::ruleset::Rules;
use crate::lag::tracker::State;
use crate::lag::watcher::{Plan, Watcher};
use crate::report::lag::{TableStyle, outcome, write_json, write_json_summary, write_table};

/// How often a wait looks whether it was asked to end.
const TICK: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "\
Examples:
  sordini lag -b kafka:9092
      Where every consumer group stands now, and which are in trouble.
  sordini lag -b kafka:9092 -g 'pay.*' --interval 10s --for 5m
      Five minutes of looking: who stops, stalls or falls behind.
  sordini lag -b kafka:9092 --format json | jq 'select(.type == \"lag\" and .lag > 0)'
  sordini lag --replay windows.jsonl --rules burrow
      What Burrow's rules say of recorded windows.

Exit codes: 0 no group in trouble, 1 some are, 2 could not verify, 3 not enough is known.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct LagArgs {
    #[command(flatten)]
    connection: Connection,
    /// Only groups whose whole name fits this regular expression; repeatable
    #[arg(short, long = "group", value_name = "PATTERN")]
    groups: Vec<String>,
    /// Not these groups; repeatable
    #[arg(long = "exclude-group", value_name = "PATTERN")]
    exclude_groups: Vec<String>,
    /// Only topics whose whole name fits this regular expression; repeatable
    #[arg(short, long = "topic", value_name = "PATTERN")]
    topics: Vec<String>,
    /// A group that must exist; repeatable
    #[arg(long = "require", value_name = "GROUP")]
    required: Vec<String>,
    /// Groups that read committed records only, and so to the last stable offset; repeatable
    #[arg(long = "read-committed", value_name = "PATTERN")]
    read_committed: Vec<String>,
    /// Look again and again at this interval; one look sees where groups stand, several see how they move
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    interval: Option<Duration>,
    /// Go on for so long, then report
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    lasting: Option<Duration>,
    /// One row per partition instead of per topic
    #[arg(long)]
    partitions: bool,
    /// Most unread records that are fetched in one round to learn their age [default: 2000]
    #[arg(long, value_name = "COUNT")]
    looks: Option<usize>,
    /// Offsets behind that are never trouble
    #[arg(long, value_name = "COUNT")]
    allowed_lag: Option<i64>,
    /// How long records may wait before a group that does not catch up is warned about [default: 15m]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    max_time_lag: Option<Duration>,
    /// Which rules judge: sordini's own, or Burrow's to the letter [default: default]
    #[arg(long, value_enum)]
    rules: Option<RuleSet>,
    /// Judge recorded windows, one JSON object a line, from a file or - for standard input; asks no cluster
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// The daemon's file of settings: its [kafka] and [lag] hold where no flag says otherwise
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Form of the report
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,
}

pub fn run(args: LagArgs, global: &Global) -> anyhow::Result<u8> {
    let plan = args.plan(args.config.as_deref().map(WatchFile::read).transpose()?)?;
    if let Some(path) = &args.replay {
        return replay_file(path, &plan.settings.rules);
    }
    let interval = plan.interval;
    let clock: Clock = Arc::new(common::now_ms);
    let mut watcher = Watcher::connect(&plan, State::default())?;
    let progress = Arc::new(Progress::default());
    common::stop_on_signal(progress.clone())?;
    // An interval alone goes on until it is stopped.
    let until = match (args.lasting, args.interval) {
        (Some(lasting), _) => Some(Instant::now() + lasting),
        (None, Some(_)) => None,
        (None, None) => Some(Instant::now()),
    };
    let style = TableStyle {
        by_partition: args.partitions,
        color: common::use_color(global.color, &io::stdout()),
        width: common::width(),
    };
    let mut rounds = 0;
    loop {
        let began = Instant::now();
        let snapshot = watcher.round(&clock)?;
        rounds += 1;
        let next = began + interval;
        let is_last = progress.is_stopped() || until.is_some_and(|until| next > until);
        let mut out = io::stdout().lock();
        match args.format {
            Form::Json => write_json(&snapshot, &mut out)?,
            Form::Text => write_table(&snapshot, &style, &mut out)?,
        }
        if is_last || !wait(next, &progress) {
            if args.format == Form::Json {
                write_json_summary(&snapshot, rounds, &mut out)?;
            }
            out.flush()?;
            if snapshot.groups.is_empty() {
                eprintln!("sordini: {}", args.nothing());
            } else if snapshot.round.expected == 0 {
                eprintln!("sordini: nothing was looked at: no group has a commit or a member on these topics");
            }
            return Ok(outcome(&snapshot).exit());
        }
        out.flush()?;
    }
}

/// `false`: asked to end.
fn wait(until: Instant, progress: &Progress) -> bool {
    while !progress.is_stopped() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(TICK));
    }
    false
}

impl LagArgs {
    /// Flags win over the file.
    fn plan(&self, file: Option<WatchFile>) -> anyhow::Result<Plan> {
        ensure!(self.interval != Some(Duration::ZERO), "--interval must not be zero");
        let (kafka, lag) = file.map_or_else(Default::default, |file| (file.kafka, file.lag));
        let or = |typed: &Vec<String>, written: Vec<String>| if typed.is_empty() { written } else { typed.clone() };
        let lag = LagFile {
            interval: self.interval.or(lag.interval),
            groups: or(&self.groups, lag.groups),
            exclude_groups: or(&self.exclude_groups, lag.exclude_groups),
            topics: or(&self.topics, lag.topics),
            required: or(&self.required, lag.required),
            read_committed: match &self.read_committed[..] {
                [] => lag.read_committed,
                typed => Some(typed.to_vec()),
            },
            rules: self.rules.unwrap_or(lag.rules),
            looks: self.looks.or(lag.looks),
            // Several looks are needed before commits of the past help.
            offsets_topic: Some(self.interval.is_some() || self.lasting.is_some()),
            thresholds: Thresholds {
                allowed_lag: self.allowed_lag.unwrap_or(lag.thresholds.allowed_lag),
                max_time_lag: self.max_time_lag.unwrap_or(lag.thresholds.max_time_lag),
                ..lag.thresholds
            },
            ..lag
        };
        lag.plan(self.connection.resolve(kafka)?, None)
    }

    fn nothing(&self) -> String {
        match self.groups[..] {
            [] => "the cluster has no consumer group that this user may describe".to_owned(),
            _ => format!("no group fits {}; a pattern has to fit the whole name", self.groups.join(", ")),
        }
    }
}

/// Judges recorded windows; no cluster is asked.
fn replay_file(path: &Path, rules: &Rules) -> anyhow::Result<u8> {
    let mut out = io::stdout().lock();
    let counts = if path.as_os_str() == "-" {
        replay(io::stdin().lock(), rules, &mut out)?
    } else {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        replay(BufReader::new(file), rules, &mut out)?
    };
    out.flush()?;
    if counts.unreadable > 0 || counts.lines == 0 {
        eprintln!("sordini: {} of {} lines could not be read", counts.unreadable, counts.lines);
        return Ok(exit::UNVERIFIED);
    }
    Ok(if counts.bad > 0 { exit::FINDINGS } else { exit::CLEAN })
}
