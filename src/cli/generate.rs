//! `sordini generate`: traffic with known faults into a topic or a file, and the truth about it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Global;
use super::common::{self, Connection, exit};
use crate::config::parse_duration;
use crate::generate::kafka::{Mode, Settings};
use crate::generate::{Fault, FlowOptions, Options, Plan, Truth, flow, kafka, lines};
use crate::source::Properties;

const EXAMPLES: &str = "\
Examples:
  sordini generate -b kafka:9092 -t orders --records 1e6 --producers 4 --fault lose-every=100 \\
      --fault duplicate=0.01% --truth truth.json
  sordini generate --lines orders.jsonl -t orders --records 10000 --fault swap=0.1% --truth truth.json

  sordini generate --lines flow.jsonl --flow --fault drop-every=100 --flow-config flow.toml --truth truth.json
  sordini flows -c flow.toml --lines flow.jsonl --format json -o findings.jsonl

Faults, repeatable; a RATE is 0.1% or 0.001:
  lose=RATE               records are lost at random; lose-burst=RATExLEN: runs of LEN, as in 0.01%x50
  lose-every=N            every Nth record of a session is lost; more with
                          :rate=RATE      only this share of them
                          :residue=R      those with this remainder [default: N-1]
                          :jitter=J       up to J numbers beside it
                          :restart=M      counted anew after every M numbers
  lose-where=WHAT@RATE    records with something in common are lost, all of them without @RATE:
                          producer:p2, partition:1, key-class:8:3 (hash of the key modulo 8 is 3),
                          larger:4KiB (a tenth of the values is made so large), after:60% (of the records)
  head-loss=N             a session's first N are lost; tail-loss=N: its last N
  duplicate=RATE          a copy follows soon; duplicate-far=RATE: beyond many records
  retry-comb=RATE:1s,2s   copies so long after the first, as of clients that retry; :jitter blurs the delays
  conflict=RATE           the same id with other content
  swap=RATE               two neighbours of a session change places
  late=RATE               arrives within the waiting time; late-beyond=RATE: after it
  misnumber-reset         a session begins again at 0 (healthy: a restart, not a storm of duplicates)
  abort-transaction=RATE  transactions are aborted and sent again (healthy; with --mode transactional)
  tombstones=RATE         records without a value (healthy)

With --flow a worker answers every record in a second topic, and it is the worker that fails:
  drop-every=N            reports success and answers nothing; parameters as for lose-every
  drop-where=WHAT@RATE    the same for what has something in common, as for lose-where, without producers
  drop=RATE               the same at random
  swap-field=RATE         answers with another record's amount
  answer-late=RATE        answers after the deadline, which is --wait
  answer-unasked=RATE     answers what nobody asked";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct GenerateArgs {
    #[command(flatten)]
    connection: Connection,
    /// Topic to write; it is made when absent
    #[arg(short, long, value_name = "TOPIC", default_value = "orders")]
    topic: String,
    /// Write JSON lines as kcat prints them to this file, or - for standard output, instead of a topic
    #[arg(long, value_name = "FILE", conflicts_with = "brokers")]
    lines: Option<PathBuf>,
    /// Records to make, such as 1e6
    #[arg(long, value_name = "N", default_value = "100000", value_parser = count)]
    records: u64,
    /// Producers, each with a numbered session of its own
    #[arg(long, value_name = "N", default_value_t = 4)]
    producers: u32,
    /// Partitions of the topic
    #[arg(long, value_name = "N", default_value_t = 4)]
    partitions: i32,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    size: usize,
    /// Seed: the same seed makes the same records
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Spread each session over all partitions by key; audit it with --scope topic
    #[arg(long)]
    spread: bool,
    /// Write a flow of two topics: a worker answers every record; for `sordini flows`
    #[arg(long)]
    flow: bool,
    /// Topic of the answers [default: TOPIC.done]
    #[arg(long, value_name = "TOPIC", requires = "flow")]
    answers: Option<String>,
    /// Where the settings for `sordini flows` go
    #[arg(long, value_name = "FILE", requires = "flow")]
    flow_config: Option<PathBuf>,
    /// Fault to put in; repeatable, see below
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<Fault>,
    /// Waiting time of the audit to come, deadline of a flow: late faults lie inside or beyond it
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    wait: Duration,
    /// Record time between two records, such as 1ms
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    interval: Option<Duration>,
    /// How the producers write
    #[arg(long, value_enum, default_value_t = ProducerMode::Idempotent)]
    mode: ProducerMode,
    /// Records of one transaction
    #[arg(long, value_name = "N", default_value_t = 100)]
    transaction_size: u32,
    /// Topic setting when the topic is made, such as cleanup.policy=compact; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    topic_config: Vec<String>,
    /// Records a second; 0 is as fast as it goes
    #[arg(long, value_name = "N", default_value_t = 0)]
    rate: u64,
    /// Give records the time at which they are sent, at --rate, so that a running audit sees the waiting time pass
    #[arg(long, requires = "rate", conflicts_with_all = ["interval", "lines"])]
    live: bool,
    /// Where the truth goes
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProducerMode {
    Plain,
    Idempotent,
    Transactional,
}

/// A whole number, also as 1e6.
pub fn count(text: &str) -> Result<u64, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    match text.parse::<f64>() {
        Ok(number) if number >= 0.0 && number.fract() == 0.0 && number < 1e15 => Ok(number as u64),
        _ => Err(format!("\"{text}\" is no whole number; write it as in 100000 or 1e6")),
    }
}

pub fn run(args: GenerateArgs, global: &Global) -> anyhow::Result<u8> {
    ensure!(
        !args.live || (1..=1_000_000).contains(&args.rate),
        "--live needs a --rate from 1 to 1000000 records a second"
    );
    let now_ms = common::now_ms();
    let paced = args.live.then(|| 1_000_000 / args.rate);
    let options = Options {
        producers: args.producers,
        partitions: args.partitions,
        seed: args.seed,
        size: args.size,
        spread: args.spread,
        start_ms: args.live.then_some(now_ms),
        interval_us: paced.or_else(|| args.interval.map(|interval| interval.as_micros() as u64)),
        wait_ms: args.wait.as_millis() as u64,
        faults: args.faults.clone(),
        flow: args
            .flow
            .then(|| FlowOptions { answers: args.answers.clone().unwrap_or_else(|| format!("{}.done", args.topic)) }),
        ..Options::new(&args.topic, args.records)
    };
    let plan = Plan::new(&options, now_ms)?;
    let truth = match &args.lines {
        Some(path) if path.as_os_str() == "-" => lines::write(plan, &mut std::io::stdout().lock())?,
        Some(path) => {
            let mut truth = None;
            common::write_file(path, |out| {
                truth = Some(lines::write(plan, out)?);
                Ok(())
            })?;
            truth.context("nothing was written")?
        }
        None => send(plan, &args, global)?,
    };
    write_truth(&truth, args.truth.as_deref())?;
    if let (Some(path), Some(flow)) = (&args.flow_config, &truth.flow) {
        let properties = args.connection.resolve(Properties::new())?;
        let settings = flow::settings(flow, properties.get("bootstrap.servers").map(String::as_str));
        common::write_file(path, |out| Ok(std::io::Write::write_all(out, settings.as_bytes())?))?;
    }
    Ok(exit::CLEAN)
}

fn send(plan: Plan, args: &GenerateArgs, global: &Global) -> anyhow::Result<Truth> {
    let properties = args.connection.resolve(Properties::new())?;
    ensure!(properties.contains_key("bootstrap.servers"), "no brokers: give -b HOST:PORT, or --lines FILE for a file");
    let mut settings = Settings::new(properties);
    settings.mode = match args.mode {
        ProducerMode::Plain => Mode::Plain,
        ProducerMode::Idempotent => Mode::Idempotent,
        ProducerMode::Transactional => Mode::Transactional { records: args.transaction_size },
    };
    (settings.rate, settings.live) = (args.rate, args.live);
    for text in &args.topic_config {
        let Some((key, value)) = text.split_once('=') else { bail!("--topic-config {text}: expected KEY=VALUE") };
        settings.topic_config.push((key.to_owned(), value.to_owned()));
    }
    let bar = bar(args.records, global);
    let truth = kafka::send(plan, &settings, &mut |sent| bar.set_position(sent))?;
    bar.finish_and_clear();
    Ok(truth)
}

/// A bar over a known number of records.
pub fn bar(records: u64, global: &Global) -> ProgressBar {
    let shown = common::use_color(global.progress, &std::io::stderr());
    let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(records), target);
    match ProgressStyle::with_template("{bar:30} {human_pos} of {human_len} records · {per_sec} · {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn write_truth(truth: &Truth, path: Option<&std::path::Path>) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    common::write_file(path, |out| Ok(serde_json::to_writer_pretty(out, truth)?))
}
