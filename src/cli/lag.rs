//! `sordini lag`: how far consumer groups are behind, and which of them are in trouble.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use regex::Regex;

use super::Global;
use super::common::{self, Connection};
use crate::config::parse_duration;
use crate::engine::{Clock, Progress};
use crate::lag::collect::Filter;
use crate::lag::tracker::{Settings, State};
use crate::lag::watcher::{Plan, Watcher};
use crate::report::lag::{Outcome, TableStyle, write_json, write_json_summary, write_table};
use crate::source::Properties;

const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
/// How often a wait looks whether it was asked to end.
const TICK: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Form {
    /// A table for people
    #[default]
    Text,
    /// One object a line, for scripts
    Json,
}

#[derive(Args)]
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
    /// Most unread records that are fetched in one round to learn their age
    #[arg(long, value_name = "COUNT", default_value_t = 2000)]
    looks: usize,
    /// Form of the report
    #[arg(long, value_enum, default_value_t)]
    format: Form,
}

pub fn run(args: LagArgs, global: &Global) -> anyhow::Result<u8> {
    let interval = args.interval.unwrap_or(DEFAULT_INTERVAL);
    let clock: Clock = Arc::new(common::now_ms);
    let mut watcher = Watcher::connect(&args.plan(interval)?, State::default())?;
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
            }
            return Ok(Outcome::of(&snapshot).exit());
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
    fn plan(&self, interval: Duration) -> anyhow::Result<Plan> {
        Ok(Plan {
            properties: self.connection.resolve(Properties::new())?,
            cluster: None,
            filter: self.filter()?,
            settings: self.settings()?,
            interval,
            // Several looks are needed before commits of the past help.
            offsets_topic: self.interval.is_some() || self.lasting.is_some(),
        })
    }

    fn filter(&self) -> anyhow::Result<Filter> {
        Ok(Filter {
            groups: patterns(&self.groups)?,
            exclude_groups: patterns(&self.exclude_groups)?,
            topics: patterns(&self.topics)?,
            exclude_topics: Vec::new(),
        })
    }

    fn settings(&self) -> anyhow::Result<Settings> {
        let read_committed = patterns(&self.read_committed)?;
        ensure!(self.interval != Some(Duration::ZERO), "--interval must not be zero");
        Ok(Settings {
            judge: Arc::new(|window| todo_judge(window)),
            intervals: 24,
            required: self.required.clone(),
            read_committed: (!read_committed.is_empty()).then_some(read_committed),
            beyond_for_ms: 60_000,
            looks: self.looks,
        })
    }

    fn nothing(&self) -> String {
        match self.groups[..] {
            [] => "the cluster has no consumer group that this user may describe".to_owned(),
            _ => format!("no group fits {}; a pattern has to fit the whole name", self.groups.join(", ")),
        }
    }
}

fn patterns(texts: &[String]) -> anyhow::Result<Vec<Regex>> {
    texts.iter().map(|text| Filter::pattern(text).with_context(|| format!("\"{text}\" is no pattern"))).collect()
}
fn todo_judge(w: &crate::lag::window::Window<'_>) -> crate::lag::verdict::Judgement {
    crate::lag::verdict::Judgement {
        verdict: crate::lag::verdict::Verdict::Ok,
        why: String::new(),
        numbers: Default::default(),
        window_ms: (w.now_ms, w.now_ms),
    }
}
