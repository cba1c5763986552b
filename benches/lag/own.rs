//! sordini: the command that looks once, and the daemon.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use sordini_lab::{Directory, Kafka, Process, free_port, http};

use crate::groups::World;
use crate::measure::{Requests, Sample, median, peak_mb, scrape, value};

const SORDINI: &str = env!("CARGO_BIN_EXE_sordini");
const ROUNDS: usize = 3;
const LIMIT: Duration = Duration::from_secs(120);

/// From the start of the process to its end.
pub fn once(kafka: &Kafka, requests: &Requests, world: &World) -> (String, Result<Sample, String>) {
    ("sordini lag, process and all".to_owned(), look_once(kafka, requests, world))
}

/// A round of the daemon, by its own metrics.
pub fn watch(kafka: &Kafka, requests: &Requests, world: &World) -> (String, Result<Sample, String>) {
    ("sordini watch".to_owned(), look_on(kafka, requests, world))
}

fn look_once(kafka: &Kafka, requests: &Requests, world: &World) -> Result<Sample, String> {
    let directory = Directory::new("sordini lag");
    let [out, errors, memory] = ["out", "errors", "memory"].map(|name| directory.join(name));
    let (mut times, mut peaks) = (Vec::new(), Vec::new());
    let before = requests.count();
    for _ in 0..ROUNDS {
        let file = |path| fs::File::create(path).map_err(|error| error.to_string());
        let start = Instant::now();
        let status = Command::new("/usr/bin/time")
            .args(["-q", "-f", "%M", "-o"])
            .arg(&memory)
            .args([SORDINI, "lag", "-b", &kafka.bootstrap(), "--format", "json"])
            .stdin(Stdio::null())
            .stdout(file(&out)?)
            .stderr(file(&errors)?)
            .status()
            .map_err(|error| format!("/usr/bin/time: {error}"))?;
        times.push(start.elapsed().as_secs_f64());
        // 1 says that a group is bad, and 3 that one look is too little to judge groups by. Figures are there all the same.
        if !matches!(status.code(), Some(0 | 1 | 3)) {
            return Err(format!("{status}: {}", fs::read_to_string(&errors).unwrap_or_default().trim()));
        }
        let text = fs::read_to_string(&memory).map_err(|error| error.to_string())?;
        peaks.push(text.trim().parse::<f64>().map_err(|_| format!("no memory in {text:?}"))? / 1024.0);
    }
    let requests = (requests.count() - before) / ROUNDS as f64;
    let lines = fs::read_to_string(&out).map_err(|error| error.to_string())?;
    let known = lines.lines().filter(|line| {
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        let group = line["group"].as_str().unwrap_or_default();
        line["type"] == "lag" && line["lag"].is_u64() && group.starts_with("bench-")
    });
    complete(known.count(), world)?;
    let seconds = median(times).ok_or("no run")?;
    Ok(Sample { seconds, requests: Some(requests), peak_mb: median(peaks).ok_or("no run")?, scrape: None })
}

fn complete(lags: usize, world: &World) -> Result<(), String> {
    let expected = world.group_partitions() as usize;
    if lags == expected { Ok(()) } else { Err(format!("{lags} of {expected} lags are known")) }
}

fn look_on(kafka: &Kafka, requests: &Requests, world: &World) -> Result<Sample, String> {
    let directory = Directory::new("sordini watch");
    let port = free_port();
    let config = config(&kafka.bootstrap(), &directory.join("state").display().to_string(), port);
    let config = directory.write("sordini.toml", &config);
    let command = [SORDINI.to_owned(), "watch".to_owned(), "-c".to_owned(), config.display().to_string()];
    let process = Process::start(&command, &directory);
    let url = format!("http://127.0.0.1:{port}/metrics");

    let rounds = || http::get(&url).ok().and_then(|(_, page)| value(&page, "sordini_lag_rounds_total"));
    let reach = |count: f64| {
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline && process.is_running() {
            match rounds() {
                Some(ended) if ended >= count => return Ok(ended),
                _ => std::thread::sleep(Duration::from_millis(200)),
            }
        }
        Err(format!("no round {count}:\n{}", process.log_tail()))
    };
    let first = reach(2.0)?; // the first reads what has been committed so far
    let before = requests.count();
    let mut seconds = Vec::new();
    let mut last = first;
    while seconds.len() < ROUNDS {
        last = reach(last + 1.0)?;
        let (_, page) = http::get(&url)?;
        seconds.extend(value(&page, "sordini_lag_round_seconds"));
    }
    let requests = (requests.count() - before) / (last - first);
    let (_, page) = http::get(&url)?;
    let known = page.lines().filter(|line| line.starts_with("sordini_group_partition_lag_offsets{group=\"bench-"));
    complete(known.count(), world)?;
    let scrape = scrape(&url)?;
    let seconds = median(seconds).ok_or("no round")?;
    Ok(Sample { seconds, requests: Some(requests), peak_mb: peak_mb(process.id()), scrape: Some(scrape) })
}

/// Both families of other exporters, too, so that the page is as long as it gets.
fn config(bootstrap: &str, state: &str, port: u16) -> String {
    format!(
        r#"version = 1
state = "{state}"

[kafka]
"bootstrap.servers" = "{bootstrap}"

[lag]
interval = "4s"

[serve]
listen = "127.0.0.1:{port}"
compat = ["kafka_exporter", "lag_exporter"]
"#
    )
}
