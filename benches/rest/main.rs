//! What the daemon costs while nothing happens: `scripts/bench rest`.
//!
//! A thousand partitions that nobody writes to, audited and with groups judged under the shipped settings. Time of the
//! processor is the kernel's count for the process and for each of its threads (proc(5): `stat`, `schedstat`), taken after
//! everything is read and the windows of the groups have filled.
//!
//! `SORDINI_BENCH_TOPICS` (100, of 10 partitions each), `SORDINI_BENCH_GROUPS` (10, on 10 topics each),
//! `SORDINI_BENCH_SETTLE` (90 seconds) and `SORDINI_BENCH_SECONDS` (180) change what is measured.

#[path = "../lag/groups.rs"]
mod groups;
#[path = "../lag/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use groups::World;
use sordini_lab::{Directory, Kafka, Options, Process, free_port, http, wait_for};

const SORDINI: &str = env!("CARGO_BIN_EXE_sordini");
const LIMIT: Duration = Duration::from_secs(120);
/// Of the kernel's clock ticks, as user space is told them on every architecture of Linux.
const TICK: Duration = Duration::from_millis(10);

fn main() {
    let world = World {
        topics: setting("SORDINI_BENCH_TOPICS", 100),
        partitions: 10,
        records_per_partition: 100,
        groups: setting("SORDINI_BENCH_GROUPS", 10),
        topics_per_group: 10,
    };
    let kafka = Kafka::start(Options::default().with("offsets.topic.num.partitions", "50"));
    world.make(&kafka).expect("topics, records and commits are written");
    let directory = Directory::new("sordini watch");
    let port = free_port();
    let daemon = Process::start(&command(&kafka, &directory, port), &directory);
    let records = u64::from(world.topic_partitions() * world.records_per_partition);
    wait_for("everything is read", LIMIT, || {
        assert!(daemon.is_running(), "{}", daemon.log_tail());
        (read(port) == Some(records)).then_some(())
    });
    thread::sleep(seconds("SORDINI_BENCH_SETTLE", 90));

    let (began, before) = (Instant::now(), Spent::of(&daemon));
    thread::sleep(seconds("SORDINI_BENCH_SECONDS", 180));
    let (took, after) = (began.elapsed(), Spent::of(&daemon));
    println!(
        "{} partitions and {} commits of {} groups at rest, the shipped settings, {:.0} s.",
        world.topic_partitions(),
        world.group_partitions(),
        world.groups,
        took.as_secs_f64()
    );
    println!("\n| | % of a core |\n|---|---:|");
    let show = |name: &str, spent: Duration| {
        println!("| {name} | {:.2} |", 100.0 * spent.as_secs_f64() / took.as_secs_f64());
    };
    show("sordini watch", after.all - before.all);
    let mut threads: Vec<(&String, Duration)> =
        after.threads.iter().map(|(name, &spent)| (name, spent.saturating_sub(before.thread(name)))).collect();
    threads.sort_by_key(|(_, spent)| std::cmp::Reverse(*spent));
    threads.iter().for_each(|(name, spent)| show(&format!("– thread {name}"), *spent));
}

/// The shipped settings, with the environment saying where things are.
fn command(kafka: &Kafka, directory: &Directory, port: u16) -> Vec<String> {
    let config = sordini_lab::root().join("config/sordini.toml");
    [
        "env".to_owned(),
        format!("SORDINI__STATE={}", directory.join("state").display()),
        format!("SORDINI__KAFKA__BOOTSTRAP_SERVERS={}", kafka.bootstrap()),
        format!("SORDINI__SERVE__LISTEN=127.0.0.1:{port}"),
        SORDINI.to_owned(),
        "watch".to_owned(),
        "-c".to_owned(),
        config.display().to_string(),
    ]
    .to_vec()
}

/// Records audited so far.
fn read(port: u16) -> Option<u64> {
    let (_, page) = http::get(&format!("http://127.0.0.1:{port}/metrics")).ok()?;
    let of_audit =
        |line: &str| line.strip_prefix("sordini_audit_records_total{")?.rsplit(' ').next()?.parse::<f64>().ok();
    Some(page.lines().filter_map(of_audit).sum::<f64>() as u64)
}

/// Time on a processor since the start.
struct Spent {
    all: Duration,
    /// By name; threads of one name together, those that have ended left out.
    threads: BTreeMap<String, Duration>,
}

impl Spent {
    fn of(process: &Process) -> Self {
        let of_process = format!("/proc/{}", process.id());
        let stat = fs::read_to_string(format!("{of_process}/stat")).expect("the daemon runs");
        // utime and stime are the 14th and 15th field, the name in parentheses is the second.
        let fields = stat.rsplit_once(") ").expect("proc(5)").1.split(' ');
        let ticks: u32 = fields.skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
        let mut threads: BTreeMap<String, Duration> = BTreeMap::new();
        for task in fs::read_dir(format!("{of_process}/task")).expect("the daemon runs").flatten() {
            let of_task = |file: &str| fs::read_to_string(task.path().join(file));
            let (Ok(name), Ok(stat)) = (of_task("comm"), of_task("schedstat")) else { continue };
            let nanoseconds = stat.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or(0);
            *threads.entry(name.trim().to_owned()).or_default() += Duration::from_nanos(nanoseconds);
        }
        Self { all: TICK * ticks, threads }
    }

    fn thread(&self, name: &str) -> Duration {
        self.threads.get(name).copied().unwrap_or_default()
    }
}

fn setting(name: &str, default: u32) -> u32 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: {text:?} is no number")))
}

fn seconds(name: &str, default: u32) -> Duration {
    Duration::from_secs(setting(name, default).into())
}
