//! `sordini demo`: a stream broken on purpose, audited, and the score of what was found.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use rdkafka::mocking::MockCluster;

use super::common::{self, Connection};
use super::{Global, generate, score};
use crate::audit::coverage::Isolation;
use crate::audit::finding::Finding;
use crate::audit::verdict::Report;
use crate::engine::{self, Progress, Settings};
use crate::generate::{Fault, Options, Plan, Truth, kafka, score::score as score_of};
use crate::identify::Rules;
use crate::report::{self, Format};
use crate::source::kafka::KafkaSource;
use crate::source::{Properties, Selection, Start};

/// The embedded broker keeps 5 MB a partition: enough partitions for all records.
const PARTITIONS: i32 = 16;
const WAIT: Duration = Duration::from_secs(30);

#[derive(Args)]
pub struct DemoArgs {
    #[command(flatten)]
    connection: Connection,
    /// Topic to write; it should not exist yet
    #[arg(short, long, value_name = "TOPIC", default_value = "sordini-demo")]
    topic: String,
    /// Orders to make
    #[arg(long, value_name = "N", default_value = "200000", value_parser = generate::count)]
    records: u64,
    /// Seed of the faults
    #[arg(long, value_name = "N", default_value_t = 7)]
    seed: u64,
    /// Where the HTML report goes
    #[arg(long, value_name = "FILE", default_value = "sordini-demo.html")]
    report: PathBuf,
}

pub fn run(args: DemoArgs, global: &Global) -> anyhow::Result<u8> {
    let mut properties = args.connection.resolve(Properties::new())?;
    let is_embedded = !properties.contains_key("bootstrap.servers");
    // Lives until the audit is over.
    let cluster = if is_embedded { Some(embedded_broker(&args.topic)?) } else { None };
    if let Some(cluster) = &cluster {
        properties.insert("bootstrap.servers".to_owned(), cluster.bootstrap_servers());
    }
    let mut out = io::stdout().lock();
    let place = if is_embedded { "an embedded broker" } else { "the broker" };
    writeln!(out, "writing {} orders with known faults to {place} …", args.records)?;
    out.flush()?;
    let truth = write_orders(&args, &properties, is_embedded, global)?;
    writeln!(out, "auditing {} …", args.topic)?;
    out.flush()?;
    let report = audit(&args, &properties, global)?;

    let context = report::Context {
        now_ms: common::now_ms(),
        source: format!("{} on {place}", args.topic),
        color: common::use_color(global.color, &io::stdout()),
        width: common::width(),
    };
    writeln!(out)?;
    report::write(Format::Text, &report, &context, &mut out)?;
    common::write_file(&args.report, |file| Ok(report::write(Format::Html, &report, &context, file)?))?;

    let mut lines = Vec::new();
    report::write(Format::Json, &report, &context, &mut lines)?;
    let score = score_of(&truth, &lines[..])?;
    writeln!(out, "\nfound versus injected\n{score}")?;
    writeln!(out, "HTML report: {}", args.report.display())?;
    Ok(score::verdict(&score))
}

fn embedded_broker(topic: &str) -> anyhow::Result<MockCluster<'static, rdkafka::producer::DefaultProducerContext>> {
    let cluster = MockCluster::new(1).context("starting the embedded broker")?;
    cluster.create_topic(topic, PARTITIONS, 1).context("making a topic on the embedded broker")?;
    Ok(cluster)
}

fn write_orders(args: &DemoArgs, properties: &Properties, is_embedded: bool, global: &Global) -> anyhow::Result<Truth> {
    const FAULTS: [&str; 11] = [
        "lose-every=500",
        "lose-burst=0.005%x20",
        "duplicate=0.02%",
        "duplicate-far=0.01%",
        "conflict=0.01%",
        "swap=0.02%",
        "late=0.005%",
        "late-beyond=0.005%",
        "head-loss=3",
        "tail-loss=5",
        "misnumber-reset",
    ];
    let faults = FAULTS.iter().map(|fault| fault.parse()).collect::<Result<Vec<Fault>, _>>()?;
    let options = Options {
        producers: PARTITIONS as u32,
        partitions: PARTITIONS,
        seed: args.seed,
        wait_ms: WAIT.as_millis() as u64,
        faults,
        ..Options::new(&args.topic, args.records)
    };
    let plan = Plan::new(&options, common::now_ms())?;
    let mut settings = kafka::Settings::new(properties.clone());
    settings.create_topic = !is_embedded;
    let bar = generate::bar(args.records, global);
    let truth = kafka::send(plan, &settings, &mut |sent| bar.set_position(sent))?;
    bar.finish_and_clear();
    Ok(truth)
}

fn audit(args: &DemoArgs, properties: &Properties, global: &Global) -> anyhow::Result<Report> {
    let selection = Selection {
        topics: vec![args.topic.clone()],
        partitions: Vec::new(),
        start: Start::Beginning,
        isolation: Isolation::ReadCommitted,
        follow: false,
    };
    let rules = Rules {
        id: Some("header:event-id".parse()?),
        session: Some("header:producer".parse()?),
        sequence: Some("header:seq".parse()?),
        sequence_end: Some("header:seq-end".parse()?),
        ..Rules::default()
    };
    let settings = Settings {
        rules,
        wait: WAIT,
        horizon: Duration::from_secs(7 * 24 * 3600),
        sequence_start: Some(0),
        timestamp_bound: Duration::from_secs(3600),
        isolation: Isolation::ReadCommitted,
        ledger: None,
        key: None,
        memory_bytes: 96 << 20,
        commit_every: Duration::from_secs(5),
        follow: false,
        clock: Arc::new(common::now_ms),
        flow: None,
        indexes: None,
    };
    let progress = Arc::new(Progress::default());
    let _drawn = common::draw(&progress, global, false);
    let source = Box::new(KafkaSource::connect(properties, selection)?);
    Ok(engine::audit(source, &settings, &progress, &mut |_: &[Finding]| {})?)
}
