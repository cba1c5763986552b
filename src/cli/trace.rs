//! `sordini trace`: where an identity was seen, from a ledger at rest or from the process that uses it.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Global;
use super::common::{KeyArgs, exit};
use crate::engine::trace::{Arrival, Found, Sought, Standing, TraceError, look_up};
use crate::report::{thousands, utc};

const EXAMPLES: &str = "\
Examples:
  sordini trace order-4711 --ledger /var/lib/sordini
      The id as the ledger's rule (--id) reads it; it is hashed with the ledger's key.
  sordini trace 0f6d…32 digits… --ledger /var/lib/sordini
      The hash that a finding shows as identity.hash.
  sordini trace --session till-3 --number 17 --ledger /var/lib/sordini
      Of a ledger that tells records by session and number.

A ledger that a running audit uses is asked through its socket, and answers with what was read but not committed, too.

Exit codes: 0 found, 1 not found, 2 could not say (damage, wrong key, no answer).";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct TraceArgs {
    #[command(flatten)]
    sought: SoughtArgs,
    /// Directory of the ledger
    #[arg(long, value_name = "DIR")]
    ledger: PathBuf,
    /// Only this topic
    #[arg(short, long, value_name = "TOPIC")]
    topic: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
    /// Form of the answer; JSON is one object a line
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,
}

/// What is known of the record that is looked for.
#[derive(Args, Clone)]
pub struct SoughtArgs {
    /// The id in clear, or the hash a finding shows; of a CloudEvent "SOURCE ID"
    #[arg(value_name = "ID", required_unless_present = "number")]
    id: Option<String>,
    /// The ID is a hash and nothing else
    #[arg(long, requires = "id")]
    hash: bool,
    /// Name of the session the record belongs to, where records are told by session and number
    #[arg(long, value_name = "NAME", requires = "number", conflicts_with = "id")]
    session: Option<String>,
    /// The record's number within its session
    #[arg(long, value_name = "N", conflicts_with = "id")]
    number: Option<i64>,
}

impl SoughtArgs {
    pub fn resolve(&self) -> Result<Sought, TraceError> {
        match (&self.id, self.number) {
            (Some(id), _) if self.hash => Sought::hash(id),
            (Some(id), _) => Ok(Sought::Id(id.clone())),
            (None, number) => Ok(Sought::Number {
                session: self.session.clone().unwrap_or_default(),
                number: number.unwrap_or_default(),
            }),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    Text,
    Json,
}

pub fn run(args: TraceArgs, _: &Global) -> anyhow::Result<u8> {
    let (sought, topic) = (args.sought.resolve()?, args.topic.as_deref());
    let key = args.key.resolve(None)?;
    let mut found = look_up(&args.ledger, &sought, topic, key.as_ref())?;
    if let Some(topic) = topic {
        // A hash names no topic.
        found.iter_mut().for_each(|found| found.arrivals.retain(|arrival| arrival.topic == topic));
    }
    let (seen, rest): (Vec<Found>, Vec<Found>) = found.into_iter().partition(|found| !found.arrivals.is_empty());
    let mut out = io::stdout().lock();
    for found in &seen {
        match args.format {
            Form::Text => write_text(found, &mut out)?,
            Form::Json => write_json(found, &mut out)?,
        }
    }
    out.flush()?;
    let damage: Vec<&String> = seen.iter().chain(&rest).flat_map(|found| &found.damage).collect();
    for why in &damage {
        eprintln!("sordini: {why}");
    }
    if !seen.is_empty() {
        return Ok(exit::CLEAN);
    }
    if damage.is_empty() {
        eprintln!("sordini: not found in {}, which keeps sightings up to its horizon", args.ledger.display());
        return Ok(exit::FINDINGS);
    }
    eprintln!("sordini: not found, but {} is damaged where it may be", args.ledger.display());
    Ok(exit::UNVERIFIED)
}

fn write_text(found: &Found, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "identity {}", found.identity)?;
    let place = |arrival: &Arrival| format!("{}[{}]@{}", arrival.topic, arrival.partition, arrival.offset);
    let width = found.arrivals.iter().map(|arrival| place(arrival).len()).max().unwrap_or(0);
    for arrival in &found.arrivals {
        let time = utc(i64::from(arrival.second) * 1000);
        let producer = match arrival.producer {
            Some((id, epoch)) => format!("producer {id} epoch {epoch}"),
            None => "producer unknown".to_owned(),
        };
        let (checksum, state) = (arrival.checksum.0 as u64, said(arrival.state));
        writeln!(out, "  {:width$}  {time}  checksum {checksum:016x}  {producer}  {state}", place(arrival))?;
    }
    let listed = found.arrivals.len() as u64;
    if found.counted > listed {
        writeln!(out, "  {} arrivals in all; the earliest are listed", thousands(found.counted))?;
    }
    Ok(())
}

fn said(state: Standing) -> &'static str {
    match state {
        Standing::Kept => "kept",
        Standing::Repeat => "came again",
        Standing::Buffered => "just read, not compared yet",
    }
}

fn write_json(found: &Found, out: &mut dyn Write) -> io::Result<()> {
    found.lines().try_for_each(|line| writeln!(out, "{line}"))
}
