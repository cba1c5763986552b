//! What is measured from outside: the broker's count of requests, a process's memory, the time of a scrape.

use std::fs;
use std::time::{Duration, Instant};

use sordini_lab::{http, java};

/// Of one reader in one turn.
pub struct Sample {
    pub seconds: f64,
    /// A cycle.
    pub requests: Option<f64>,
    pub peak_mb: f64,
    pub scrape: Option<Scrape>,
}

pub struct Scrape {
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub page_mb: f64,
}

/// What brokers and controllers say to one another; in a broker alone, to itself.
const INTERNAL: &[&str] = &[
    "AllocateProducerIds",
    "AlterPartition",
    "AssignReplicasToDirs",
    "BrokerHeartbeat",
    "BrokerRegistration",
    "Fetch",
    "FetchFollower",
    "FetchSnapshot",
    "Vote",
    "WriteTxnMarkers",
];

pub struct Requests {
    url: String,
}

impl Requests {
    pub fn new(jmx: u16) -> Self {
        Self { url: format!("service:jmx:rmi:///jndi/rmi://127.0.0.1:{jmx}/jmxrmi") }
    }

    /// All so far.
    pub fn count(&self) -> f64 {
        let names = "kafka.network:type=RequestMetrics,name=RequestsPerSec,*";
        let args = ["--jmx-url", &self.url, "--object-name", names, "--attributes", "Count", "--one-time"];
        let args = [&args[..], &["--report-format", "properties"]].concat();
        let text = java::run("org.apache.kafka.tools.JmxTool", &args);
        let counts = text.lines().filter_map(|line| {
            let request = line.split("request=").nth(1)?.split([',', ':']).next()?;
            if INTERNAL.contains(&request) { None } else { line.rsplit('=').next()?.trim().parse::<f64>().ok() }
        });
        counts.sum()
    }
}

/// Of a running process.
pub fn peak_mb(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kb.map_or(f64::NAN, |kb| kb / 1024.0)
}

/// Of 200 scrapes one after another, fewer when they take longer than half a minute; each on a connection of its own, the page read to its end.
pub fn scrape(url: &str) -> Result<Scrape, String> {
    let mut page = 0;
    let mut times = Vec::new();
    let begin = Instant::now();
    while times.len() < 200 && begin.elapsed() < Duration::from_secs(30) {
        let start = Instant::now();
        let (status, body) = http::get(url)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        page = body.len();
        if status != 200 {
            return Err(format!("{url}: status {status}"));
        }
    }
    times.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    Ok(Scrape { p50_ms: at(0.5), p99_ms: at(0.99), page_mb: page as f64 / 1e6 })
}

/// The value of the one series of this name and these labels, in a page of metrics.
pub fn value(page: &str, series: &str) -> Option<f64> {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line?.split(' ').next()?.parse().ok()
}

pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let upper = values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some((upper + lower) / 2.0)
}
