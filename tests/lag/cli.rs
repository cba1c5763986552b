//! `sordini lag` as scripts use it.

use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::world::{numbered, world};

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn lines(&self, kind: &str) -> Vec<Value> {
        let lines = self.out.lines().map(|line| serde_json::from_str::<Value>(line).expect("a JSON object a line"));
        lines.filter(|line| line["type"] == kind).collect()
    }

    fn summary(&self) -> Value {
        let [summary] = &self.lines("summary")[..] else { panic!("{}", self.out) };
        assert_eq!(summary["exit"], self.code);
        summary.clone()
    }
}

fn lag(args: &[&str]) -> Ran {
    let address = world().kafka.bootstrap();
    run(&[&["lag", "-b", &address], args].concat())
}

fn run(args: &[&str]) -> Ran {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_sordini")).args(args).output().expect("sordini starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let code = output.status.code().expect("it exits");
    Ran { code, out: text(output.stdout), err: text(output.stderr) }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis() as i64
}

#[test]
fn scripts_are_told_by_exit_codes_and_json_lines() {
    let kafka = &world().kafka;
    kafka.create_topic("cli", 2, &[]);
    let ten_minutes_ago = now_ms() - 600_000;
    let old = [numbered("cli", 0, 20), numbered("cli", 1, 20)].concat();
    let old: Vec<_> = old.into_iter().map(|record| record.timestamp(ten_minutes_ago)).collect();
    kafka.producer(&[]).send_all(&old);
    kafka.commit_offsets("cli-well", &[("cli", 0, 20), ("cli", 1, 20)]);
    kafka.commit_offsets("cli-behind", &[("cli", 0, 5), ("cli", 1, 20)]);

    let well = lag(&["-g", "cli-well", "--format", "json"]);
    assert_eq!(well.code, 0, "{}{}", well.out, well.err);
    let summary = well.summary();
    assert_eq!((&summary["groups"], &summary["bad"], &summary["rounds"]), (&1.into(), &0.into(), &1.into()));
    assert_eq!((&summary["evaluated"], &summary["expected"]), (&2.into(), &2.into()));
    let partitions = well.lines("lag");
    assert_eq!(partitions.len(), 2);
    for (number, line) in partitions.iter().enumerate() {
        let known: [(&str, Value); 13] = [
            ("group", "cli-well".into()),
            ("topic", "cli".into()),
            ("partition", number.into()),
            ("verdict", "ok".into()),
            ("committed", 20.into()),
            ("log_start", 0.into()),
            ("end", 20.into()),
            ("stable_end", 20.into()),
            ("lag", 0.into()),
            ("record_lag", 0.into()),
            ("time_lag_ms", 0.into()),
            ("lost", 0.into()),
            ("method", "caught-up".into()),
        ];
        for (name, value) in known {
            assert_eq!(line[name], value, "{name} of {line}");
        }
        assert!(line["why"].as_str().is_some_and(|why| !why.is_empty()), "{line}");
    }
    assert_eq!(well.lines("group").len(), 1);

    // One look is enough to see that nobody is there to read, and for how long that has been of consequence.
    let behind = lag(&["-g", "cli-behind", "--format", "json"]);
    assert_eq!(behind.code, 1, "{}{}", behind.out, behind.err);
    let bad = behind.lines("lag").into_iter().find(|line| line["partition"] == 0).expect("it has a line");
    assert_eq!((&bad["verdict"], &bad["lag"], &bad["committed"]), (&"no-owner".into(), &15.into(), &5.into()), "{bad}");
    assert!(bad["time_lag_ms"].as_i64().is_some_and(|ms| ms >= 600_000) && bad["method"] == "record", "{bad}");

    let both = lag(&["-g", "cli-.*"]);
    assert_eq!(both.code, 1, "{}{}", both.out, both.err);
    assert!(both.out.contains("cli-well") && both.out.contains("cli-behind") && both.out.contains("no-owner"));
    let part = lag(&["-g", "cli", "--format", "json"]);
    assert_eq!((part.code, part.lines("lag").len()), (2, 0), "{}", part.out);
    assert!(part.err.contains("no group fits cli"), "{}", part.err);
    let excluded = lag(&["-g", "cli-.*", "--exclude-group", ".*behind"]);
    assert_eq!(excluded.code, 0, "{}{}", excluded.out, excluded.err);
    let required = lag(&["-g", "cli-well", "--require", "cli-missing"]);
    assert_eq!(required.code, 1, "{}{}", required.out, required.err);
    assert!(required.out.contains("absent"), "{}", required.out);
}

/// A member that has committed nothing: there is nothing to be said yet.
#[test]
fn a_group_of_which_nothing_is_known_is_inconclusive() {
    let kafka = &world().kafka;
    kafka.create_topic("cli-new", 1, &[]);
    kafka.producer(&[]).send_all(&numbered("cli-new", 0, 20));
    let _member = kafka.consumer("fresh", &["cli-new"], &[]);
    let ran = lag(&["-g", "fresh", "--format", "json"]);
    assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
    let lines = ran.lines("lag");
    assert_eq!(lines.len(), 1, "{}", ran.out);
    for figure in ["committed", "lag", "record_lag", "time_lag_ms", "lost"] {
        assert!(lines[0].get(figure).is_none(), "{figure} of {}", lines[0]);
        assert!(lines[0]["unknown"][figure].is_string(), "{figure} of {}", lines[0]);
    }
    assert_eq!(lines[0]["end"], 20);
}

#[test]
fn it_looks_again_and_again_and_then_ends() {
    let kafka = &world().kafka;
    kafka.create_topic("cli-again", 1, &[]);
    kafka.commit_offsets("again", &[("cli-again", 0, 0)]);
    let began = Instant::now();
    let ran = lag(&["-g", "again", "--format", "json", "--interval", "1s", "--for", "3s"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    let rounds = ran.summary()["rounds"].as_u64().expect("a number");
    assert!((2..=4).contains(&rounds), "{rounds}");
    assert_eq!(ran.lines("lag").len() as u64, rounds);
    assert!(began.elapsed() >= Duration::from_secs(2) && began.elapsed() < Duration::from_secs(20));
}

/// Records go long before their time, and the brokers tell how full their volumes are.
#[test]
fn it_foresees_what_becomes_of_the_logs() {
    let kafka = &world().kafka;
    kafka.create_topic("cli-room", 1, &[("retention.ms", "86400000")]);
    kafka.commit_offsets("room", &[("cli-room", 0, 0)]);
    let producer = kafka.producer(&[]);
    let ran = thread::scope(|scope| {
        scope.spawn(|| {
            for step in 1..=6 {
                producer.send_all(&numbered("cli-room", 0, 10));
                kafka.delete_records("cli-room", 0, step * 10 - 5);
                thread::sleep(Duration::from_secs(1));
            }
        });
        lag(&["-g", "room", "--format", "json", "--interval", "1s", "--for", "8s"])
    });
    // It leaves nothing unread: others compare every group with what Kafka's own tool says, which counts what is deleted, too.
    kafka.commit_offsets("room", &[("cli-room", 0, 60)]);
    let logs = ran.lines("log");
    let last = logs.iter().rfind(|line| line["topic"] == "cli-room").expect("a forecast");
    assert_eq!(last["forecast"]["what"], "retention-fills", "{last}");
    assert!(last["forecast"]["at_ms"].is_i64(), "it is so already: {last}");
    let volumes = ran.lines("volume");
    let volume = volumes.last().expect("a volume");
    let bytes = |name: &str| volume[name].as_u64().expect("a number");
    assert!(bytes("usable_bytes") > 0 && bytes("usable_bytes") < bytes("total_bytes"), "{volume}");
}

#[test]
fn what_cannot_be_reached_is_named() {
    let address = format!("127.0.0.1:{}", sordini_lab::free_port());
    let ran = run(&["lag", "-b", &address, "-X", "socket.timeout.ms=3000"]);
    assert_eq!(ran.code, 2, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains(&address), "{}", ran.err);
    let ran = run(&["lag", "-b", &address, "--interval", "0s"]);
    assert_eq!(ran.code, 2, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("--interval"), "{}", ran.err);
}
