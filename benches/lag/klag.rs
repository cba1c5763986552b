//! klag-exporter, as it comes and with more at once.

use std::env;
use std::time::{Duration, Instant};

use sordini_lab::{Directory, Kafka, Process, free_port, http, root};

use crate::groups::World;
use crate::measure::{Requests, Sample, median, peak_mb, scrape};

const CYCLES: usize = 2;
const LIMIT: Duration = Duration::from_secs(900);

/// Its own figure for a cycle, which begins when it is connected.
pub fn run(
    kafka: &Kafka,
    requests: &Requests,
    world: &World,
    name: &str,
    at_once: u32,
) -> (String, Result<Sample, String>) {
    (name.to_owned(), measure(kafka, requests, world, at_once))
}

fn measure(kafka: &Kafka, requests: &Requests, world: &World, at_once: u32) -> Result<Sample, String> {
    let port = free_port();
    let directory = Directory::new("klag-exporter");
    let config = directory.write("klag.toml", &config(&kafka.bootstrap(), port, at_once));
    let own = root().join(".servers/klag/bin/klag-exporter").display().to_string();
    let binary = env::var("KLAG_EXPORTER").unwrap_or(own);
    // Its own word on each cycle. Its page tells it as well, but to fetch that while it works would slow it down.
    let log = "warn,klag_exporter::cluster::manager=debug".to_owned();
    let command = [binary, "--config".to_owned(), config.display().to_string(), "--log-level".to_owned(), log];
    let process = Process::start(&command, &directory);
    let url = format!("http://127.0.0.1:{port}/metrics");

    let first = cycles(&process, 1)?.len(); // with all that is done once
    let before = requests.count();
    let seconds = cycles(&process, first + CYCLES)?;
    let requests = (requests.count() - before) / (seconds.len() - first) as f64;
    let (_, page) = http::get(&url)?;
    let lags = page.lines().filter(|line| line.starts_with("kafka_consumergroup_group_lag{")).count();
    if lags != world.group_partitions() as usize {
        return Err(format!("{lags} of {} lags in its page", world.group_partitions()));
    }
    let scrape = scrape(&url)?;
    let seconds = median(seconds[first..].to_vec()).ok_or("no cycle")?;
    Ok(Sample { seconds, requests: Some(requests), peak_mb: peak_mb(process.id()), scrape: Some(scrape) })
}

/// How long each cycle so far took, as soon as there are `count` of them.
fn cycles(process: &Process, count: usize) -> Result<Vec<f64>, String> {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline && process.is_running() {
        let log = process.log();
        let ended = log.lines().filter(|line| line.contains("Collection cycle completed"));
        let seconds: Vec<_> = ended.filter_map(|line| Some(milliseconds(line)? / 1e3)).collect();
        if seconds.len() >= count {
            return Ok(seconds);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Err(format!("no cycle {count}:\n{}", process.log_tail()))
}

/// The value of `elapsed_ms`, with the colours that it may be written in.
fn milliseconds(line: &str) -> Option<f64> {
    let (_, rest) = line.split_once("elapsed_ms")?;
    let plain: String = rest.split('\u{1b}').map(|part| part.split_once('m').map_or(part, |(_, text)| text)).collect();
    plain.trim_start_matches('=').split(' ').next()?.parse().ok()
}

/// Its defaults, with the partitions' series that sordini has, too. A cycle that takes longer than `poll_interval` is
/// given up.
fn config(bootstrap: &str, port: u16, at_once: u32) -> String {
    format!(
        r#"[exporter]
poll_interval = "15s"
staleness_threshold = "30m"
http_host = "127.0.0.1"
http_port = {port}
granularity = "partition"

[exporter.timestamp_sampling]
enabled = true
mode = "rate"

[exporter.performance]
max_concurrent_groups = {at_once}
max_blocking_threads = {threads}

[exporter.otel]
enabled = false

[[clusters]]
name = "bench"
bootstrap_servers = "{bootstrap}"
group_whitelist = ["^bench-.*"]
group_blacklist = []
topic_whitelist = [".*"]
topic_blacklist = ["^__.*"]
"#,
        threads = at_once + 16
    )
}
