use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use sordini::alert::book::Evaluated;
use sordini::alert::incident::{Key, Observed};
use sordini::alert::{Dispatcher, Place};

/// Everything at once, so that a test takes seconds.
const QUICK: &str = "group-wait = \"0s\"\ngroup-interval = \"0s\"\nresolve-after = \"0s\"\n\
    [[rule]]\nkind = \"lag-*\"\nfor = \"0s\"\nrunbook = \"https://wiki.example.org/{kind}?group={group}\"\n";

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

pub fn start(dir: &Path, sink: &str) -> Dispatcher {
    let place = Place {
        cluster: "prod".to_owned(),
        instance: "sordini-1".to_owned(),
        external_url: "http://sordini.example.org".to_owned(),
    };
    let config = toml::from_str(&format!("{QUICK}{sink}")).unwrap();
    Dispatcher::start(&config, dir, place, Arc::new(now_ms)).unwrap()
}

/// A consumer that stopped.
pub fn stopped(group: &str) -> Observed {
    Observed {
        key: Key {
            kind: "lag-stop".to_owned(),
            group: Some(group.to_owned()),
            topic: Some("orders".to_owned()),
            partition: Some(3),
        },
        why: "no commit for 5m, 1,204 records to read".to_owned(),
        amount: 1_204,
        command: format!("sordini lag -b kafka:9092 -g {group}"),
        findings: vec![],
        is_event: false,
    }
}

/// A round that looked at everything.
pub fn all() -> Evaluated {
    Evaluated::kinds(["*"])
}
