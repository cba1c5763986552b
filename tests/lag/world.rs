//! One broker for nearly all tests, with a watcher on it from the first moment to the last, steady traffic on the topics
//! that want it, and healthy groups beside the ill ones.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use sordini_lab::{Client, Kafka, Options, Record, Worker};

use crate::watch::{self, Watch};

/// How often traffic is written, and how often a worker commits unless it is said otherwise.
const BEAT: Duration = Duration::from_millis(100);
pub const CADENCE: Duration = Duration::from_millis(250);
/// Records per partition and beat.
const RECORDS: usize = 2;

/// Settings of a consumer that sees the records of open transactions. librdkafka's own default hides them.
pub const UNCOMMITTED: &[(&str, &str)] = &[("isolation.level", "read_uncommitted")];

pub struct World {
    pub kafka: Kafka,
    pub watch: Watch,
    traffic: Traffic,
}

/// The broker and the watcher that all tests share; they end with the process.
pub fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let kafka = Kafka::start(Options { authorizer: true, ..Options::secure() });
        let mut plan = watch::plan(&kafka.bootstrap());
        plan.settings.required = vec!["required-and-absent".to_owned()];
        let watch = Watch::start(plan);
        let traffic = Traffic::start(&kafka);
        World { kafka, watch, traffic }
    })
}

impl World {
    /// A new topic that is written to all the time.
    pub fn busy(&self, topic: &str, partitions: i32) {
        self.kafka.create_topic(topic, partitions, &[]);
        self.traffic.on(topic, partitions);
    }

    /// Nothing more is written to the topic.
    pub fn hush(&self, topic: &str) {
        self.traffic.off(topic);
    }

    /// A worker of the group of the topic's name, settled in, on a new busy topic of two partitions.
    pub fn worker(&self, name: &str, settings: &[(&str, &str)]) -> Worker {
        self.busy(name, 2);
        let worker = self.kafka.consumer(name, &[name], settings).work(CADENCE);
        self.watch.settle(name, 3, 5);
        worker
    }
}

pub fn numbered(topic: &str, partition: i32, count: usize) -> Vec<Record> {
    (0..count).map(|n| Record::new(topic, partition).key(format!("k{}", n % 5)).value(n.to_string())).collect()
}

/// Steady traffic from one producer.
pub struct Traffic {
    places: Arc<Mutex<BTreeSet<(String, i32)>>>,
}

impl Traffic {
    /// It goes on until the process ends.
    pub fn start(client: &Client) -> Self {
        let places: Arc<Mutex<BTreeSet<(String, i32)>>> = Arc::default();
        let (theirs, client) = (places.clone(), client.clone());
        thread::spawn(move || {
            let producer = client.producer(&[]);
            loop {
                let places = theirs.lock().expect("no thread panicked");
                for (topic, partition) in places.iter() {
                    numbered(topic, *partition, RECORDS).iter().for_each(|record| producer.send(record));
                }
                // While the places are held, so that what is off is written to no more.
                producer.flush();
                drop(places);
                thread::sleep(BEAT);
            }
        });
        Self { places }
    }

    pub fn on(&self, topic: &str, partitions: i32) {
        let mut places = self.places.lock().expect("no thread panicked");
        places.extend((0..partitions).map(|partition| (topic.to_owned(), partition)));
    }

    pub fn off(&self, topic: &str) {
        self.places.lock().expect("no thread panicked").retain(|(name, _)| name != topic);
    }
}

pub type Scenario = (&'static str, fn(&World));

/// Runs all scenarios at the same time; fails with the names of those that failed.
pub fn play(scenarios: &[Scenario]) {
    let world = world();
    let failed: Vec<&str> = thread::scope(|scope| {
        let start = |&(name, play): &Scenario| {
            let play = move || catch_unwind(AssertUnwindSafe(|| play(world))).is_ok();
            let thread = thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, play);
            (name, thread.expect("a thread can be started"))
        };
        let started: Vec<_> = scenarios.iter().map(start).collect();
        let ended = started.into_iter().map(|(name, thread)| (name, thread.join().unwrap_or(false)));
        ended.filter(|(_, is_well)| !is_well).map(|(name, _)| name).collect()
    });
    assert!(failed.is_empty(), "these failed, see above: {failed:?}");
}
