//! `sordini drift`: whether two stores agree.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::Global;
use super::common::{self, Connection, Output};
use super::drifts::{self, FollowArgs};
use crate::drift::conserve::law::Law;
use crate::drift::named;
use crate::drift::place::Place;
use crate::drift::redact::Redaction;
use crate::drift::relax::Relaxation;
use crate::drift::repair::{Form, RepairFile};
use crate::drift::table::{Chosen, Limits, Throttle};
use crate::drift::{self, Part, Settings};
use crate::engine::Progress;
use crate::report;
use crate::source::Properties;

const EXAMPLES: &str = "\
Examples:
  sordini drift 'kafka://kafka:9092/orders' 'postgres://audit@db/shop?table=orders' --group connect-orders
      Which rows of the table are missing, extra, different or stale, while the sink writes on.
  sordini drift 'kafka://kafka:9092/orders?key=value' 'postgres://audit@db/shop?table=orders&key=id' --ignore loaded_at
      The key's columns stand in the record's value; no group tells how far the writer is.
  sordini drift 'postgres://audit@a/shop?table=orders' 'mysql://audit@b/shop?table=orders'
      Two tables, here of different databases.
  sordini drift 'kafka://kafka:9092/orders' 'postgres://audit@db/shop?table=orders' -G connect-orders --follow
      For ever: each key once the group has passed its record, the whole table every ten minutes.
  sordini drift 'kafka://kafka:9092/orders' 'postgres://audit@db/shop?table=orders' -G connect-orders --conserve 'sum(amount) by currency'
      Also whether both sides add up to the same, and what is missing in money.
  sordini drift -c sordini.toml --only orders
      One [[drift]] of the daemon's settings; without --only all of them, in one report.

The first store is the reference. A password comes from PGPASSWORD, PGPASSFILE or ~/.pgpass; for MySQL from ~/.my.cnf or MYSQL_PWD.

Exit codes: 0 the stores agree, 1 drift, 2 could not verify, 3 inconclusive.";

/// What the file says of each pair.
const PAIR: [&str; 22] = [
    "first",
    "second",
    "group",
    "columns",
    "ignore",
    "relax",
    "conserve",
    "settle",
    "wait",
    "mark",
    "statement_timeout",
    "max_rate",
    "max_replica_lag",
    "allow_writer",
    "memory",
    "max_findings",
    "redact",
    "every",
    "buckets",
    "confirm_after",
    "repair",
    "keys",
];

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct DriftArgs {
    /// The reference: kafka://HOST:PORT/TOPIC?key=key|value&value=json|debezium&time=s|ms|us|ns
    #[arg(required_unless_present = "config")]
    first: Option<String>,
    /// What is compared with it: postgres://USER@HOST:PORT/DATABASE?table=SCHEMA.NAME&key=COLUMN, also mysql:, mariadb:, or sqlite:FILE?table=NAME
    #[arg(required_unless_present = "config")]
    second: Option<String>,
    /// Compare the pairs of this file instead, each [[drift]] of the daemon's settings
    #[arg(short, long, value_name = "FILE", conflicts_with_all = PAIR)]
    config: Option<PathBuf>,
    /// Only this pair of the file; repeatable
    #[arg(long, value_name = "NAME", requires = "config")]
    only: Vec<String>,
    #[command(flatten)]
    connection: Connection,
    /// Consumer group that writes the table; without one the claim is heuristic
    #[arg(short = 'G', short_alias = 'g', long, value_name = "GROUP")]
    group: Option<String>,
    /// Columns to compare beside the key, comma-separated; * for all
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', default_value = "*")]
    columns: Vec<String>,
    /// Columns to leave out, comma-separated
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    ignore: Vec<String>,
    /// A difference to let pass and count: COLUMN=nfc, rtrim, empty_is_null, case_fold, tolerance:NUMBER or truncate_to:s|ms; repeatable
    #[arg(long, value_name = "COLUMN=HOW")]
    relax: Vec<Relaxation>,
    /// What must be conserved: 'sum(amount) by currency, day(created_at)' must agree in both stores, 'sum(debit) - sum(credit) by account = 0' hold in each; repeatable
    #[arg(long, value_name = "LAW", conflicts_with = "keys")]
    conserve: Vec<Law>,
    /// How long a record may take into the table where no group tells, and how long to wait before what differs is looked at again
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "5s")]
    settle: Duration,
    /// How long to wait until a topic that is captured from the table has everything its snapshot sees
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "2m")]
    wait: Duration,
    /// Write one message into the log of the captured table's database (pg_logical_emit_message), so that an idle connector shows that it is up to date
    #[arg(long)]
    mark: bool,
    /// Longest time one statement may run in the database
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    statement_timeout: Option<Duration>,
    /// Add up at most so many rows of a table in a second (PostgreSQL)
    #[arg(long, value_name = "ROWS")]
    max_rate: Option<u64>,
    /// Read a table no further while a standby of its server, or the server where it is one, is later than this (PostgreSQL)
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    max_replica_lag: Option<Duration>,
    /// Use a role that could write; nothing is written
    #[arg(long)]
    allow_writer: bool,
    /// Memory for the topic's state; beyond it goes to temporary files
    #[arg(long, value_name = "MIB", default_value_t = 128)]
    memory: usize,
    /// Differing keys that are looked at one by one; of others only the number is told
    #[arg(long, value_name = "KEYS", default_value_t = 10_000)]
    max_findings: usize,
    /// Write what would repair the second store: FILE.sql statements with guards, FILE.jsonl records to produce again, FILE.json a signal to Debezium; nothing is run
    #[arg(long, value_name = "FILE", conflicts_with_all = ["redact", "explain", "follow"])]
    repair: Option<PathBuf>,
    /// Let the statements of --repair delete rows
    #[arg(long, requires = "repair")]
    allow_delete: bool,
    /// Look only at the keys of this report of an earlier run (--format json), to see whether they are repaired
    #[arg(long, value_name = "FILE", conflicts_with = "follow")]
    keys: Option<PathBuf>,
    /// Say what would be done, with the statements, and do nothing
    #[arg(long)]
    explain: bool,
    /// Tell hashes instead of keys and values
    #[arg(long)]
    redact: bool,
    #[command(flatten)]
    following: FollowArgs,
    #[command(flatten)]
    output: Output,
}

fn repair_file(path: &Path, allows_delete: bool) -> anyhow::Result<RepairFile> {
    let form = Form::of(path).map_err(anyhow::Error::msg)?;
    Ok(RepairFile { path: path.to_owned(), form, allows_delete })
}

pub fn run(args: DriftArgs, global: &Global) -> anyhow::Result<u8> {
    args.output.check()?;
    if let Some(config) = &args.config {
        let plans = drifts::plans(config, &args.only, &args.connection)?;
        if args.explain {
            return drifts::explain(&plans, &args.output);
        }
        if args.following.follow {
            return drifts::follow_one(plans, &args.output, global);
        }
        return drifts::run(&plans, &args.output, format!("pairs of {}", config.display()), global);
    }
    let settings = settings(&args)?;
    if args.explain {
        let said = drift::explain::explain(&settings)?;
        args.output.write(|out| Ok(out.write_all(said.as_bytes())?))?;
        return Ok(common::exit::CLEAN);
    }
    if args.following.follow {
        return drifts::follow(&settings, &args.following.rhythm(), &args.output, global);
    }
    let progress = Arc::new(Progress::default());
    common::stop_on_signal(progress.clone())?;
    let drawn = common::draw(&progress, global, false);
    let outcome = match args.following.kept(&settings, asked(&args, &settings))? {
        Some(resume) => resume.run(&settings, &progress),
        None => drift::run(&settings, &progress),
    };
    drop(drawn);
    let report = outcome?;
    let drift = report.summary.drift.as_ref();
    let source = drift.map_or_else(String::new, |drift| format!("{} against {}", drift.first, drift.second));
    drifts::write(&args.output, global, &source, |format, context, out| report::write(format, &report, context, out))?;
    Ok(report.summary.exit)
}

/// Everything on which it depends what a part says.
fn asked(args: &DriftArgs, settings: &Settings) -> String {
    let of = (&args.first, &args.second, &settings.group, &settings.chosen, &settings.laws, &settings.relaxed);
    let brokers = ["bootstrap.servers", "metadata.broker.list"].map(|name| settings.properties.get(name));
    // The same name is another file elsewhere.
    let files = [&settings.first, &settings.second].map(|place| match place {
        Place::Sqlite(place) => std::path::absolute(&place.file).ok(),
        _ => None,
    });
    format!("{of:?} {brokers:?} {files:?} {:?} {} {}", settings.settle, settings.most_findings, settings.wait.as_secs())
}

fn settings(args: &DriftArgs) -> anyhow::Result<Settings> {
    let place = |text: &Option<String>| -> anyhow::Result<Place> { Ok(text.as_deref().unwrap_or_default().parse()?) };
    let every = args.columns.iter().any(|column| column == "*");
    Ok(Settings {
        pair: None,
        first: place(&args.first)?,
        second: place(&args.second)?,
        properties: args.connection.resolve(Properties::new())?,
        group: args.group.clone(),
        settle: args.settle,
        wait: args.wait,
        mark: args.mark,
        chosen: Chosen { only: if every { Vec::new() } else { args.columns.clone() }, ignored: args.ignore.clone() },
        limits: Limits {
            statement_timeout: args.statement_timeout,
            allows_writers: args.allow_writer,
            throttle: Throttle { most_rows: args.max_rate, most_lag: args.max_replica_lag },
        },
        relaxed: args.relax.clone(),
        laws: args.conserve.clone(),
        memory_bytes: args.memory << 20,
        most_findings: args.max_findings,
        redact: args.redact.then(Redaction::fresh),
        repair: args.repair.as_ref().map(|path| repair_file(path, args.allow_delete)).transpose()?,
        named: args.keys.as_deref().map(named::read).transpose()?,
        part: Part::WHOLE,
    })
}
