use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sordini::ledger::{Ledger, Options, Producer, Repeat, Settled, Sightings};
use xxhash_rust::xxh3::xxh3_64;

/// Names the directory of the ledger to a child process.
pub const LEDGER: &str = "SORDINI_TEST_LEDGER";

pub fn open(dir: &Path, memory_bytes: usize, horizon_seconds: u64, durable: bool) -> Ledger {
    Ledger::open(dir, Options { memory_bytes, horizon_seconds, durable }).unwrap()
}

pub fn settle(ledger: &mut Ledger, newest: u32, repeat: &mut dyn FnMut(Repeat)) -> Settled {
    ledger.settle(newest, repeat).unwrap()
}

/// Settles what is buffered, all of it new, with the stream time at `newest`.
pub fn settle_new(ledger: &mut Ledger, newest: u32) {
    settle(ledger, newest, &mut |repeat| panic!("nothing repeats: {repeat:?}"));
}

/// Evenly spread, and different for every number.
pub fn identity(number: u64) -> u128 {
    u128::from(xxh3_64(&number.to_le_bytes())) << 64 | u128::from(number)
}

/// Identities `numbers`, their number as offset, all of one second.
pub fn stretch(numbers: std::ops::Range<u64>, second: u32) -> Sightings {
    let rows = (numbers.end - numbers.start) as usize;
    Sightings {
        partition: 3,
        offsets: (numbers.start as i64..numbers.end as i64).collect(),
        timestamps: vec![i64::from(second) * 1000; rows],
        identities: numbers.clone().map(identity).collect(),
        checksums: numbers.map(|number| number.wrapping_mul(7)).collect(),
        producers: vec![(0, Producer { id: 4, epoch: 0 })],
    }
}

/// An ignored test of this binary, to be run as a process of its own on the ledger in `dir`.
pub fn child(test: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(LEDGER, dir).stdout(Stdio::piped()).stdin(Stdio::null());
    command
}

/// The directory a child is to use.
pub fn directory() -> PathBuf {
    std::env::var_os(LEDGER).expect("this is no test but the child of one, which names a directory").into()
}

pub fn number_from(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |value| value.parse().expect("a number"))
}

/// Sizes of the plain files in a directory and below it.
pub fn sizes(dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut sizes = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => sizes.extend(self::sizes(&entry.path())),
            false => sizes.push((entry.path(), entry.metadata().unwrap().len())),
        }
    }
    sizes
}
