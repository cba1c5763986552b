//! A topic, the table it is written to, and what sordini says of both.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use postgres::Client;
use serde_json::Value;
use sordini_lab::{Kafka, Postgres, Record, postgres as server};

pub struct Said {
    pub exit: i32,
    pub findings: Vec<Value>,
    pub summary: Value,
    pub err: String,
}

impl Said {
    /// Kind and key of each finding, in order.
    pub fn drift(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let key = |finding: &Value| {
            let columns = finding["key"].as_object().expect("a finding has a key");
            columns.values().map(text).collect::<Vec<_>>().join(",")
        };
        let mut drift: Vec<_> = self.findings.iter().map(|finding| (text(&finding["kind"]), key(finding))).collect();
        drift.sort();
        drift
    }

    pub fn drift_summary(&self) -> &Value {
        &self.summary["drift"]
    }

    #[track_caller]
    pub fn must_exit(&self, code: i32) {
        assert_eq!(self.exit, code, "{}\n{:#?}\n{:#}", self.err, self.findings, self.summary);
    }
}

pub fn drift(args: &[&str]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_sordini"))
        .args(["drift", "--format", "json", "--settle", "1s"])
        .args(args)
        .output()
        .expect("sordini starts");
    let text = String::from_utf8(output.stdout).expect("JSON lines are UTF-8");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let of = |kind: &str| lines.iter().filter(|line| line["type"] == kind).cloned().collect::<Vec<_>>();
    Said {
        exit: output.status.code().expect("sordini exits"),
        findings: of("finding"),
        summary: of("summary").pop().unwrap_or_default(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A topic and a table of its own name, in a database of its own.
pub struct Pair {
    pub kafka: &'static Kafka,
    pub postgres: &'static Postgres,
    pub name: String,
    pub partitions: i32,
}

impl Pair {
    pub fn new(what: &str, partitions: i32) -> Self {
        Self::with(what, partitions, &[])
    }

    /// With settings of the topic.
    pub fn with(what: &str, partitions: i32, settings: &[(&str, &str)]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("{what}_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let (kafka, postgres) = (sordini_lab::shared(), server::shared());
        // Times of long ago do not expire.
        kafka.create_topic(&name, partitions, &[&[("retention.ms", "-1")], settings].concat());
        Self { kafka, postgres, name, partitions }
    }

    /// The table is `items` with these columns.
    pub fn table(&self, columns: &str) -> Client {
        let mut client = self.postgres.database(&self.name);
        client.batch_execute(&format!("CREATE TABLE items ({columns})")).expect("the columns are SQL");
        client
    }

    /// A topic of two records, all of them committed, and a table that agrees.
    pub fn two_rows(&self) -> Client {
        let mut client = self.table("id int PRIMARY KEY, note text");
        let producer = self.kafka.producer(&[]);
        for key in 1..=2 {
            producer.send(&self.record(key, Some("{\"note\":\"x\"}")));
        }
        producer.flush();
        self.commit_all();
        client.batch_execute("INSERT INTO items VALUES (1, 'x'), (2, 'x')").expect("rows");
        client
    }

    pub fn group(&self) -> String {
        format!("sink-{}", self.name)
    }

    pub fn topic_url(&self, options: &str) -> String {
        format!("kafka://{}/{}{options}", self.kafka.bootstrap(), self.name)
    }

    pub fn table_url(&self, options: &str) -> String {
        format!("{}?table=items{options}", self.postgres.url_as("audit", &self.name))
    }

    pub fn partition_of(&self, key: i64) -> i32 {
        (key % i64::from(self.partitions)) as i32
    }

    pub fn record(&self, key: i64, value: Option<&str>) -> Record {
        let record = Record::new(&self.name, self.partition_of(key)).key(key.to_string());
        match value {
            Some(value) => record.value(value),
            None => record,
        }
    }

    /// The group says that it has written everything.
    pub fn commit_all(&self) {
        let ends: Vec<(&str, i32, i64)> = (0..self.partitions)
            .map(|partition| (self.name.as_str(), partition, self.kafka.watermarks(&self.name, partition).1))
            .collect();
        self.kafka.commit_offsets(&self.group(), &ends);
    }

    pub fn audit(&self, more: &[&str]) -> Said {
        let (topic, table, group) = (self.topic_url(""), self.table_url(""), self.group());
        let mut args = vec![topic.as_str(), table.as_str(), "--group", group.as_str()];
        args.extend(more);
        drift(&args)
    }
}
