//! `sordini trace`: where an identity was seen, from ledgers at rest or from the processes that use them.

mod places;
mod show;
mod text;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Global;
use super::common::{Connection, KeyArgs, exit};
use crate::engine::trace::{Sought, TraceError, Traced, look_up};
use places::Place;
use show::Records;

const EXAMPLES: &str = "\
Examples:
  sordini trace order-4711 -c sordini.toml
      In the ledger of every audit and flow of the daemon: each stage that saw it, and what is missing.
  sordini trace order-4711 -c sordini.toml --show
      The same with the records themselves, as the broker holds them.
  sordini trace order-4711 --ledger /var/lib/sordini
      The id as the ledger's rule (--id) reads it; it is hashed with the ledger's key.
  sordini trace 0f6d…32 digits… --ledger /var/lib/sordini
      The hash that a finding shows as identity.hash.
  sordini trace --session till-3 --number 17 --ledger /var/lib/sordini
      Of a ledger that tells records by session and number.

A ledger that a running audit uses is asked through its socket, and answers with what was read but not committed, too.

Exit codes: 0 found, 1 not found, 2 could not say (damage, wrong key, no answer; with --show, no broker).";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct TraceArgs {
    #[command(flatten)]
    sought: SoughtArgs,
    /// The daemon's settings: looks in the ledger of every audit and flow
    #[arg(short, long, value_name = "FILE", required_unless_present = "ledgers")]
    config: Option<PathBuf>,
    /// Directory of the ledger; repeatable
    #[arg(long = "ledger", value_name = "DIR", conflicts_with = "config")]
    ledgers: Vec<PathBuf>,
    /// Only this topic
    #[arg(short, long, value_name = "TOPIC")]
    topic: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
    /// Form of the answer; JSON is one object a line
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,
    /// Fetch the records themselves from the broker and show key, headers and value in clear
    #[arg(long)]
    show: bool,
    #[command(flatten)]
    connection: Connection,
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
    let places = Place::all(args.config.as_deref(), &args.ledgers, &args.key)?;
    let mut asked = Asked::default();
    for place in &places {
        match look_up(&place.dir, &sought, topic, place.key.as_ref()) {
            Ok(traced) => {
                let records = match args.show {
                    true => Records::fetch(&args.connection, place, &traced),
                    false => Records::default(),
                };
                asked.answers.push((place, traced, records));
            }
            Err(error) if places.len() == 1 => return Err(error.into()),
            Err(error) => asked.refused.push((place, error)),
        }
    }
    let mut out = io::stdout().lock();
    for (place, traced, records) in &asked.answers {
        match args.format {
            Form::Text if traced.is_found() && places.len() > 1 => {
                writeln!(out, "{}:", place.said)?;
                text::write(traced, records, &mut out)?;
            }
            Form::Text => text::write(traced, records, &mut out)?,
            Form::Json => write_json(place, traced, records, &mut out)?,
        }
    }
    out.flush()?;
    Ok(asked.conclude(topic))
}

/// What every ledger said.
#[derive(Default)]
struct Asked<'a> {
    answers: Vec<(&'a Place, Traced, Records)>,
    refused: Vec<(&'a Place, TraceError)>,
}

impl Asked<'_> {
    /// Says what could not be said, and gives the exit code. A ledger whose rules know no such id says nothing against
    /// the others' answers.
    fn conclude(&self, topic: Option<&str>) -> u8 {
        for (place, error) in &self.refused {
            eprintln!("sordini: {}: {error}", place.said);
        }
        let damage = self.answers.iter().flat_map(|(_, traced, _)| traced.damage());
        let trouble: Vec<&String> = self.answers.iter().filter_map(|(.., records)| records.trouble.as_ref()).collect();
        for why in damage.chain(trouble.iter().copied()) {
            eprintln!("sordini: {why}");
        }
        if self.answers.iter().any(|(_, traced, _)| traced.is_found()) {
            return if trouble.is_empty() { exit::CLEAN } else { exit::UNVERIFIED };
        }
        for (place, traced, _) in &self.answers {
            match traced.damage().next() {
                Some(_) => eprintln!("sordini: not found, but {} is damaged where it may be", place.said),
                None => eprintln!("sordini: not found in {}, which keeps sightings up to its horizon", place.said),
            }
            traced.never_seen(topic).iter().for_each(|said| eprintln!("sordini: {said}"));
        }
        let is_damaged = self.answers.iter().any(|(_, traced, _)| traced.damage().next().is_some());
        let is_fatal = |error: &TraceError| !matches!(error, TraceError::Unfit { .. });
        let could_not_say =
            is_damaged || self.answers.is_empty() || self.refused.iter().any(|(_, error)| is_fatal(error));
        if could_not_say { exit::UNVERIFIED } else { exit::FINDINGS }
    }
}

fn write_json(place: &Place, traced: &Traced, records: &Records, out: &mut dyn Write) -> io::Result<()> {
    let sightings = traced.arrivals().into_iter().map(|(found, arrival)| {
        let mut line = traced.line(found, arrival);
        if let Some(record) = records.json(arrival) {
            line["record"] = record;
        }
        line
    });
    for mut line in sightings.chain(traced.known_ways().map(|way| way.line())) {
        if let Some(name) = &place.name {
            line["audit"] = name.as_str().into();
        }
        writeln!(out, "{line}")?;
    }
    Ok(())
}
