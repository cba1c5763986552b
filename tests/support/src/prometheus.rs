//! A Prometheus with its storage in a directory of its own.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::Value;

use crate::process::{Directory, Process};
use crate::{broker, http, install, wait_for};

/// Stops on drop and with the test process.
#[derive(Debug)]
pub struct Prometheus {
    port: u16,
    process: Process,
    directory: Directory,
}

impl Prometheus {
    /// With the text of a `prometheus.yml`. Files that it names need absolute paths.
    pub fn start(config: &str) -> Self {
        install();
        let directory = Directory::new("Prometheus");
        let config = directory.write("prometheus.yml", config);
        let port = broker::free_port(Ipv4Addr::LOCALHOST);
        let command = [
            "prometheus".to_owned(),
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", directory.join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--web.enable-lifecycle".to_owned(),
            "--log.level=warn".to_owned(),
        ];
        let process = Process::start(&command, &directory);
        let made = Self { port, process, directory };
        wait_for("Prometheus is ready", Duration::from_secs(60), || {
            assert!(made.process.is_running(), "Prometheus ended:\n{}", made.process.log_tail());
            http::is_ready(&made.at("/-/ready")).then_some(())
        });
        made
    }

    /// A scrape every second of `target` (HOST:PORT), nothing else.
    pub fn scraping(target: &str) -> Self {
        Self::start(&format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             scrape_configs: [{{job_name: test, static_configs: [{{targets: ['{target}']}}]}}]\n"
        ))
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn at(&self, path: &str) -> String {
        self.url() + path
    }

    /// Labels and value of each series an instant query finds; panics with what is wrong with the expression.
    pub fn query(&self, expression: &str) -> Vec<(Value, f64)> {
        let url = self.at(&format!("/api/v1/query?query={}", http::escape(expression)));
        let answer = http::json(&url);
        let series = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{expression}: {answer}"));
        let number = |series: &Value| series["value"][1].as_str().and_then(|text| text.parse().ok());
        let number = |series: &Value| number(series).unwrap_or_else(|| panic!("{expression}: {series}"));
        series.iter().map(|series| (series["metric"].clone(), number(series))).collect()
    }

    /// The value of the one series that the expression finds; none when it finds another number of them.
    pub fn value(&self, expression: &str) -> Option<f64> {
        match self.query(expression).as_slice() {
            [(_, value)] => Some(*value),
            _ => None,
        }
    }

    /// What the API says about the scrape targets that are active: `health`, `lastError` …
    pub fn targets(&self) -> Vec<Value> {
        self.list("/api/v1/targets?state=active", "activeTargets")
    }

    /// Alerts pending or firing by its rules.
    pub fn alerts(&self) -> Vec<Value> {
        self.list("/api/v1/alerts", "alerts")
    }

    fn list(&self, path: &str, name: &str) -> Vec<Value> {
        let answer = http::json(&self.at(path));
        answer["data"][name].as_array().unwrap_or_else(|| panic!("no {name} in {answer}")).clone()
    }

    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Where its configuration and storage are.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }
}
