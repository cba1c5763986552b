use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use sordini_lab::{Client, Record, http, wait_for};

pub const LIMIT: Duration = Duration::from_secs(60);

/// Everything fast, so that a test takes seconds.
pub const QUICK: &str = r#"
[lag.thresholds]
no-owner-after = "2s"
silent-after = "5s"
stall-after = "5s"
rebalance-within = "5s"
[alert]
group-wait = "0s"
group-interval = "0s"
resolve-after = "2s"
[[alert.rule]]
kind = "lag-*"
for = "0s"
runbook = "https://runbooks.example.com/{kind}?group={group}"
[[alert.rule]]
kind = "*"
for = "10m"
"#;

pub struct Daemon {
    child: Option<Child>,
    pub dir: tempfile::TempDir,
    pub port: u16,
}

impl Daemon {
    /// Audits topics and watches one group, with the settings of a test behind the common ones. Tests share a broker, so
    /// each looks at what is its own.
    pub fn start(kafka: &str, topics: &str, group: &str, more: &str) -> Self {
        let mut daemon = Self::new();
        daemon.write(kafka, topics, group, more);
        daemon.run();
        daemon
    }

    /// Not running yet, and without settings.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { child: None, dir, port: sordini_lab::free_port() }
    }

    pub fn write(&self, kafka: &str, topics: &str, group: &str, more: &str) {
        self.write_with_rules(kafka, topics, "", group, more);
    }

    /// With rules of the audit, lines of its table.
    pub fn write_with_rules(&self, kafka: &str, topics: &str, rules: &str, group: &str, more: &str) {
        let state = self.dir.path().join("state");
        let text = format!(
            "version = 1\ncluster = \"lab\"\nstate = {state:?}\n[kafka]\n\"bootstrap.servers\" = \"{kafka}\"\n\
             [[audit]]\nname = \"main\"\ntopics = [\"{topics}\"]\n{rules}\
             [lag]\ninterval = \"1s\"\ngroups = [\"{group}\"]\n{QUICK}{more}\n\
             [serve]\nlisten = \"127.0.0.1:{}\"\ncompat = [\"kafka_exporter\", \"lag_exporter\"]\n",
            self.port
        );
        fs::write(self.config(), text).unwrap();
    }

    pub fn config(&self) -> std::path::PathBuf {
        self.dir.path().join("sordini.toml")
    }

    pub fn run(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sordini"));
        command.args(["-v", "watch", "-c"]).arg(self.config()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        wait_for(&format!("the daemon is ready; {}", self.log()), LIMIT, || {
            http::get(&self.url("/readyz")).is_ok_and(|(status, _)| status == 200).then_some(())
        });
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn json(&self, path: &str) -> Value {
        http::json(&self.url(path))
    }

    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn signal(&self, name: &str) {
        let id = self.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Waits for its end; gives the exit code.
    pub fn ended(&mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        wait_for("the daemon ends", LIMIT, || child.try_wait().unwrap()).code()
    }

    pub fn verdict(&self, group: &str) -> Option<String> {
        let (status, body) = http::get(&self.url(&format!("/api/v1/groups/{group}"))).ok()?;
        let group: Value = (status == 200).then(|| serde_json::from_str(&body).unwrap())?;
        group["verdict"].as_str().map(str::to_owned)
    }

    pub fn wait_for_verdict(&self, group: &str, wanted: &str) {
        let deadline = std::time::Instant::now() + LIMIT;
        while self.verdict(group).as_deref() != Some(wanted) {
            let late = std::time::Instant::now() > deadline;
            assert!(
                !late,
                "{group} is not {wanted}: {:?}\n{}",
                http::get(&self.url(&format!("/api/v1/groups/{group}"))),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It is gone or it is killed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub fn fill(client: &Client, topic: &str, records: usize) {
    let producer = client.producer(&[]);
    let all: Vec<Record> = (0..records).map(|n| Record::new(topic, 0).value(n.to_string())).collect();
    producer.send_all(&all);
}

/// A name nobody else uses.
pub fn name(what: &str) -> String {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("{what}-{}-{count}", std::process::id())
}
