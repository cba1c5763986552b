//! A pipeline of two topics, and what sordini says of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use rdkafka::message::{Headers as _, Message, OwnedMessage};
use serde_json::Value;
use sordini_lab::Record;

/// How long a hop may take; longer than anything here, and short enough to wait for.
pub const DEADLINE: &str = "2s";

pub struct Said {
    pub exit: i32,
    pub findings: Vec<Value>,
    pub summary: Value,
    pub err: String,
}

impl Said {
    pub fn of(&self, kind: &str) -> Vec<&Value> {
        self.findings.iter().filter(|finding| finding["kind"] == kind).collect()
    }

    /// Numbers of the transactions that are missing.
    pub fn missing(&self) -> Vec<i64> {
        let mut numbers: Vec<i64> = self
            .of("missing-stage")
            .iter()
            .map(|finding| finding["evidence"]["number"].as_i64().expect("a number"))
            .collect();
        numbers.sort_unstable();
        numbers
    }

    pub fn hop(&self) -> &Value {
        &self.summary["flow"]["stages"][1]["hop"]
    }
}

/// Settings of a flow from `orders` to `payments`.
pub fn settings(dir: &Path, brokers: &str, orders: &str, payments: &str) -> PathBuf {
    let path = dir.join("flow.toml");
    let text = format!(
        "version = 1\n[kafka]\n\"bootstrap.servers\" = \"{brokers}\"\n\n[[flow]]\nname = \"orders\"\nid = \"header:order-id\"\ndeadline = \"{DEADLINE}\"\n\n\
         [[flow.stage]]\nname = \"orders\"\ntopic = \"{orders}\"\nnumber = \"header:number\"\nagree = [\"json:/amount\"]\n\n\
         [[flow.stage]]\nname = \"payments\"\ntopic = \"{payments}\"\nagree = [\"json:/amount\"]\n"
    );
    std::fs::write(&path, text).expect("the directory can be written");
    path
}

pub fn flows(settings: &Path, more: &[&str]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_sordini"))
        .args(["flows", "--format", "json", "-c"])
        .arg(settings)
        .args(more)
        .output()
        .expect("sordini starts");
    let text = String::from_utf8(output.stdout).expect("JSON lines are UTF-8");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect();
    let findings = lines.iter().filter(|line| line["type"] == "finding").cloned().collect();
    let summary = lines.last().cloned().unwrap_or_default();
    Said { exit: output.status.code().expect("it exits"), findings, summary, err }
}

pub fn order(topic: &str, partition: i32, number: u64) -> Record {
    Record::new(topic, partition)
        .key(format!("customer-{}", number % 97))
        .header("order-id", Some(format!("order-{number:09}").as_bytes()))
        .header("number", Some(number.to_string().as_bytes()))
        .value(format!("{{\"amount\":\"{}.{:02}\"}}", number % 500, number % 100))
}

pub fn header<'a>(message: &'a OwnedMessage, name: &str) -> &'a [u8] {
    let headers = message.headers().expect("an order has headers");
    headers.iter().find(|header| header.key == name).and_then(|header| header.value).expect("an order has this header")
}

/// What the worker answers to an order.
pub fn payment(topic: &str, order: &OwnedMessage) -> Record {
    Record::new(topic, 0)
        .key(order.key().unwrap_or_default())
        .header("order-id", Some(header(order, "order-id")))
        .value(order.payload().unwrap_or_default())
}
