//! The ledger at scale, beside a yardstick, fjall and plain sled, in one run: `scripts/bench ledger`.
//!
//! Every case is a process of its own, so that its peak memory is its own. The yardstick is what no exact, durable
//! store can do without: scatter, sort and write the rows, 32 bytes each, and sync. Every figure is CPU time of the
//! whole process, merging included; making the sightings (a hash and a few columns) is in all of them.
//!
//! `SORDINI_BENCH_CASES` chooses the sizes of the ledger (default `10M,100M`; `1G` needs 30 GB of disk),
//! `SORDINI_BENCH_MEMORY` its memory setting in MB (default 512).

mod cases;
mod peers;
mod traffic;

use std::path::Path;
use std::process::Command;

/// One line of the table.
pub struct Line {
    pub name: String,
    pub rows: u64,
    pub wall: f64,
    pub cpu: f64,
    pub note: String,
}

impl Line {
    pub fn of(name: &str, rows: u64, note: String, work: impl FnOnce()) -> Self {
        let (began, cpu) = (std::time::Instant::now(), cpu_seconds());
        work();
        Self { name: name.to_owned(), rows, wall: began.elapsed().as_secs_f64(), cpu: cpu_seconds() - cpu, note }
    }

    fn print(&self) {
        println!("{}\t{}\t{}\t{}\t{}\t{}", self.name, self.rows, self.wall, self.cpu, peak_mb(), self.note);
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, child, case, rest @ ..] = &args[..]
        && child == "child"
    {
        cases::run(case, rest).iter().for_each(Line::print);
        return;
    }
    let work = tempfile::Builder::new().prefix("sordini-ledger-bench-").tempdir().expect("a temporary directory");
    println!("| case | sightings | M/s | ns CPU each | × yardstick | peak MB | |");
    println!("|---|---:|---:|---:|---:|---:|---|");
    let yardstick = table(&["yardstick", "4M"], work.path(), None).expect("the yardstick has a line");
    for size in std::env::var("SORDINI_BENCH_CASES").unwrap_or_else(|_| "10M,100M".to_owned()).split(',') {
        let dir = work.path().join(size);
        for case in ["distinct", "open", "replay", "shuffled", "look-up", "cold"] {
            table(&[case, size], &dir, Some(yardstick));
        }
        std::fs::remove_dir_all(&dir).expect("the ledger of this size goes");
    }
    for (case, size) in [("hot", "25M"), ("fjall", "10M"), ("sled", "1M")] {
        table(&[case, size], &work.path().join(case), Some(yardstick));
    }
}

/// Runs a case and prints its lines; returns the CPU nanoseconds a row of the last.
fn table(case: &[&str], dir: &Path, yardstick: Option<f64>) -> Option<f64> {
    let this = std::env::current_exe().expect("the path of this program");
    let output = Command::new(this).arg("child").args(case).arg(dir).output().expect("the case starts");
    assert!(output.status.success(), "{case:?}: {}", String::from_utf8_lossy(&output.stderr));
    let mut last = None;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, rows, wall, cpu, peak, note] = fields[..] else { panic!("{line}") };
        let number = |text: &str| text.parse::<f64>().expect("a number");
        let (rows, wall, cpu) = (number(rows), number(wall).max(1e-9), number(cpu));
        let each = cpu / rows * 1e9;
        let ratio = yardstick.map_or("1.00".to_owned(), |yardstick| format!("{:.2}", each / yardstick));
        println!("| {name} | {rows} | {:.2} | {each:.0} | {ratio} | {peak} | {note} |", rows / wall / 1e6);
        last = Some(each);
    }
    last
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
    // utime and stime are fields 14 and 15; two stand before the closing bracket. Linux counts 100 ticks a second.
    (ticks(11) + ticks(12)) / 100.0
}

fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() / 1024
}
