//! An Alertmanager that hands over at once what it is told, and can be killed and started again.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::Value;

use crate::process::{Directory, Process};
use crate::{broker, http, install, wait_for};

/// Stops on drop and with the test process.
#[derive(Debug)]
pub struct Alertmanager {
    port: u16,
    process: Option<Process>,
    directory: Directory,
}

impl Alertmanager {
    /// All alerts, each a group of its own, to the webhook at `receiver`, resolved ones too.
    pub fn start(receiver: &str) -> Self {
        Self::with(&format!(
            "route: {{receiver: test, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 4h}}\n\
             receivers: [{{name: test, webhook_configs: [{{url: '{receiver}', send_resolved: true}}]}}]\n"
        ))
    }

    /// With the text of an `alertmanager.yml`.
    pub fn with(config: &str) -> Self {
        install();
        let directory = Directory::new("Alertmanager");
        directory.write("alertmanager.yml", config);
        let mut made = Self { port: broker::free_port(Ipv4Addr::LOCALHOST), process: None, directory };
        made.restart();
        made
    }

    /// Ends it as a crash would. What it has written about notifications sent stays; alerts are only in its memory.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Asks it to end, so that it writes everything down, and waits until it has.
    pub fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            process.terminate();
        }
    }

    /// On the same port and the same storage.
    pub fn restart(&mut self) {
        self.process = None;
        let command = [
            "prometheus-alertmanager".to_owned(),
            format!("--config.file={}", self.directory.join("alertmanager.yml").display()),
            format!("--storage.path={}", self.directory.join("data").display()),
            format!("--web.listen-address=127.0.0.1:{}", self.port),
            "--cluster.listen-address=".to_owned(),
            "--data.maintenance-interval=1s".to_owned(),
            "--log.level=warn".to_owned(),
        ];
        let process = Process::start(&command, &self.directory);
        wait_for("Alertmanager is ready", Duration::from_secs(60), || {
            assert!(process.is_running(), "Alertmanager ended:\n{}", process.log_tail());
            http::is_ready(&self.at("/-/ready")).then_some(())
        });
        self.process = Some(process);
    }

    /// It falls silent, its connections stay open.
    pub fn pause(&self) {
        self.process().pause();
    }

    pub fn resume(&self) {
        self.process().resume();
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn at(&self, path: &str) -> String {
        self.url() + path
    }

    /// The alerts it holds open, as its API tells them.
    pub fn alerts(&self) -> Vec<Value> {
        let answer = http::json(&self.at("/api/v2/alerts"));
        answer.as_array().unwrap_or_else(|| panic!("no list of alerts: {answer}")).clone()
    }

    /// Hands it alerts (`labels`, `annotations`, `startsAt`, `endsAt` …), as a client of the API would.
    pub fn post(&self, alerts: &Value) {
        let answer = http::post(&self.at("/api/v2/alerts"), alerts);
        assert!(matches!(answer, Ok((200, _))), "{alerts}: {answer:?}");
    }

    pub fn log(&self) -> String {
        self.process().log()
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("Alertmanager has been stopped")
    }
}
