//! `sordini audit`: one run over topics or lines, bounded or following.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;

use super::Global;
use super::common::{self, Connection, KeyArgs, Output};
use crate::audit::finding::Finding;
use crate::audit::verdict::Report;
use crate::config::{AuditFile, AuditPlan, Client, NumberEncoding, Scope, View, parse_duration, parse_size};
use crate::engine::{self, Progress};
use crate::identify::Spec;
use crate::report::{self, Format};
use crate::source::lines::LinesSource;
use crate::source::{Source, Start};

const EXAMPLES: &str = "\
Examples:
  sordini audit -b kafka:9092 -t orders
      Everything now in the topic: offsets, CRC, producer sequences, timestamps.
  sordini audit -b kafka:9092 -t orders --id header:event-id --session header:producer --sequence header:seq
      Also duplicates and conflicts by id, and loss and reordering by the application's own numbers.
  sordini audit -b kafka:9092 -t '^orders-.*' --follow --ledger /var/lib/sordini
      Go on for ever; a restart continues where it stopped.
  kcat -b kafka:9092 -t orders -C -e -J | sordini audit --lines - --id json:/order/id
      What kcat printed.
  sordini audit -b kafka:9093 -t orders -X security.protocol=SASL_SSL -X sasl.mechanism=SCRAM-SHA-512 \\
      -X sasl.username=auditor -X sasl.password=secret -X ssl.ca.location=ca.pem

Exit codes: 0 read all that was asked and clean, 1 findings, 2 could not verify, 3 inconclusive.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct AuditArgs {
    /// File of settings; flags override it
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
    /// Topic by name, or a regular expression that starts with ^; repeatable
    #[arg(short, long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
    /// Only this partition; repeatable
    #[arg(short, long = "partition", value_name = "N")]
    partitions: Vec<i32>,
    /// Where to begin: beginning, end, OFFSET, -N before the end, or s@MILLISECONDS
    #[arg(long, value_name = "WHERE", value_parser = start, allow_hyphen_values = true)]
    offset: Option<Start>,
    /// Read JSON lines as `kcat -C -J` prints them, from a file or - for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["brokers", "topics", "client"])]
    lines: Option<PathBuf>,
    /// Which client reads: raw sees batches, librdkafka authenticates in more ways
    #[arg(long, value_enum)]
    client: Option<Client>,
    /// What makes two records the same: key, header:NAME, json:/pointer, cloudevents, debezium, content or producer
    #[arg(long, value_name = "SPEC", help_heading = "Identity")]
    id: Option<Spec>,
    /// What names the session a record belongs to
    #[arg(long, value_name = "SPEC", requires = "sequence", help_heading = "Identity")]
    session: Option<Spec>,
    /// Where the record's number within its session stands
    #[arg(long, value_name = "SPEC", help_heading = "Identity")]
    sequence: Option<Spec>,
    /// Number that every session starts with; what is missing below the first one is then a loss
    #[arg(long, value_name = "N", help_heading = "Identity")]
    sequence_start: Option<i64>,
    /// Where a record declares its session's last number
    #[arg(long, value_name = "SPEC", requires = "sequence", help_heading = "Identity")]
    sequence_end: Option<Spec>,
    /// How numbers are written
    #[arg(long, value_enum, help_heading = "Identity")]
    sequence_encoding: Option<NumberEncoding>,
    /// Whether sessions number each partition or the whole topic
    #[arg(long, value_enum, help_heading = "Identity")]
    scope: Option<Scope>,
    /// How long a missing number may still arrive before it is lost, in stream time [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "Checks")]
    wait: Option<Duration>,
    /// How far back a duplicate is recognised [default: 7d]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "Checks")]
    horizon: Option<Duration>,
    /// How far create times may fall along a partition [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "Checks")]
    timestamp_bound: Option<Duration>,
    /// Which view to judge [default: read_committed]
    #[arg(long, value_enum, help_heading = "Checks")]
    isolation: Option<View>,
    /// Go on at the end of the topics and print findings as they become certain
    #[arg(long, visible_alias = "live")]
    follow: bool,
    /// Directory that keeps sightings, positions and findings; a second run continues there
    #[arg(long, value_name = "DIR")]
    ledger: Option<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
    /// Memory for the ledger's buffer and filters [default: 96MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<usize>,
    /// Longest time between two commits, and so between an anomaly and its report [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    commit_every: Option<Duration>,
    /// Show identities in clear
    #[arg(long)]
    show_keys: bool,
    #[command(flatten)]
    output: Output,
}

/// kcat's `-o`: beginning, end, an offset, -N before the end, s@ a time in milliseconds.
pub fn start(text: &str) -> Result<Start, String> {
    let wrong = || format!("\"{text}\" is no offset; use beginning, end, OFFSET, -N or s@MILLISECONDS");
    match text {
        "beginning" => Ok(Start::Beginning),
        "end" => Ok(Start::End),
        _ => match text.strip_prefix("s@") {
            Some(time) => time.parse().map(Start::Timestamp).map_err(|_| wrong()),
            None => match text.parse::<i64>().map_err(|_| wrong())? {
                back if back < 0 => Ok(Start::Tail(-back)),
                offset => Ok(Start::Offset(offset)),
            },
        },
    }
}

pub fn run(args: AuditArgs, global: &Global) -> anyhow::Result<u8> {
    args.output.check()?;
    let output = args.output.clone();
    let given = args.output.format;
    let (plan, source, subject) = resolve(args)?;
    let progress = Arc::new(Progress::default());
    common::stop_on_signal(progress.clone())?;
    let follow = plan.settings.follow;
    let drawn = common::draw(&progress, global, follow);
    let format = given.unwrap_or_else(|| report::format_of(output.output.as_deref()));
    let context = |color| context(&subject, color);
    let report = engine::audit(source, &plan.settings, &progress, &mut |fresh: &[Finding]| {
        if follow {
            // A reader that closed the pipe wants no more; the audit itself goes on to its end.
            if print_fresh(format, fresh, &context(false)).is_err() {
                progress.stop();
            }
        }
    })?;
    drop(drawn);
    let color = output.output.is_none() && common::use_color(global.color, &io::stdout());
    output.write(|out| Ok(report::write(format, &report, &context(color), out)?))?;
    if output.output.is_some() {
        say_where(&report, &output);
    }
    Ok(report.summary.exit)
}

fn print_fresh(format: Format, fresh: &[Finding], context: &report::Context) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for finding in fresh {
        report::write_finding(format, finding, context, &mut out)?;
    }
    Ok(out.flush()?)
}

fn context(subject: &str, color: bool) -> report::Context {
    report::Context { now_ms: common::now_ms(), source: subject.to_owned(), color, width: common::width() }
}

fn say_where(report: &Report, output: &Output) {
    if let Some(path) = &output.output {
        eprintln!(
            "sordini: {} ({}), written to {}",
            report.summary.verdict.name(),
            report.summary.exit,
            path.display()
        );
    }
}

/// From what was typed, and what the file says, to what is meant.
fn resolve(args: AuditArgs) -> anyhow::Result<(AuditPlan, Box<dyn Source>, String)> {
    let file = match &args.config {
        Some(path) => AuditFile::read(path)?,
        None => AuditFile::default(),
    };
    let (partitions, lines) = (args.partitions.clone(), args.lines.clone());
    let (start, key) = (args.offset.unwrap_or(Start::Beginning), args.key.resolve(file.ledger_key.as_deref())?);
    let plan = args.over(file)?.plan(start, partitions, key, Arc::new(common::now_ms))?;
    let (source, subject) = match &lines {
        Some(path) => {
            ensure!(
                !plan.settings.follow,
                "--lines ends with its input; for a stream that goes on, pipe it in with --lines -"
            );
            let subject =
                if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() };
            (Box::new(LinesSource::open(path)?) as Box<dyn Source>, subject)
        }
        None => plan.connect()?,
    };
    Ok((plan, source, subject))
}

impl AuditArgs {
    /// Flags win over the file.
    fn over(self, file: AuditFile) -> anyhow::Result<AuditFile> {
        Ok(AuditFile {
            properties: self.connection.resolve(file.properties)?,
            topics: if self.topics.is_empty() { file.topics } else { self.topics },
            client: self.client.or(file.client),
            id: self.id.or(file.id),
            session: self.session.or(file.session),
            sequence: self.sequence.or(file.sequence),
            sequence_start: self.sequence_start.or(file.sequence_start),
            sequence_end: self.sequence_end.or(file.sequence_end),
            sequence_encoding: self.sequence_encoding.or(file.sequence_encoding),
            scope: self.scope.or(file.scope),
            wait: self.wait.or(file.wait),
            horizon: self.horizon.or(file.horizon),
            timestamp_bound: self.timestamp_bound.or(file.timestamp_bound),
            commit_every: self.commit_every.or(file.commit_every),
            isolation: self.isolation.or(file.isolation),
            follow: Some(self.follow || file.follow.unwrap_or(false)),
            ledger: self.ledger.or(file.ledger),
            memory: self.memory.or(file.memory),
            show_keys: Some(self.show_keys || file.show_keys.unwrap_or(false)),
            ..file
        })
    }
}
