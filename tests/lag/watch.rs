//! A watcher in the background that judges a cluster once a second, and a memory of all it ever said.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sordini::engine::Clock;
use sordini::lag::collect::Filter;
use sordini::lag::rules::Thresholds;
use sordini::lag::ruleset::Rules;
use sordini::lag::snapshot::{GroupLag, Happened, PartitionLag, Snapshot};
use sordini::lag::tracker::{Settings, State};
use sordini::lag::verdict::Verdict;
use sordini::lag::watcher::{Plan, Watcher};
use sordini::source::Properties;

pub const INTERVAL: Duration = Duration::from_secs(1);
/// Rounds after the threshold within which a verdict must come.
const GRACE: u64 = 2;
/// A fault falls between two rounds, and the first one that sees it does not know since when it lasts.
const EDGE: u64 = 2;
const LIMIT: Duration = Duration::from_secs(60);

/// Short enough for a test, long enough for a busy machine.
pub fn thresholds() -> Thresholds {
    let seconds = Duration::from_secs;
    Thresholds {
        max_time_lag: seconds(8),
        silent_after: seconds(4),
        stall_after: seconds(4),
        no_owner_after: seconds(3),
        rebalance_within: seconds(6),
        rising_after: seconds(4),
        rewind_grace: seconds(2),
        hanging_after: seconds(4),
        flapping_changes: 6,
        flapping_within: seconds(30),
        ..Thresholds::default()
    }
}

/// Rounds from a fault to its verdict, when a threshold of so many seconds has to pass.
pub const fn rounds(threshold_s: u64) -> u64 {
    threshold_s + EDGE + GRACE
}

/// A silence counts once it is twice as long as usual, and polling once a second tells pauses of one or two.
pub const STANDING: u64 = rounds(5);
pub const NO_OWNER: u64 = rounds(4);
pub const AT_ONCE: u64 = rounds(0);

pub fn settings(thresholds: Thresholds) -> Settings {
    let pattern = Filter::pattern("committed-.*").expect("it is a pattern");
    Settings {
        rules: Rules::Default(thresholds.clone()),
        thresholds,
        read_committed: Some(vec![pattern]),
        beyond_for_ms: 3000,
        ..Settings::default()
    }
}

pub fn plan(bootstrap: &str) -> Plan {
    Plan {
        properties: Properties::from([("bootstrap.servers".to_owned(), bootstrap.to_owned())]),
        cluster: None,
        filter: Filter::default(),
        settings: settings(thresholds()),
        interval: INTERVAL,
        offsets_topic: true,
    }
}

/// Everything but ok, as it was said in some round.
#[derive(Clone, Debug)]
pub struct Said {
    pub round: u64,
    pub group: String,
    /// Absent: said of the group as a whole.
    pub partition: Option<(String, i32)>,
    pub verdict: Verdict,
    pub why: String,
}

#[derive(Default)]
struct Memory {
    said: Vec<Said>,
    happened: Vec<Happened>,
    errors: Vec<String>,
    last: Arc<Snapshot>,
    round: u64,
}

pub struct Watch {
    memory: Arc<Mutex<Memory>>,
    stops: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub fn start(plan: Plan) -> Self {
        let memory = Arc::new(Mutex::new(Memory::default()));
        let stops = Arc::new(AtomicBool::new(false));
        let (theirs, ends) = (memory.clone(), stops.clone());
        let thread = thread::spawn(move || run(&plan, &theirs, &ends));
        Self { memory, stops, thread: Some(thread) }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect("no thread panicked")
    }

    pub fn round(&self) -> u64 {
        self.memory().round
    }

    pub fn last(&self) -> Arc<Snapshot> {
        self.memory().last.clone()
    }

    pub fn errors(&self) -> Vec<String> {
        self.memory().errors.clone()
    }

    /// Waits until the next `count` rounds are over.
    pub fn pass(&self, count: u64) {
        let until = self.round() + count;
        let deadline = Instant::now() + LIMIT;
        while self.round() < until {
            assert!(Instant::now() < deadline, "rounds do not go on: {:?}", self.errors());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The first answer to `ask` within so many rounds.
    pub fn within<T>(&self, what: &str, rounds: u64, mut ask: impl FnMut(&Snapshot) -> Option<T>) -> T {
        let from = self.round();
        loop {
            let (round, snapshot) = {
                let memory = self.memory();
                (memory.round, memory.last.clone())
            };
            if let Some(answer) = ask(&snapshot) {
                return answer;
            }
            assert!(round <= from + rounds, "not within {rounds} rounds: {what}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn group(&self, name: &str) -> Option<GroupLag> {
        group(&self.last(), name).cloned()
    }

    /// As it is now; panics when the group is not known there.
    pub fn partition(&self, name: &str, partition: i32) -> PartitionLag {
        let found = self.group(name).and_then(|group| group.partitions.into_iter().find(|p| p.partition == partition));
        found.unwrap_or_else(|| panic!("{name} is not known on partition {partition}"))
    }

    /// The group is well in `rounds` rounds one after the other, and commits are seen so that it has a past.
    pub fn settle(&self, name: &str, rounds: u64, commits: u32) {
        let mut well_since = None;
        let last = std::cell::RefCell::new(String::new());
        let deadline = Instant::now() + LIMIT;
        loop {
            let round = self.round();
            let is_well = self.group(name).is_some_and(|group| {
                *last.borrow_mut() = describe(&group);
                let known = group.partitions.iter().all(|p| p.commits >= commits);
                known && group.judgement.verdict == Verdict::Ok && group.evaluated == group.expected
            });
            let since = *well_since.get_or_insert(round);
            match is_well {
                false => well_since = None,
                true if round >= since + rounds => return,
                true => {}
            }
            assert!(Instant::now() < deadline, "{name} does not come to rest: {}", last.borrow());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The verdict is said of the group's partition within so many rounds.
    pub fn says(&self, name: &str, partition: i32, verdict: Verdict, rounds: u64) -> PartitionLag {
        let last = std::cell::RefCell::new(String::new());
        let what = || format!("{name}[{partition}] is {verdict}; it was {}", last.borrow());
        let from = self.round();
        loop {
            let round = self.round();
            let found = self.group(name).and_then(|group| {
                *last.borrow_mut() = describe(&group);
                let at = |p: &PartitionLag| p.partition == partition && p.judgement.verdict == verdict;
                group.partitions.into_iter().find(at)
            });
            if let Some(found) = found {
                return found;
            }
            assert!(round <= from + rounds, "not within {rounds} rounds: {}", what());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The same of the group as a whole.
    pub fn says_of(&self, name: &str, verdict: Verdict, rounds: u64) -> GroupLag {
        self.within(&format!("{name} is {verdict}: {:?}", self.bad(name)), rounds, |snapshot| {
            group(snapshot, name).filter(|group| group.judgement.verdict == verdict).cloned()
        })
    }

    /// Everything bad that was ever said of a group.
    pub fn bad(&self, name: &str) -> Vec<Said> {
        self.memory().said.iter().filter(|said| said.group == name && said.verdict.is_bad()).cloned().collect()
    }

    /// Nothing bad was ever said of the group but this.
    pub fn only(&self, name: &str, allowed: &[Verdict]) {
        let other: Vec<Said> = self.bad(name).into_iter().filter(|said| !allowed.contains(&said.verdict)).collect();
        assert!(other.is_empty(), "of {name} was also said: {other:#?}");
    }

    /// The same of one partition.
    pub fn only_at(&self, name: &str, partition: i32, allowed: &[Verdict]) {
        let at = |said: &Said| said.partition.as_ref().is_some_and(|(_, p)| *p == partition);
        let all = self.bad(name).into_iter();
        let other: Vec<Said> = all.filter(|said| at(said) && !allowed.contains(&said.verdict)).collect();
        assert!(other.is_empty(), "of {name}[{partition}] was also said: {other:#?}");
    }

    pub fn happened(&self, name: &str) -> Vec<Happened> {
        self.memory().happened.iter().filter(|happened| &*happened.group == name).cloned().collect()
    }

    /// Groups that something bad was said of.
    pub fn blamed(&self) -> BTreeSet<String> {
        self.memory().said.iter().filter(|said| said.verdict.is_bad()).map(|said| said.group.clone()).collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Release);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "the watcher panicked");
    }
}

pub fn group<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a GroupLag> {
    snapshot.groups.iter().find(|group| &*group.group == name)
}

fn describe(group: &GroupLag) -> String {
    let of = |p: &PartitionLag| {
        let judgement = &p.judgement;
        format!("{}[{}] {} ({} commits, {})", p.topic, p.partition, judgement.verdict, p.commits, judgement.why)
    };
    let parts: Vec<String> = group.partitions.iter().map(of).collect();
    format!("{}: {}; {}", group.judgement.verdict, group.judgement.why, parts.join("; "))
}

fn run(plan: &Plan, memory: &Mutex<Memory>, stops: &AtomicBool) {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis() as i64;
    let clock: Clock = Arc::new(now);
    let mut watcher = Watcher::connect(plan, State::default()).expect("the cluster answers");
    while !stops.load(Ordering::Acquire) {
        let next = Instant::now() + plan.interval;
        let round = watcher.round(&clock);
        {
            let mut memory = memory.lock().expect("no thread panicked");
            memory.round += 1;
            match round {
                Ok(snapshot) => memory.keep(snapshot),
                Err(error) => memory.errors.push(error.to_string()),
            }
        }
        while Instant::now() < next && !stops.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Memory {
    fn keep(&mut self, snapshot: Snapshot) {
        for group in &snapshot.groups {
            let all = group.partitions.iter().map(|p| (Some((p.topic.to_string(), p.partition)), &p.judgement));
            for (partition, judgement) in all.chain([(None, &group.judgement)]) {
                if judgement.verdict != Verdict::Ok {
                    self.said.push(Said {
                        round: self.round,
                        group: group.group.to_string(),
                        partition,
                        verdict: judgement.verdict,
                        why: judgement.why.clone(),
                    });
                }
            }
        }
        self.happened.extend(snapshot.happened.iter().cloned());
        self.last = Arc::new(snapshot);
    }
}
