//! One full cycle of lag over thousands of groups, beside klag-exporter on the same broker in the same run:
//! `scripts/bench lag`.
//!
//! The readers take turns, so that none has the broker warmer than another; the first turn counts for none. Requests are
//! those the broker counted meanwhile, but for what it says to itself. A line counts only when it is complete: a figure for
//! each group and partition there is.
//!
//! `SORDINI_BENCH_GROUPS` (5000), `SORDINI_BENCH_TOPICS` (200, of 5 partitions each), `SORDINI_BENCH_GROUP_TOPICS` (2) and
//! `SORDINI_BENCH_TURNS` (3) change the world; `KLAG_EXPORTER` names its binary.

mod groups;
mod klag;
mod measure;
mod own;
mod wire;

use std::env;
use std::time::Instant;

use measure::{Sample, median};
use sordini_lab::{Kafka, Options};

use crate::groups::World;
use crate::measure::Requests;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let world = World {
        topics: setting("SORDINI_BENCH_TOPICS", 200),
        partitions: 5,
        records_per_partition: 100,
        groups: setting("SORDINI_BENCH_GROUPS", 5000),
        topics_per_group: setting("SORDINI_BENCH_GROUP_TOPICS", 2),
    };
    let jmx = sordini_lab::free_port();
    let kafka = Kafka::start(options(jmx));
    let requests = Requests::new(jmx);
    let start = Instant::now();
    world.make(&kafka).expect("topics, records and commits are written");
    eprintln!(
        "bench: {} groups with {} commits on {} partitions in {:.1} s",
        world.groups,
        world.group_partitions(),
        world.topic_partitions(),
        start.elapsed().as_secs_f64()
    );

    let mut samples: Vec<(String, Vec<Sample>)> = Vec::new();
    let turns = setting("SORDINI_BENCH_TURNS", 3);
    for turn in 0..=turns {
        eprintln!("bench: turn {turn} of {turns}");
        let taken = [
            own::once(&kafka, &requests, &world),
            own::watch(&kafka, &requests, &world),
            klag::run(&kafka, &requests, &world, "klag-exporter", 10),
            klag::run(&kafka, &requests, &world, "klag-exporter, 64 groups at once", 64),
        ];
        for (name, sample) in taken {
            if let Ok(Sample { seconds, peak_mb, .. }) = &sample {
                eprintln!("bench: {name}: {seconds:.3} s, {peak_mb:.0} MB");
            }
            match sample {
                Err(why) => eprintln!("bench: {name}: {why}"),
                Ok(_) if turn == 0 => {}
                Ok(sample) => match samples.iter_mut().find(|(other, _)| *other == name) {
                    Some((_, taken)) => taken.push(sample),
                    None => samples.push((name, vec![sample])),
                },
            }
        }
    }
    print(&world, turns, &samples);
}

fn options(jmx: u16) -> Options {
    let mut options = Options { heap_mb: 1024, ..Options::default() }
        .with("offsets.topic.num.partitions", "8")
        .with("log.retention.check.interval.ms", "300000")
        .with("log.cleaner.backoff.ms", "15000");
    options.java = vec![
        "-XX:TieredStopAtLevel=4".to_owned(), // no hurry to start
        "-Djava.rmi.server.hostname=127.0.0.1".to_owned(),
        "-Dcom.sun.management.jmxremote.host=127.0.0.1".to_owned(),
        format!("-Dcom.sun.management.jmxremote.port={jmx}"),
        format!("-Dcom.sun.management.jmxremote.rmi.port={jmx}"),
        "-Dcom.sun.management.jmxremote.authenticate=false".to_owned(),
        "-Dcom.sun.management.jmxremote.ssl=false".to_owned(),
    ];
    options
}

fn print(world: &World, turns: u32, samples: &[(String, Vec<Sample>)]) {
    println!(
        "{} groups, {} commits on {} partitions; {turns} turns, medians. The broker shares the machine's {} cores.",
        world.groups,
        world.group_partitions(),
        world.topic_partitions(),
        std::thread::available_parallelism().map_or(0, usize::from)
    );
    println!();
    println!("| | seconds a cycle | requests | peak RSS MB | scrape p50 ms | scrape p99 ms | page MB |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for (name, taken) in samples {
        let of = |figure: fn(&Sample) -> Option<f64>| median(taken.iter().filter_map(figure).collect());
        let show = |value: Option<f64>, digits: usize| value.map_or("–".to_owned(), |v| format!("{v:.digits$}"));
        println!(
            "| {name} | {} | {} | {} | {} | {} | {} |",
            show(of(|s| Some(s.seconds)), 3),
            show(of(|s| s.requests), 0),
            show(of(|s| Some(s.peak_mb)), 0),
            show(of(|s| s.scrape.as_ref().map(|scrape| scrape.p50_ms)), 1),
            show(of(|s| s.scrape.as_ref().map(|scrape| scrape.p99_ms)), 1),
            show(of(|s| s.scrape.as_ref().map(|scrape| scrape.page_mb)), 1),
        );
    }
}

fn setting(name: &str, default: u32) -> u32 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: {text:?} is no number")))
}
