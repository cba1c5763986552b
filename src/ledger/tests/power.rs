//! Power loss at every moment: a short history with merges, dropped generations, a failed commit and a restart is
//! recorded change by change; after every one of them directories are built as a power loss could leave them. What was
//! synced is there; each of the other changes is there, is not, or is there by half, in any order.

use std::collections::HashSet;
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use super::disk::{Disk, Mark, Op};
use super::{Faults, Ledger, LedgerError, identity, open, small, stretch};
use crate::ledger::store::Tuning;

const ROWS: u64 = 24;
/// Rounds that outlive the commits after theirs.
const KEPT: u64 = 3;
const ROUNDS: u64 = 5;

fn tuning(faults: Faults) -> Tuning {
    Tuning { faults, durable: true, ..small(20) }
}

/// Two runs of one generation, and an entry that replaces another.
fn settle_round(ledger: &mut Ledger, round: u64) {
    let first = round * ROWS;
    for from in [first, first + ROWS / 2] {
        let mut sightings = stretch(from as i64, from..from + ROWS / 2);
        sightings.timestamps.fill(round as i64 * 10_000);
        ledger.insert(&sightings).unwrap();
        assert_eq!(super::settle_at(ledger, round as u32 * 10), []);
    }
}

fn entry(round: u64) -> (u128, Vec<u8>) {
    (u128::from(round % 2), vec![round as u8; 900])
}

fn commit(ledger: &mut Ledger, round: u64) -> Result<(), LedgerError> {
    // The runs of `KEPT` rounds before are past the horizon by now.
    ledger.commit(&[round as u8; 700], &[entry(round)], round as u32 * 10)
}

/// The history, and what it did to the disk.
fn record() -> Vec<Op> {
    let dir = tempfile::tempdir().unwrap();
    let tuning = tuning(Faults::recording());
    let mut ledger = open(dir.path(), &tuning);
    for round in 0..ROUNDS {
        settle_round(&mut ledger, round);
        if round == 3 {
            // The journal is appended to and synced, the state is torn: the next opening has something to clean up.
            tuning.faults.mark(Mark::Begun(round));
            tuning.faults.arm(3);
            assert!(matches!(commit(&mut ledger, round), Err(LedgerError::DiskFull { .. })));
            tuning.faults.arm(i64::MAX);
            drop(ledger);
            ledger = open(dir.path(), &tuning);
            settle_round(&mut ledger, round);
        }
        tuning.faults.mark(Mark::Begun(round));
        commit(&mut ledger, round).unwrap();
        tuning.faults.mark(Mark::Acknowledged(round));
    }
    tuning.faults.history()
}

/// Asserts that everything in the ledger is of one commit; how many rounds were committed.
fn rounds_in(ledger: &Ledger) -> u64 {
    let rounds = ledger.state().map_or(0, |state| {
        assert_eq!(state, [state[0]; 700]);
        u64::from(state[0]) + 1
    });
    let kept = rounds.saturating_sub(KEPT)..rounds;
    assert_eq!(ledger.stats().rows, ROWS * (kept.end - kept.start));
    for number in 0..ROUNDS * ROWS {
        let found = ledger.find(identity(number)).unwrap().map(|seen| seen.offset);
        assert_eq!(found, kept.contains(&(number / ROWS)).then_some(number as i64), "{number} after {rounds}");
    }
    let newest = |key: u64| (0..rounds).rev().find(|round| round % 2 == key).map(entry);
    let entries: Vec<_> = ledger.entries().unwrap().map(Result::unwrap).collect();
    assert_eq!(entries, [newest(0), newest(1)].into_iter().flatten().collect::<Vec<_>>());
    rounds
}

/// What a disk holds for certain, and what it was told and may or may not have done.
#[derive(Clone, Default)]
struct Moment {
    synced: Disk,
    pending: Vec<Op>,
    acknowledged: u64,
    begun: u64,
}

impl Moment {
    fn after(&mut self, op: &Op) {
        let (done, pending) = match op {
            Op::Mark(Mark::Begun(round)) => return self.begun = round + 1,
            Op::Mark(Mark::Acknowledged(round)) => return self.acknowledged = round + 1,
            Op::SyncFile { file: synced } => std::mem::take(&mut self.pending).into_iter().partition(
                |op| matches!(op, Op::Write { file, .. } | Op::Cut { file, .. } if file == synced),
            ),
            Op::SyncDir { name: synced } => std::mem::take(&mut self.pending).into_iter().partition(
                |op| matches!(op, Op::Link { name, .. } | Op::Unlink { name } | Op::Rename { to: name, .. } if dir_of(name) == synced),
            ),
            op => return self.pending.push(op.clone()),
        };
        let done: Vec<Op> = done;
        done.iter().for_each(|op| self.synced.apply(op));
        self.pending = pending;
    }

    fn world(&self, what_is_left: impl Fn(usize, &Op) -> Left) -> Disk {
        let mut disk = self.synced.clone();
        for (at, op) in self.pending.iter().enumerate() {
            match (what_is_left(at, op), op) {
                (Left::All, op) => disk.apply(op),
                (Left::Half, Op::Write { file, at, bytes }) => {
                    disk.apply(&Op::Write { file: *file, at: *at, bytes: bytes[..bytes.len() / 2].to_vec() });
                }
                (Left::OtherHalf, Op::Write { file, at, bytes }) => {
                    let half = bytes.len() / 2;
                    disk.apply(&Op::Write { file: *file, at: at + half, bytes: bytes[half..].to_vec() });
                }
                (Left::Length, Op::Write { file, at, bytes }) => {
                    let len = disk.files.get(file).map_or(0, Vec::len);
                    disk.apply(&Op::Cut { file: *file, len: len.max(at + bytes.len()) });
                }
                (Left::Half | Left::OtherHalf | Left::Length, op) => disk.apply(op),
                (Left::Nothing, _) => {}
            }
        }
        disk
    }

    fn worlds(&self) -> Vec<Disk> {
        use Left::*;
        let is_data = |op: &Op| matches!(op, Op::Write { .. } | Op::Cut { .. });
        let of = |is_left: bool| if is_left { All } else { Nothing };
        let count = self.pending.len();
        let mut worlds = vec![
            self.world(|_, _| All),
            self.world(|_, _| Nothing),
            self.world(|_, op| of(is_data(op))),
            self.world(|_, op| of(!is_data(op))),
            self.world(|_, _| Half),
            self.world(|_, _| OtherHalf),
            self.world(|_, _| Length),
            self.world(|at, _| of(at >= count / 2)),
            self.world(|at, _| of(at % 2 == 0)),
            self.world(|at, _| of(at % 2 == 1)),
        ];
        for one in 0..count {
            worlds.push(self.world(|at, _| of(at != one)));
            worlds.push(self.world(|at, _| of(at == one)));
            worlds.push(self.world(|at, _| if at == one { Half } else { All }));
        }
        worlds
    }
}

/// What a power loss leaves of one change.
enum Left {
    All,
    Half,
    OtherHalf,
    /// The file has become longer, the bytes never came.
    Length,
    Nothing,
}

fn dir_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(dir, _)| dir)
}

fn hash(disk: &Disk) -> u128 {
    let mut hash = Xxh3::new();
    for (name, bytes) in disk.listing() {
        hash.update(name.as_bytes());
        hash.update(&bytes.len().to_le_bytes());
        hash.update(bytes);
    }
    hash.digest128()
}

fn open_world(disk: &Disk, what: &str) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    disk.write_to(dir.path());
    let tuning = Tuning { durable: false, ..tuning(Faults::default()) };
    let names = || disk.listing().map(|(name, bytes)| format!("{name} {}", bytes.len())).collect::<Vec<_>>();
    match Ledger::open_tuned(dir.path(), tuning) {
        Ok(ledger) => {
            assert_eq!(ledger.damage().count(), 0);
            assert_only_committed_files(dir.path(), &ledger);
            rounds_in(&ledger)
        }
        Err(error) => panic!("{what}: {error}: {:?}", names()),
    }
}

fn assert_only_committed_files(dir: &Path, ledger: &Ledger) {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let ours = names.filter(|name| name.starts_with("run-") || name.starts_with("state-") || name.ends_with(".tmp"));
    assert_eq!(ours.count(), ledger.stats().runs + usize::from(ledger.state().is_some()));
}

#[test]
fn after_a_power_loss_at_any_moment_the_ledger_opens_with_a_committed_state() {
    let mut moment = Moment::default();
    let mut seen = HashSet::new();
    // Worlds in which a commit under way was lost, and in which it was there.
    let (mut lost, mut kept) = (0, 0);
    for (at, op) in record().iter().enumerate() {
        moment.after(op);
        let acknowledged = moment.acknowledged;
        for (number, world) in moment.worlds().iter().enumerate() {
            if !seen.insert((hash(world), acknowledged, moment.begun)) {
                continue;
            }
            let what = format!("change {at}, world {number}, after {op:.200?}");
            let rounds = open_world(world, &what);
            assert!(
                (acknowledged..=moment.begun).contains(&rounds),
                "{what}: {rounds} commits, {acknowledged} acknowledged, {} begun",
                moment.begun
            );
            if moment.begun > acknowledged {
                *if rounds == acknowledged { &mut lost } else { &mut kept } += 1;
            }
        }
    }
    eprintln!("{} worlds", seen.len());
    assert_eq!(moment.acknowledged, ROUNDS);
    assert!(seen.len() > 300 && lost > 50 && kept > 20, "{} worlds, {lost} lost, {kept} kept", seen.len());
}
