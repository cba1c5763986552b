//! klag-exporter, as it comes and with more at once.

use std::env;
use std::time::{Duration, Instant};

use sordini_lab::{Directory, Kafka, Process, free_port, http, root};

use crate::groups::World;
use crate::measure::{Requests, Sample, median, peak_mb, scrape, value};

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
    let command = [binary, "--config".to_owned(), config.display().to_string(), "-l".to_owned(), "warn".to_owned()];
    let process = Process::start(&command, &directory);
    let url = format!("http://127.0.0.1:{port}/metrics");

    let mut cycles = Cycles { url: &url, process: &process, last: 0.0, seconds: Vec::new() };
    cycles.next()?; // the first, with all that is done once
    cycles.seconds.clear();
    let before = requests.count();
    for _ in 0..CYCLES {
        cycles.next()?;
    }
    let requests = (requests.count() - before) / CYCLES as f64;
    let (_, page) = http::get(&url)?;
    let lags = page.lines().filter(|line| line.starts_with("kafka_consumergroup_group_lag{")).count();
    if lags != world.group_partitions() as usize {
        return Err(format!("{lags} of {} lags in its page", world.group_partitions()));
    }
    let scrape = scrape(&url)?;
    let seconds = median(cycles.seconds).ok_or("no cycle")?;
    Ok(Sample { seconds, requests: Some(requests), peak_mb: peak_mb(process.id()), scrape: Some(scrape) })
}

struct Cycles<'a> {
    url: &'a str,
    process: &'a Process,
    /// When the last one ended, as it says itself.
    last: f64,
    seconds: Vec<f64>,
}

impl Cycles<'_> {
    fn next(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            if !self.process.is_running() {
                return Err(format!("it ended:\n{}", self.process.log_tail()));
            }
            if let Ok((200, page)) = http::get(self.url)
                && let Some(seconds) = value(&page, "kafka_lag_exporter_scrape_duration_seconds")
                && let Some(updated) = updated(&page)
                && updated > self.last
                && seconds > 0.0
            {
                self.last = updated;
                self.seconds.push(seconds);
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        Err(format!("no cycle came to an end in {LIMIT:?}"))
    }
}

fn updated(page: &str) -> Option<f64> {
    let line = page.lines().find(|line| line.starts_with("kafka_lag_exporter_last_update_timestamp_seconds"))?;
    line.rsplit(' ').next()?.parse().ok()
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
